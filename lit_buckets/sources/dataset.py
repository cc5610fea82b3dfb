"""A dataset of Hugging Face's `datasets`, as its `save_to_disk` writes it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lit_buckets.errors import ConfigError, LitBucketsError
from lit_buckets.sources.base import Block, Earlier
from lit_buckets.sources.columns import (
    AUTO,
    Columns,
    Roles,
    captions_of,
    further_of,
    sizes_of,
)
from lit_buckets.sources.dataset_files import ImageSpans, MappedFile, data_files, is_image_type
from lit_buckets.storage import absolute, change_of, is_remote

__all__ = ["DatasetSource"]


@dataclass(frozen=True)
class DatasetSource(Columns):
    """The images of a dataset on disk, in its order, read from its Arrow files where they lie.

    An image is named by its file, its row in that file, and the name that it once had, if any:
    ``data-00000-of-00001.arrow/7/tom.jpg``. Further columns of images are carried as text that
    `Manifest.beside` finds them by.

    Attributes:
        path: The folder that ``save_to_disk`` has written; on this machine.
        split: Which split, where it is a dictionary of them.

    Raises:
        ConfigError: If an attribute is out of its range.
    """

    path: str | os.PathLike[str]
    _: KW_ONLY
    split: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if is_remote(self.label):
            raise ConfigError(
                f"path={self.label!r} must be a folder of this machine; its Arrow files are "
                f"mapped, and 0 of them can be from afar. Copy it, or use tar shards."
            )

    @property
    def label(self) -> str:
        """Absolute path of the folder."""
        return absolute(self.path)

    @property
    def root(self) -> str:
        """The same: paths begin with the split, where there are splits."""
        return self.label

    @property
    def confined(self) -> bool:
        """Nothing outside the folder is read."""
        return True

    def identity(self) -> Mapping[str, Any]:
        """All that decides which images are listed, and how."""
        return {"kind": "dataset", "split": self.split, **self.column_options()}

    def blocks(self, *, earlier: Earlier, apart_from: Collection[str] = ()) -> Iterator[Block]:
        """One row of the listing for each row of the dataset.

        Args:
            earlier: Not needed: where images lie is read off the mapped files.
            apart_from: Not needed.

        Raises:
            ConfigError: If a column or a split is not clear.
            DataError: If the folder cannot be read as a dataset.
        """
        _, files = data_files(self.root, self.split)
        for file in files:
            name = file.removeprefix(f"{self.root}/")
            try:
                yield from map(
                    Block, self._rows(MappedFile(file), name, change_of(Path(file).stat()))
                )
            except LitBucketsError:
                raise
            except (OSError, ValueError, pa.ArrowException) as error:
                reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
                columns = {"path": [name], "reason": [f"cannot be opened: {reason}"]}
                yield Block(pa.table(columns))

    def _rows(self, file: MappedFile, name: str, mtime_ns: int) -> Iterator[pa.Table]:
        roles = self._roles(file.schema)
        first = 0
        for batch in file.batches():
            spans = {
                column: file.images(batch.column(column))
                for column in (roles.image, *roles.further)
                if is_image_type(batch.schema.field(column).type)
            }
            table = pa.Table.from_batches([batch])
            number = pa.array(np.arange(first, first + len(batch))).cast(pa.large_string())
            row = _join(pa.scalar(name, pa.large_string()), number, sep="/")
            image = spans.pop(roles.image)
            kept = [column for column in roles.further if column not in spans]
            yield pa.table(
                {
                    "path": _named(row, image),
                    "container": pa.repeat(name, len(batch)),
                    "offset": image.offset,
                    "bytes": image.length,
                    "mtime_ns": np.full(len(batch), mtime_ns),
                    "reason": _refusals(image),
                    "caption": captions_of(table, roles.caption, self.label),
                    **sizes_of(table, roles, self.label),
                    **further_of(table, kept, self.label),
                    **{column: _beside(row, column, each) for column, each in spans.items()},
                }
            )
            first += len(batch)

    def _roles(self, schema: pa.Schema) -> Roles:
        images = [field.name for field in schema if is_image_type(field.type)]
        image = self.image_column
        if image == AUTO and len(images) > 1 and "image" in images:
            image = "image"
        elif image == AUTO and len(images) == 1:
            image = images[0]
        if image not in images:
            raise ConfigError(
                f"image_column={self.image_column!r} names no images of path={self.label!r}; "
                f"{len(images)} of its columns hold some: {', '.join(images) or 'none'}. "
                f"Set image_column to one that does."
            )
        return self.roles(schema.names, self.label, image)


def _join(*parts: Any, sep: str) -> pa.Array:
    return pc.binary_join_element_wise(*parts, pa.scalar(sep, pa.large_string()))


def _named(row: pa.Array, image: ImageSpans) -> pa.Array:
    """The row with the last part of the image's own name, where it has one."""
    name = pc.replace_substring_regex(image.path.cast(pa.large_string()), r"^.*[/\\]", "")
    return pc.coalesce(_join(row, name, sep="/"), row)


def _refusals(image: ImageSpans) -> list[str]:
    if (image.length >= 0).all():
        return [""] * len(image.length)
    return [
        ""
        if length >= 0
        else "its row holds no image"
        if path is None
        else f"its row holds no image, only the path {path!r}; save_to_disk puts it in"
        for length, path in zip(image.length.tolist(), image.path.to_pylist(), strict=True)
    ]


def _beside(row: pa.Array, column: str, image: ImageSpans) -> pa.Array:
    """What `Manifest.beside` takes for a further image of a row; null where there is none."""
    offset, length = (pa.array(each).cast(pa.large_string()) for each in image[:2])
    place = _join(offset, length, sep="+")
    named = _join(row, pa.scalar(column, pa.large_string()), sep="/")
    return pc.if_else(pa.array(image.length >= 0), _join(named, place, sep="@"), None)
