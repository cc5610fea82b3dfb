"""Files that a source names one by one: whether they are there, inside its root, and how large."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lit_buckets.sources.overlapping import Overlapping
from lit_buckets.storage import change_of, is_remote, joined, remote

__all__ = ["Files", "Names", "clean"]

_LEADS_OUT = r"^/|^[A-Za-z][A-Za-z0-9+.-]*(::[^/]*)?://|(^|/)\.\.(/|$)"
_OUTSIDE = "its path may lead out of the source's root; allow_outside would allow it"
_LINK = "a link that leads out of the source's root; allow_outside would allow it"
_FOLDERS = 64  # remote folders whose listings are kept


class Names(NamedTuple):
    """Paths that name one image each, and why some of them are refused; "" for the others."""

    paths: pa.ChunkedArray
    reasons: pa.ChunkedArray


def clean(
    paths: pa.ChunkedArray, *, confined: bool, is_far: bool = False, is_web: bool = False
) -> Names:
    """Make the paths of a table into names.

    A row without a path, or with one that an earlier row has, is refused and named by its number,
    counted from 1.

    Args:
        paths: Of type large_string; relative to the root.
        confined: Whether what may lead out of the root is refused.
        is_far: Whether the root is a URL, below which "a//b" may be another file than "a/b".
        is_web: Whether the root is on a web server, where "?" and "#" end a path.

    Example:
        >>> names = clean(pa.chunked_array([["a.jpg", "../b.jpg", "./a.jpg"]]), confined=True)
        >>> names.paths.to_pylist()
        ['a.jpg', '../b.jpg', 'a.jpg (row 3)']
        >>> names.reasons.to_pylist()[2]
        'row 1 of the table names it already'
    """
    paths = pc.replace_substring_regex(pc.fill_null(paths, ""), r"^(\./+)+", "")
    if not is_far:
        is_url = pc.match_substring(paths, "://")
        plain = pc.replace_substring_regex(paths, r"(/\.?)+/", "/")
        paths = pc.if_else(is_url, paths, plain)
    if is_web:
        paths = pc.replace_substring(pc.replace_substring(paths, "#", "%23"), "?", "%3F")
    first = pc.index_in(paths, value_set=paths.combine_chunks()).to_numpy()
    empty = pc.equal(paths, "").to_numpy()
    again = ~empty & (first != np.arange(len(paths)))
    outside = pc.match_substring_regex(paths, _LEADS_OUT).to_numpy() & confined
    numbered, refused = np.flatnonzero(empty | again), np.flatnonzero(empty | again | outside)
    given = paths.take(pa.array(numbered)).to_pylist()
    names = [
        f"{path} (row {row + 1})".strip()
        for path, row in zip(given, numbered.tolist(), strict=True)
    ]
    reasons = [
        "its row of the table names no file"
        if empty[row]
        else f"row {first[row] + 1} of the table names it already"
        if again[row]
        else _OUTSIDE
        for row in refused.tolist()
    ]
    return Names(
        _replaced(paths, numbered, names),
        _replaced(pa.chunked_array([pa.repeat("", len(paths))]), refused, reasons),
    )


def _replaced(
    column: pa.ChunkedArray, rows: npt.NDArray[np.int64], values: list[str]
) -> pa.ChunkedArray:
    """The column with other values in some rows, which ascend."""
    mask = np.zeros(len(column), dtype=bool)
    mask[rows] = True
    whole = column.cast(pa.large_string()).combine_chunks()
    return pa.chunked_array(
        [pc.replace_with_mask(whole, pa.array(mask), pa.array(values, pa.large_string()))]
    )


class Looks(NamedTuple):
    """What files look like, a list a column: length, stamp, and why each is refused."""

    bytes: list[int]
    mtime_ns: list[int]
    reason: list[str]

    def add(self, length: int, mtime_ns: int, reason: str = "") -> None:
        """Add a file."""
        self.bytes.append(length)
        self.mtime_ns.append(mtime_ns)
        self.reason.append(reason)


class Files:
    """Looks at files below a root.

    Args:
        root: A folder or its URL.
        confined: Whether links that lead out of it are refused.
    """

    def __init__(self, root: str, *, confined: bool) -> None:
        self._root, self._confined = root, confined
        self._real_root = "" if is_remote(root) else os.path.realpath(root).rstrip("/") + "/"
        self._holds = lru_cache(2**16)(self._holds_folder)
        self._listed: dict[str, dict[str, tuple[int, int]] | None] = {}
        self._disk = Overlapping()

    def look(self, paths: Sequence[str]) -> Looks:
        """Look at each file; none of them is opened."""
        whole = [joined(self._root, path) for path in paths]
        may_be_far = is_remote(self._root) or not self._confined
        far = [url for url in whole if is_remote(url)] if may_be_far else []
        stamps = self._from_listings(far)
        others = [url for url in far if url not in stamps]
        stamps.update(zip(others, remote.stamps(others), strict=True))
        looks = Looks([], [], [])
        for look in self._disk.map(lambda path: self._look_at(path, stamps), whole):
            looks.add(*look)
        return looks

    def _look_at(
        self, whole: str, stamps: Mapping[str, tuple[int, int] | OSError]
    ) -> tuple[int, int, str]:
        """Length, stamp and reason of one file."""
        try:
            return _known(stamps[whole]) if whole in stamps else self._look_here(whole)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            reason = getattr(error, "strerror", None) or str(error)
            return 0, 0, f"cannot be opened: {reason}"

    def _look_here(self, whole: str) -> tuple[int, int, str]:
        """The same of one file of this machine.

        Raises:
            OSError: If it cannot be found.
            ValueError: If no file can have such a name.
        """
        status = os.lstat(whole)
        if stat.S_ISREG(status.st_mode):
            if not self._confined or self._holds(whole[: whole.rfind("/") + 1]):
                return status.st_size, change_of(status), ""
            return 0, 0, _LINK
        if not stat.S_ISLNK(status.st_mode):
            return 0, 0, "not a file"
        if self._confined and not os.path.realpath(whole).startswith(self._real_root):
            return 0, 0, _LINK
        status = os.stat(whole)  # noqa: PTH116 - many times faster than pathlib
        if not stat.S_ISREG(status.st_mode):
            return 0, 0, "not a file"
        return status.st_size, change_of(status), ""

    def _holds_folder(self, folder: str) -> bool:
        return (os.path.realpath(folder).rstrip("/") + "/").startswith(self._real_root)

    def _from_listings(self, urls: Sequence[str]) -> dict[str, tuple[int, int] | OSError]:
        """Stamps from a few listings of whole folders, where those can be had and pay off."""
        folders = {url: url.rpartition("/")[0] for url in urls}
        distinct = {*folders.values()}
        if 8 * len(distinct) > len(urls) or any(url.startswith("http") for url in urls):
            return {}
        self._listed = dict([*self._listed.items()][-_FOLDERS:])
        for folder in sorted(distinct - self._listed.keys()):
            self._listed[folder] = _files_in(folder)
        missing = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return {
            url: files.get(url.removeprefix(f"{folder}/"), missing)
            for url, folder in folders.items()
            if (files := self._listed[folder]) is not None
        }


def _known(stamp: tuple[int, int] | OSError) -> tuple[int, int, str]:
    if isinstance(stamp, OSError):
        raise stamp
    return (*stamp, "")


def _files_in(folder: str) -> dict[str, tuple[int, int]] | None:
    """Stamps of the files in a remote folder; None if it cannot be listed."""
    try:
        found = remote.found_in(folder)
    except FileNotFoundError:
        return {}
    except OSError:  # often, files may be read where no folder may be listed
        return None
    return {one.name: (one.bytes, one.change) for one in found if not one.is_folder}
