"""All images of a dataset and their sizes, without an object for any of them."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lit_buckets.errors import DataError
from lit_buckets.manifest.columns import SCHEMA, as_batch, fingerprint, hash_strings, is_same
from lit_buckets.manifest.files import Failure
from lit_buckets.manifest.lazy import Lazy, checked
from lit_buckets.manifest.mapped import ManifestError, check_file, map_file, write_file
from lit_buckets.storage import Span, confined, joined, read, stamp

__all__ = ["Manifest", "Refused"]

_INSIDE = re.compile(r"@([0-9]{1,18})\+([0-9]{1,18})")  # where a file lies in its image's container

IntArray = npt.NDArray[np.int64]


class Refused(NamedTuple):
    """A file that is not part of the dataset.

    Attributes:
        path: Its path.
        reason: Why, as a short sentence.
    """

    path: str
    reason: str


class Manifest:
    """All images of a dataset and their sizes, mapped from one file.

    Opening costs the same at any number of rows, and processes share the mapped memory. Pickled,
    it is no more than the file's path and fingerprint: a loader's worker maps the file again.

    Indices are rows of images, 0 to ``len(manifest) - 1``; refused files are not among them.
    """

    def __init__(self, file: Path, batch: pa.RecordBatch, notes: Mapping[str, Any]) -> None:
        """Wrap a mapped batch; users call `Manifest.open` or `Manifest.write`."""
        self.file = file
        self._batch = batch
        self._notes = notes
        self._images: int = notes["images"]
        self._roots: list[str] = [source["root"] for source in self.sources]
        self._path = batch.column("path")
        self._caption = batch.column("caption")
        self._source: npt.NDArray[np.int16] = batch.column("source").to_numpy()

    @classmethod
    def open(cls, file: str | os.PathLike[str]) -> Manifest:
        """Map a manifest into memory.

        Args:
            file: A file that `write` or `split` has written.

        Returns:
            The manifest; nothing but the file's ends has been read.

        Raises:
            FileNotFoundError: If there is no such file.
            ManifestError: If it is damaged, or of another version of the format.
        """
        path = Path(file).absolute()
        return cls(path, *map_file(path))

    @classmethod
    def open_checked(cls, file: str | os.PathLike[str]) -> Manifest:
        """The same, but read all of the file first, and believe it only if nothing has changed.

        A disk can spoil a byte that `open` does not look at. The setup pass checks what it takes
        over; a million images take some tenths of a second.

        Raises:
            FileNotFoundError: If there is no such file.
            ManifestError: If any of it is damaged, or it is of another version of the format.
        """
        check_file(Path(file).absolute())
        return cls.open(file)

    @classmethod
    def write(
        cls,
        file: str | os.PathLike[str],
        table: pa.Table,
        *,
        sources: Sequence[Mapping[str, Any]] = ({"root": ""},),
        settings: Mapping[str, Any] | None = None,
        containers: Mapping[str, Any] | None = None,
        keep_equal: bool = False,
    ) -> Manifest:
        """Write a manifest under a temporary name, rename it, and map it.

        Whatever happens meanwhile, the name stands for the old file or for the new one. Who has
        the old one mapped keeps it.

        Args:
            file: Where to; folders are made.
            table: Columns as in the module's table; only `path`, `height` and `width` are
                needed. Rows with a `reason` are refused files and may stand anywhere.
            sources: A mapping for each source, with its `root`: what `path` is joined to. With
                a root of "" paths are absolute, or relative to the working directory.
            settings: Anything that JSON can hold.
            containers: The same; what the next setup pass wants to know of them.
            keep_equal: Leave a file that holds just this already, and map that: another process
                may have been quicker, and may be using it.

        Returns:
            The new manifest, mapped.

        Raises:
            ValueError: If a column is missing or of a wrong type, or a row names no source.
            OSError: If the disk is full or the folder may not be written.
        """
        batch, images = as_batch(table, len(sources))
        path = Path(file).absolute()
        if keep_equal and (there := _open_if(path, settings or {})) is not None:
            same_sources = there.sources == [dict(source) for source in sources]
            same_sources = same_sources and there.containers == dict(containers or {})
            if same_sources and _is_same(there._batch, batch):
                return there
        notes = {
            "images": images,
            "refused": len(batch) - images,
            "sources": [dict(source) for source in sources],
            "settings": dict(settings or {}),
            "containers": dict(containers or {}),
            "fingerprint": fingerprint(batch.slice(0, images), [_label(each) for each in sources]),
            "id": secrets.token_hex(16),
        }
        write_file(path, batch, notes)
        return cls.open(path)

    def __len__(self) -> int:
        return self._images

    def __repr__(self) -> str:
        counts = f"{self._images:,} images, {len(self.refused):,} refused"
        return f"Manifest({str(self.file)!r}: {counts})"

    def __reduce__(self) -> tuple[Callable[[str, str], Manifest], tuple[str, str]]:
        return _reopen, (str(self.file), self.fingerprint)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of relative paths, sizes, repeats and sources, in hexadecimal digits.

        It is the same wherever the dataset lies and whenever its files were copied: two
        manifests with the same fingerprint train alike. Of several sources the last parts of
        their paths count that tell them apart; of images in containers their lengths, too.
        """
        return str(self._notes["fingerprint"])

    @property
    def sources(self) -> list[dict[str, Any]]:
        """A mapping for each source, with its `root`."""
        return list(self._notes["sources"])

    @property
    def labels(self) -> list[str]:
        """What each source is called: the path of a folder, a table, a pattern of shards."""
        return [_label(source) for source in self.sources]

    @property
    def settings(self) -> dict[str, Any]:
        """What `write` was given."""
        return dict(self._notes["settings"])

    @property
    def containers(self) -> dict[str, Any]:
        """What `write` was given."""
        return dict(self._notes["containers"])

    @property
    def id(self) -> str:
        """Digits that no other file has; a manifest written anew has others."""
        return str(self._notes["id"])

    @cached_property
    def sizes(self) -> npt.NDArray[np.int32]:
        """(N, 2) heights and widths in pixels, as displayed: a read-only view of the file."""
        height = self._batch.column("height").to_numpy()[: self._images]
        width = self._batch.column("width").to_numpy()[: self._images]
        if not self._images:
            return np.zeros((0, 2), dtype=np.int32)
        # two columns of one mapped file, so a fixed number of bytes lies between them
        step = width.__array_interface__["data"][0] - height.__array_interface__["data"][0]
        return np.lib.stride_tricks.as_strided(
            height, (self._images, 2), (height.strides[0], step), writeable=False
        )

    @cached_property
    def repeats(self) -> npt.NDArray[np.int32]:
        """(N,) how often each image comes in an epoch: a read-only view of the file."""
        repeats: npt.NDArray[np.int32] = self._batch.column("repeats").to_numpy()
        return repeats[: self._images]

    @property
    def source_of(self) -> npt.NDArray[np.int16]:
        """(N,) which source each image comes from, a place in `sources`: a view of the file."""
        return self._source[: self._images]

    @property
    def table(self) -> pa.Table:
        """The rows of all images as an Arrow table, mapped, with every column but `reason`."""
        rows = self._batch.slice(0, self._images)
        return pa.Table.from_batches([rows]).drop_columns(["reason"])

    @property
    def all_rows(self) -> pa.Table:
        """Rows of images and, after them, of refused files, with every column; mapped."""
        return pa.Table.from_batches([self._batch]).replace_schema_metadata(None)

    @property
    def paths(self) -> Sequence[str]:
        """(N,) paths that can be opened. No list is built: each is made when it is asked for."""
        return Lazy(self._images, self.path)

    @property
    def captions(self) -> Sequence[str]:
        """(N,) captions, each read when it is asked for."""
        return Lazy(self._images, self.caption)

    @property
    def refused(self) -> Sequence[Refused]:
        """Files that were refused, with their reasons, each read when it is asked for."""
        reasons = self._batch.column("reason")

        def get(i: int) -> Refused:
            row = self._images + i
            return Refused(self._join(row), reasons[row].as_py())

        return Lazy(len(self._batch) - self._images, get)

    def path(self, index: int) -> str:
        """Path of one image, such that it can be opened.

        Raises:
            IndexError: If there is no such image.
        """
        return self._join(checked(index, self._images))

    def caption(self, index: int) -> str:
        """Caption of one image; "" where it has none.

        Raises:
            IndexError: If there is no such image.
        """
        return str(self._caption[checked(index, self._images)].as_py())

    def span(self, index: int) -> Span:
        """Where the bytes of one image lie.

        Raises:
            IndexError: If there is no such image.
        """
        i = checked(index, self._images)
        container = self._batch.column("container")[i].as_py()
        if not container:
            return Span(self._join(i))
        offset, length = (self._batch.column(name)[i].as_py() for name in ("offset", "bytes"))
        return Span(joined(self._roots[self._source[i]], container), offset, length)

    def beside(self, index: int, path: str) -> Span:
        """Where another file lies that belongs to an image, such as its mask.

        Args:
            index: The image.
            path: Relative to the root of the image's source, with "/" between its parts. A file
                in the image's own container is named as the sources that have containers name it
                in their columns: ``container/name@offset+length``.

        Returns:
            Where its bytes lie; whether they are there is not looked at.

        Raises:
            IndexError: If there is no such image.
            ValueError: If the path leads out of the root, and the source is not allowed to.
        """
        i = checked(index, self._images)
        root = self._roots[self._source[i]]
        container = self._batch.column("container")[i].as_py()
        inside = _INSIDE.fullmatch(path, path.rfind("@")) if "@" in path else None
        if container and inside and path.startswith(f"{container}/"):
            return Span(joined(root, container), int(inside[1]), int(inside[2]))
        if self._notes["sources"][self._source[i]].get("confined", True):
            return Span(confined(root or ".", path))
        return Span(joined(root, path))

    def read(self, index: int) -> bytes:
        """Content of one image's file.

        Raises:
            IndexError: If there is no such image.
            OSError: If it cannot be opened or read.
            ValueError: If its name is none that a file can have.
        """
        return read(self.span(index))

    def stamp(self, index: int) -> tuple[int, int]:
        """Length in bytes and time of last change of one image, as they are now.

        Raises:
            IndexError: If there is no such image.
            OSError: If its file cannot be found.
        """
        return stamp(self.span(index))

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of further columns, which the batches carry."""
        return tuple(name for name in self._batch.schema.names if name not in SCHEMA.names)

    @cached_property
    def numbers(self) -> frozenset[str]:
        """Those of the further columns that hold numbers or booleans, none of them missing.

        None of them is missing in the manifest that this one was split from, either: both sides
        have batches of the same kind.
        """
        if "numbers" in self._notes["settings"]:
            return frozenset(self._notes["settings"]["numbers"])
        return frozenset(
            name
            for name in self.columns
            for array in [self._batch.column(name).slice(0, self._images)]
            if pa.types.is_primitive(array.type)
            and not pa.types.is_temporal(array.type)
            and not array.null_count
        )

    def value(self, index: int, column: str) -> Any:
        """Value of one image in a further column; None where it has none.

        Raises:
            IndexError: If there is no such image.
            KeyError: If there is no such column.
        """
        return self._batch.column(column)[checked(index, self._images)].as_py()

    def row(self, index: int) -> dict[str, Any]:
        """All columns of one image but `reason`, as Python values, with `path` joined.

        Raises:
            IndexError: If there is no such image.
        """
        i = checked(index, self._images)
        names = [name for name in self._batch.schema.names if name != "reason"]
        return {name: self._batch.column(name)[i].as_py() for name in names} | {
            "path": self._join(i)
        }

    def failed(self, failures: Mapping[str, Failure]) -> dict[int, str]:
        """Images that failed in decoding and have not changed since.

        Args:
            failures: From `read_failures`.

        Returns:
            The reason for each such image, by its row.
        """
        reasons: dict[int, str] = {}
        source = self._source[: self._images]
        paths = self._path.slice(0, self._images)
        for place, root in enumerate(self._roots):
            inside = {_as_listed(path, root): path for path in failures}
            found = pc.is_in(paths, value_set=pa.array(inside, paths.type)).to_numpy(
                zero_copy_only=False
            )
            for row in np.flatnonzero(found & (source == place)).tolist():
                failure, now = failures[inside[paths[row].as_py()]], self.row(row)
                if (failure.bytes, failure.mtime_ns) == (now["bytes"], now["mtime_ns"]):
                    reasons[row] = failure.reason
        return reasons

    def split(self, share: float, directory: str | os.PathLike[str]) -> tuple[Manifest, Manifest]:
        """Divide the images in two, the same way on every machine and in every run.

        The part takes the images whose relative paths have the smallest hashes, so a dataset
        that grows moves few images from one side to the other, and a caption or a size that
        changes moves none. Both sides keep this manifest's order. Refused files stay with the
        rest.

        Args:
            share: Share of the images that the part takes, between 0 and 1; always at least one
                image, and never all.
            directory: Where both are written as manifests of their own; if they are there
                already and stem from this file, they are only mapped.

        Returns:
            The rest and the part.

        Raises:
            ValueError: If the share is not between 0 and 1.
            DataError: If there are fewer than two images.
        """
        if not 0 < share < 1:
            raise ValueError(f"share={share} must lie between 0 and 1, both excluded.")
        if self._images < 2:
            raise DataError(
                f"share={share} of {self._images} images cannot be split off: both sides need "
                f"one. Add images, or name a source of its own."
            )
        stem = Path(directory).absolute() / f"{self.file.stem}-split-{share:g}"
        files = [stem.with_name(f"{stem.name}-{side}.arrow") for side in ("rest", "part")]
        numbers = sorted(self.numbers)
        settings = {**self.settings, "share": share, "split_from": self.id, "numbers": numbers}
        rest, part = (_open_if(file, settings) for file in files)
        if rest is None or part is None:
            rest, part = (
                Manifest.write(file, rows, sources=self.sources, settings=settings)
                for file, rows in zip(files, self._halves(share), strict=True)
            )
        return rest, part

    def _join(self, row: int) -> str:
        return joined(self._roots[self._source[row]], self._path[row].as_py())

    def _halves(self, share: float) -> tuple[pa.Table, pa.Table]:
        count = min(max(1, round(share * self._images)), self._images - 1)
        hashes = hash_strings(self._path.slice(0, self._images))
        taken = np.zeros(len(self._batch), dtype=bool)
        taken[np.argsort(hashes, kind="stable")[:count]] = True
        return self._rows(~taken), self._rows(taken)

    def _rows(self, mask: npt.NDArray[np.bool_]) -> pa.Table:
        return self.all_rows.take(pa.array(np.flatnonzero(mask)))


def _label(source: Mapping[str, Any]) -> str:
    return str(source.get("label", source["root"]))


def _is_same(one: pa.RecordBatch, other: pa.RecordBatch) -> bool:
    return one.schema.equals(other.schema) and all(
        is_same(pa.chunked_array([mine]), pa.chunked_array([yours]))
        for mine, yours in zip(one.columns, other.columns, strict=True)
    )


def _as_listed(path: str, root: str) -> str:
    """What `joined` made the path of; what is not below the root was absolute in its table."""
    below = joined(root, "")
    return path[len(below) :] if path.startswith(below) else path


def _reopen(file: str, fingerprint: str) -> Manifest:
    manifest = Manifest.open(file)
    if manifest.fingerprint != fingerprint:
        raise ManifestError(
            f"manifest {file!r} was replaced while in use: fingerprint {manifest.fingerprint[:8]} "
            f"instead of {fingerprint[:8]}. Start again, or give each run a cache_dir of its own."
        )
    return manifest


def _open_if(file: Path, settings: Mapping[str, Any]) -> Manifest | None:
    try:
        manifest = Manifest.open_checked(file)
    except (FileNotFoundError, ManifestError):
        return None
    return manifest if manifest.settings == settings else None
