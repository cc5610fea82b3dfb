"""Where the images of a Hugging Face dataset lie in its Arrow files.

A file is mapped, and only the places of its values are looked at: no image is read or copied. An
image is then a stretch of the file, from a byte on, like a member of a tar archive.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lit_buckets.errors import ConfigError, DataError
from lit_buckets.sources.columns import is_binary
from lit_buckets.storage import confined, is_file

__all__ = ["ImageSpans", "MappedFile", "data_files", "is_dataset", "is_image_type"]


class ImageSpans(NamedTuple):
    """The images of one column, in N rows.

    Attributes:
        offset: (N,) where each begins in its file, in bytes.
        length: (N,) how long it is; -1 where there are no bytes.
        path: The name that each had, if it is known.
    """

    offset: npt.NDArray[np.int64]
    length: npt.NDArray[np.int64]
    path: pa.Array


def is_dataset(folder: str) -> bool:
    """Whether a folder is what `save_to_disk` of a `Dataset` or `DatasetDict` has written."""
    return any(is_file(f"{folder}/{name}") for name in ("state.json", "dataset_dict.json"))


def data_files(folder: str, split: str | None) -> tuple[str, list[str]]:
    """The folder that holds the files of a dataset, or of one of its splits, and their paths.

    Raises:
        ConfigError: If it is not clear which split is meant, or there is no such split.
        DataError: If the folder is no dataset, or a file would lie outside of it.
    """
    splits = _json(folder, "dataset_dict.json").get("splits")
    if splits is not None:
        folder = _folder_of(folder, _chosen(folder, _checked(folder, splits), split))
    elif split is not None:
        raise ConfigError(
            f"split={split!r} is for a dataset that has splits; path={folder!r} has 0. "
            f"Set split=null."
        )
    state = _json(folder, "state.json")
    try:
        names = [str(file["filename"]) for file in state["_data_files"]]
        return folder, [confined(folder, name) for name in names]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"path={folder!r} cannot be read as a dataset: its state.json names no files in it: "
            f"{error}. Save it again with save_to_disk."
        ) from None


def _checked(folder: str, splits: object) -> list[str]:
    if isinstance(splits, list) and splits and all(isinstance(name, str) for name in splits):
        return splits
    raise DataError(
        f"path={folder!r} cannot be read as a dataset: the 'splits' of its dataset_dict.json must "
        f"be a list of names; they are {splits!r}. Save it again with save_to_disk."
    )


def _folder_of(folder: str, split: str) -> str:
    try:
        return confined(folder, split)
    except ValueError as error:
        raise DataError(
            f"path={folder!r} cannot be read as a dataset: a split may not lead out of it, and "
            f"{error}. Save it again with save_to_disk."
        ) from None


def _chosen(folder: str, splits: list[str], split: str | None) -> str:
    if split is None and len(splits) == 1:
        return splits[0]
    if split is None:
        raise ConfigError(
            f"path={folder!r} leaves open which split is meant; it has {len(splits)}: "
            f"{', '.join(splits)}. Set split={splits[0]!r}, for instance."
        )
    if split not in splits:
        raise ConfigError(
            f"split={split!r} is no split of path={folder!r}; it has {len(splits)}: "
            f"{', '.join(splits)}. Choose one of these."
        )
    return split


def _json(folder: str, name: str) -> dict[str, Any]:
    try:
        return dict(json.loads(Path(folder, name).read_bytes()))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise DataError(
            f"path={folder!r} cannot be read as a dataset: {name}: {error}. "
            f"Save it again with save_to_disk."
        ) from None


def is_image_type(kind: pa.DataType) -> bool:
    """Whether values of a type are images, as the feature `Image` stores them."""
    if not pa.types.is_struct(kind) or kind.num_fields != 2:
        return False
    names = {kind.field(i).name: kind.field(i).type for i in range(2)}
    return names.keys() == {"bytes", "path"} and is_binary(names["bytes"])


class MappedFile:
    """An Arrow file, mapped.

    Args:
        path: A file of record batches, in Arrow's stream or file format, uncompressed.

    Raises:
        OSError: If it cannot be opened.
        pyarrow.ArrowException: If it is no such file.
    """

    def __init__(self, path: str) -> None:
        self._buffer = pa.memory_map(path).read_buffer()
        is_file = self._buffer.slice(0, min(6, self._buffer.size)).to_pybytes() == b"ARROW1"
        self._reader = (pa.ipc.open_file if is_file else pa.ipc.open_stream)(self._buffer)
        self.schema: pa.Schema = self._reader.schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Record batches, mapped."""
        if isinstance(self._reader, pa.RecordBatchFileReader):
            yield from map(self._reader.get_batch, range(self._reader.num_record_batches))
        else:
            yield from self._reader

    def images(self, column: pa.Array) -> ImageSpans:
        """Where the images of a column of one of the batches lie.

        Raises:
            ValueError: If they do not lie in the file as they are, since it is compressed.
        """
        content, name = column.field("bytes"), column.field("path")
        _, places, data = content.buffers()
        wide = np.int64 if pa.types.is_large_binary(content.type) else np.int32
        width = np.dtype(wide).itemsize
        if places is None:  # as good as all null
            places = pa.py_buffer(bytes(width * (content.offset + len(content) + 1)))
        ends = np.frombuffer(places, wide, len(content) + 1, content.offset * width)
        ends = ends.astype(np.int64)
        start = data.address - self._buffer.address if ends[-1] else 0
        if not 0 <= start <= start + ends[-1] <= self._buffer.size:
            raise ValueError("its images are compressed; save it uncompressed")
        empty = np.asarray(column.is_null()) | np.asarray(content.is_null())
        length = np.where(empty, -1, np.diff(ends))
        return ImageSpans(start + ends[:-1], length, name)
