"""A folder of images with a table of them in it, as Hugging Face's ImageFolder has it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

from lit_buckets.errors import ConfigError, DataError
from lit_buckets.sources.base import METADATA, Block, Earlier
from lit_buckets.sources.columns import AUTO, Columns
from lit_buckets.sources.table import TableSource
from lit_buckets.storage import absolute, is_file, is_remote, remote

__all__ = ["ImageFolderSource"]


@dataclass(frozen=True)
class ImageFolderSource(Columns):
    """The images that a folder's ``metadata.jsonl``, ``.csv`` or ``.parquet`` names.

    Its column ``file_name`` holds paths relative to the folder; columns ``*_file_name`` name
    images that belong to these, such as masks. Other files in the folder are no part of the
    dataset.

    Attributes:
        path: The folder, or its URL.
        allow_outside: Whether paths and links may lead out of it.

    Raises:
        ConfigError: If an attribute is out of its range.
    """

    path: str | os.PathLike[str]
    _: KW_ONLY
    allow_outside: bool = False

    @property
    def root(self) -> str:
        """Absolute path of the folder, or its URL."""
        return absolute(self.path)

    @property
    def label(self) -> str:
        """What messages call it."""
        return self.root

    @property
    def confined(self) -> bool:
        """Whether nothing outside the root may be read."""
        return not self.allow_outside

    def identity(self) -> Mapping[str, Any]:
        """All that decides which images are listed, and how."""
        return {"kind": "imagefolder", **self.column_options()}

    def blocks(self, *, earlier: Earlier, apart_from: Collection[str] = ()) -> Iterator[Block]:
        """One row of the listing for each row of the table.

        Args:
            earlier: Not needed.
            apart_from: Not needed.

        Raises:
            ConfigError: If the table lacks a column that is asked for.
            DataError: If there is no such table, or more than one, or it cannot be read.
        """
        found = [name for name in METADATA if _exists(f"{self.root}/{name}")]
        if not found:
            raise DataError(
                f"path={self.root!r} has no table of its images; it holds none of the "
                f"{len(METADATA)} {', '.join(METADATA)}. Write one, or set kind='folder'."
            )
        if len(found) > 1:
            raise ConfigError(
                f"path={self.root!r} leaves open which table is meant; it holds {len(found)}: "
                f"{', '.join(found)}. Name one of them as the path."
            )
        return self._table(found[0]).blocks(earlier=earlier, apart_from=apart_from)

    def _table(self, name: str) -> TableSource:
        options = self.column_options()
        columns = None if self.columns is None else tuple(self.columns)
        image = "file_name" if self.image_column == AUTO else self.image_column
        return TableSource(
            f"{self.root}/{name}",
            allow_outside=self.allow_outside,
            **options | {"columns": columns, "image_column": image},
        )


def _exists(path: str) -> bool:
    if not is_remote(path):
        return is_file(path)
    try:
        remote.stamp(path)
    except OSError:
        return False
    return True
