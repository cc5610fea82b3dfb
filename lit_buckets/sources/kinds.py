"""Which kind of source a path is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from lit_buckets.errors import ConfigError
from lit_buckets.sources.base import METADATA, Source
from lit_buckets.sources.dataset import DatasetSource
from lit_buckets.sources.dataset_files import is_dataset
from lit_buckets.sources.folder import FolderSource
from lit_buckets.sources.image_folder import ImageFolderSource
from lit_buckets.sources.shards import ShardSource
from lit_buckets.sources.table import TableSource
from lit_buckets.sources.table_files import suffix_of
from lit_buckets.sources.tar import COMPRESSED
from lit_buckets.storage import absolute, is_file, is_remote

__all__ = ["KINDS", "kind_of", "open_source", "options_of_kind"]

#: Kinds of sources by name.
KINDS: Mapping[str, type[Any]] = {
    "folder": FolderSource,
    "table": TableSource,
    "imagefolder": ImageFolderSource,
    "dataset": DatasetSource,
    "shards": ShardSource,
}


def kind_of(path: str | os.PathLike[str]) -> str:
    """The kind of source that a path is, where none is given.

    A path that ends in ``.csv``, ``.tsv``, ``.jsonl``, ``.ndjson`` or ``.parquet`` is a table,
    one that ends in ``.tar`` is shards. A folder of this machine with ``state.json`` or
    ``dataset_dict.json`` in it is a dataset, one with ``metadata.jsonl``, ``.csv`` or ``.parquet``
    an image folder. Everything else is a folder, a remote one too: nothing is asked of a server.

    Example:
        >>> kind_of("s3://bucket/photos"), kind_of("photos.csv"), kind_of("photos-{00..42}.tar")
        ('folder', 'table', 'shards')
    """
    whole = absolute(path)
    if whole.lower().endswith((".tar", *COMPRESSED)):
        return "shards"
    if is_remote(whole) or not os.path.isdir(whole):  # noqa: PTH112 - of a URL, too
        return "table" if suffix_of(whole) else "folder"
    if is_dataset(whole):
        return "dataset"
    has_table = any(is_file(f"{whole}/{name}") for name in METADATA)
    return "imagefolder" if has_table else "folder"


def options_of_kind(kind: str) -> tuple[str, ...]:
    """Names of the options that belong to a kind of source, its path left out.

    Example:
        >>> options_of_kind("folder")
        ('repeats', 'captions', 'missing_caption', 'include', 'exclude', 'follow_links')
    """
    return tuple(field.name for field in fields(KINDS[kind]) if field.name != "path")


def open_source(path: str | os.PathLike[str], kind: str | None = None, **options: Any) -> Source:
    """A source of images.

    Args:
        path: A folder, a table, tar shards, or a URL of these.
        kind: One of `KINDS`; None finds it out (see `kind_of`).
        options: Those of the kind; see its class.

    Raises:
        ConfigError: If there is no such kind, or an option is out of its range or not the kind's.

    Example:
        >>> open_source("photos.csv", repeats=2).repeats
        2
    """
    kind = kind_of(path) if kind is None else kind
    if kind not in KINDS:
        raise ConfigError(
            f"kind={kind!r} must be a kind of source; there are {len(KINDS)}: {', '.join(KINDS)}. "
            f"Leave it out, and it follows from the path."
        )
    known = options_of_kind(kind)
    foreign = [name for name in options if name not in known]
    if foreign:
        raise ConfigError(
            f"{foreign[0]}={options[foreign[0]]!r} is no option of a source of kind {kind!r}, "
            f"which has {len(known)}: {', '.join(known)}. Remove it."
        )
    source: Source = KINDS[kind](path, **options)
    return source
