"""Reading what is new."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lit_buckets.headers import Demands, FileRead, Job, quiet
from lit_buckets.manifest import SCHEMA
from lit_buckets.scan.changes import IntArray, Todo
from lit_buckets.scan.far import FAR_BATCH, read_far
from lit_buckets.scan.progress import Progress
from lit_buckets.scan.readers import Answer, batch_size, read_in_order
from lit_buckets.sources import BLOCK, Source
from lit_buckets.storage import is_remote, joined

__all__ = ["read_files"]

_READ = pa.schema(
    [
        *(SCHEMA.field(name) for name in ("height", "width", "reason", "caption")),
        *(pa.field(name, pa.bool_()) for name in ("measured", "verified")),
        pa.field("caption_read", pa.bool_()),
    ]
)


def read_files(
    listing: pa.Table,
    todo: Todo,
    sources: Sequence[Source],
    demands: Demands,
    workers: int | None,
    bar: Progress,
) -> pa.Table:
    """Read headers and captions; one row of results for each of the rows to read."""
    bar.begin(len(todo.rows), "decoding images" if demands.decodes else "reading headers")
    tables, results = [_READ.empty_table()], _nothing()
    answers = _read(listing, todo, sources, demands, workers)
    with quiet(), closing(answers):
        for answer in answers:
            bar.advance(len(answer[0]))
            for result, more in zip(results, answer, strict=True):
                result.extend(more)
            if len(results[0]) >= BLOCK:
                tables.append(_as_table(results, demands))
                results = _nothing()
    return pa.concat_tables([*tables, _as_table(results, demands)])


def _read(
    listing: pa.Table,
    todo: Todo,
    sources: Sequence[Source],
    demands: Demands,
    workers: int | None,
) -> Generator[Answer]:
    """Answers for one source after another, each read as it is best read."""
    places = listing.column("source").to_numpy()[todo.rows]
    for place, source in enumerate(sources):
        rows = todo.rows[slice(*np.searchsorted(places, [place, place + 1]))]
        if _is_far(source, listing.column("path"), rows):
            jobs = _jobs(listing, todo, source, rows, FAR_BATCH)
            yield from read_far(jobs, demands=demands)
        else:
            size = batch_size(len(rows), demands)
            jobs = _jobs(listing, todo, source, rows, size)
            yield from read_in_order(jobs, files=len(rows), demands=demands, workers=workers)


def _is_far(source: Source, paths: pa.ChunkedArray, rows: IntArray) -> bool:
    if is_remote(source.root) or source.confined:
        return is_remote(source.root)
    return bool(pc.any(pc.match_substring(paths.take(pa.array(rows)), "://")).as_py())


def _nothing() -> list[list[Any]]:
    return [[] for _ in FileRead._fields]


def _as_table(results: list[list[Any]], demands: Demands) -> pa.Table:
    height, width, refused, captions = results
    return pa.table(
        {
            "height": height,
            "width": width,
            "reason": refused,
            "caption": [caption or "" for caption in captions],
            "measured": [True] * len(height),
            "verified": [demands.decodes] * len(height),
            "caption_read": [caption is not None for caption in captions],
        },
        schema=_READ,
    )


def _jobs(
    listing: pa.Table, todo: Todo, source: Source, rows: IntArray, size: int
) -> Iterator[list[Job]]:
    """Batches of so many jobs, for some rows of one source."""
    root, far = source.root, is_remote(source.root)
    where = listing.select(["path", "container", "offset", "bytes"])
    for low in range(0, len(rows), size):
        some = rows[low : low + size]
        columns = [column.to_pylist() for column in where.take(pa.array(some)).columns]
        batch = []
        for row, path, container, offset, length in zip(some.tolist(), *columns, strict=True):
            image = joined(root, container or path) if todo.header[row] else ""
            caption = joined(root, source.caption_path(path)) if todo.caption[row] else ""
            if container or far or (":" in path and is_remote(path)):
                suffix = os.path.splitext(path)[1]  # noqa: PTH122 - many times faster than pathlib
                batch.append(Job(image, caption, offset, length, suffix))
            else:
                batch.append(Job(image, caption))
        yield batch
