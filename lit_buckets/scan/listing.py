"""What there is: everything that the sources list."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from lit_buckets.errors import DataError
from lit_buckets.headers import SUFFIXES
from lit_buckets.manifest import SCHEMA
from lit_buckets.scan.progress import Progress
from lit_buckets.sources import Entry, FolderSource, Source

__all__ = ["BLOCK", "CAPTION_UNREAD", "NO_CAPTION", "list_sources"]

#: Rows that are held as Python objects at a time.
BLOCK = 2**13
#: In place of a caption file's time of change, where there is none, or it could not be read.
NO_CAPTION, CAPTION_UNREAD = -1, -2


def list_sources(sources: Sequence[Source], bar: Progress) -> pa.Table:
    """Everything that the sources list, in order: the columns of a manifest that need no reading.

    `reason` is set, and `mtime_ns` is -1, where a source itself refuses a file.
    """
    folders = [os.path.realpath(s.root) if isinstance(s, FolderSource) else "" for s in sources]
    tables = []
    for place, source in enumerate(sources):
        others = {folder for folder in folders[:place] + folders[place + 1 :] if folder}
        if folders[place] in others:
            raise DataError(
                f"path={source.root!r} is listed twice among {len(sources)} sources, and an image "
                f"belongs to one. Keep one of them, and give it 'repeats'."
            )
        blocks = [
            _listed(block, place, source.repeats)
            for block in _blocks(source.entries(apart_from=others), bar)
        ]
        if not blocks:
            raise DataError(
                f"path={source.root!r} holds no image: of its files, 0 have one of the "
                f"{len(SUFFIXES)} known suffixes (.jpg, .png, .webp, ...). Check the path."
            )
        tables += blocks
    return pa.concat_tables(tables).combine_chunks()


def _blocks(entries: Iterator[Entry], bar: Progress) -> Iterator[list[Entry]]:
    while block := list(islice(entries, BLOCK)):
        bar.listed(len(block))
        yield block


def _listed(block: list[Entry], place: int, repeats: int) -> pa.Table:
    paths, lengths, times, caption_times, reasons, containers, offsets = zip(*block, strict=True)
    refused = np.array([bool(reason) for reason in reasons])
    return _table(
        path=list(paths),
        source=np.full(len(block), place),
        container=list(containers),
        offset=np.array(offsets),
        bytes=np.array(lengths),
        mtime_ns=np.where(refused, -1, np.array(times)),
        repeats=np.full(len(block), repeats),
        caption_mtime_ns=np.where(refused, NO_CAPTION, np.array(caption_times)),
        reason=list(reasons),
    )


def _table(**columns: Any) -> pa.Table:
    fields = [SCHEMA.field(name) for name in columns]
    arrays = [
        pa.array(column, field.type) for column, field in zip(columns.values(), fields, strict=True)
    ]
    return pa.table(arrays, schema=pa.schema(fields))
