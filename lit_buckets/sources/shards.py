"""Tar shards in WebDataset's layout, read where they lie: nothing is extracted."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import KW_ONLY, dataclass
from glob import glob
from itertools import islice
from typing import Any

import pyarrow as pa

from lit_buckets.errors import ConfigError, DataError
from lit_buckets.headers import Content, FileContent
from lit_buckets.sources.base import Block, Earlier, check_captions
from lit_buckets.sources.braces import without_braces
from lit_buckets.sources.columns import Columns
from lit_buckets.sources.shard_rows import index, taken_over
from lit_buckets.sources.tar import COMPRESSED
from lit_buckets.storage import Span, absolute, is_file, is_remote, joined, remote, stamp

__all__ = ["ShardSource"]

_MAGIC, _GLOB = re.compile(r"[*?\[{]"), re.compile(r"[*?\[]")
_MOST = 10**6  # shards
_AT_ONCE = 8  # remote shards


@dataclass(frozen=True)
class ShardSource(Columns):
    """The images of tar shards, in the order of the shards' names and of their members.

    Members that share a name up to its first dot are a sample: an image, its caption (``.txt``),
    a class (``.cls``), columns (``.json``), further images. Members with other suffixes are not
    read. A sample without an image, or with several of which none is chosen, is refused by name.
    A link to another member of its shard is that member by another name; an image that is one
    comes where its bytes lie. Folders belong to no sample.

    Shards are indexed once; later passes index those that are new or have changed.

    Attributes:
        path: A shard, a pattern with ``*``, ``?``, ``[...]`` and braces (``{000..099}``), a folder
            of shards, or the URL of one of these. A file that has such a name is no pattern.
        captions: Suffix of the members that hold captions; None for none.

    Raises:
        ConfigError: If an attribute is out of its range, or the shards are compressed.
    """

    path: str | os.PathLike[str]
    _: KW_ONLY
    captions: str | None = ".txt"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_captions(self.captions, "empty")
        suffix = next((each for each in COMPRESSED if self.label.lower().endswith(each)), None)
        if suffix is not None:
            raise ConfigError(
                f"path={self.label!r} must be uncompressed tar shards; members of a {suffix} "
                f"cannot be read at random, and 1 image would cost it all. Decompress them."
            )

    @property
    def label(self) -> str:
        """The pattern, absolute."""
        pattern = absolute(self.path)
        names_shards = pattern.lower().endswith((".tar", *COMPRESSED))
        if names_shards or _MAGIC.search(pattern.rpartition("/")[2]) or is_file(pattern):
            return pattern
        return f"{pattern}/*.tar"

    @property
    def root(self) -> str:
        """The folder, or its URL, that the pattern begins with."""
        pattern = self.label
        first = None if is_file(pattern) else _MAGIC.search(pattern)
        return pattern[: pattern.rfind("/", 0, first.start() if first else None)] or "/"

    @property
    def confined(self) -> bool:
        """Nothing but the shards is read."""
        return True

    def identity(self) -> Mapping[str, Any]:
        """All that decides which images are listed, and how."""
        return {"kind": "shards", "captions": self.captions, **self.column_options()}

    def blocks(self, *, earlier: Earlier, apart_from: Collection[str] = ()) -> Iterator[Block]:
        """The images of each shard.

        Args:
            earlier: Shards that are as they were are not indexed again.
            apart_from: Not needed.

        Raises:
            ConfigError: If a column is not clear, or the pattern cannot be read.
            DataError: If no shard matches, or a column has values of several types.
        """
        known = taken_over(earlier)
        root = self.root

        def block(name: str) -> Block:
            url = joined(root, name)
            try:
                length, change = stamp(Span(url))
                there = known(name, length, change)
                if there is not None:
                    return there
                if is_remote(url) or is_file(url):
                    return self._index(url, name, length, change)
                reason = "not a file"  # to open a pipe would wait for somebody who writes to it
            except OSError as error:
                reason = f"cannot be opened: {error.strerror or error}"
            return Block(pa.table({"path": [name], "reason": [reason]}))

        names = self.names()
        if not names:
            raise DataError(
                f"path={self.label!r} matches no shard; there are 0 files of such a name in "
                f"{root!r}. Check the pattern."
            )
        if not is_remote(root):
            yield from map(block, names)
            return
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="lit_buckets_shards") as pool:
            yield from pool.map(block, names)

    def names(self) -> list[str]:
        """The shards that the pattern means, relative to the root, sorted.

        What it names outright, without "*", is among them whether it exists or not.

        Raises:
            ConfigError: If the pattern cannot be read, or names too many shards.
            DataError: If its server cannot be asked.
        """
        found: set[str] = set()
        below = len(joined(self.root, ""))
        if is_file(self.label):
            return [self.label[below:]]
        patterns = list(islice(without_braces(self.label), _MOST + 1))
        if len(patterns) > _MOST:
            raise ConfigError(
                f"path={self.label!r} names too many shards; there are more than {_MOST:,}. "
                f"Use '*' for those that exist."
            )
        for pattern in patterns:
            if not _GLOB.search(pattern):
                found.add(pattern[below:])
            elif is_remote(pattern):
                found.update(_listed(pattern, self.root))
            else:  # glob, since pathlib is many times slower
                found.update(path[below:] for path in glob(pattern, recursive=True))  # noqa: PTH207
        return sorted(found)

    def _index(self, url: str, name: str, length: int, change: int) -> Block:
        def of(archive: Content) -> Block:
            return index(archive, name, change, self, captions=self.captions, label=self.label)

        if is_remote(url):
            return of(remote.RemoteContent(url, 0, length))
        with closing(FileContent(url)) as archive:
            return of(archive)


def _listed(pattern: str, root: str) -> list[str]:
    try:
        return remote.matching(pattern, root)
    except OSError as error:
        raise DataError(
            f"path={pattern!r} cannot be listed: {error.strerror}. Name the shards, with braces."
        ) from None
