"""Reading what is new, and putting it together with what is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lit_buckets.headers import FileRead, Job, quiet
from lit_buckets.manifest import SCHEMA
from lit_buckets.scan.changes import IntArray, Known, Todo
from lit_buckets.scan.listing import BLOCK, CAPTION_UNREAD, NO_CAPTION
from lit_buckets.scan.progress import Progress
from lit_buckets.scan.readers import BATCH, read_in_order
from lit_buckets.sources import Source

__all__ = ["assemble", "read_files"]

_READ = pa.schema(
    [
        *(SCHEMA.field(name) for name in ("height", "width", "reason", "caption")),
        pa.field("caption_read", pa.bool_()),
    ]
)


def read_files(
    listing: pa.Table,
    todo: Todo,
    sources: Sequence[Source],
    max_image_pixels: int,
    workers: int | None,
    bar: Progress,
) -> pa.Table:
    """Read headers and captions; one row of results for each of the rows to read."""
    bar.begin(len(todo.rows))
    tables, results = [_READ.empty_table()], list[FileRead]()
    answers = read_in_order(
        _jobs(listing, todo, sources),
        files=len(todo.rows),
        max_image_pixels=max_image_pixels,
        workers=workers,
    )
    with quiet(), closing(answers):
        for answer in answers:
            bar.advance(len(answer))
            results += answer
            if len(results) >= BLOCK:
                tables.append(_as_table(results))
                results = []
    return pa.concat_tables([*tables, _as_table(results)])


def _as_table(results: list[FileRead]) -> pa.Table:
    return pa.table(
        {
            "height": [result.height for result in results],
            "width": [result.width for result in results],
            "reason": [result.refused for result in results],
            "caption": [result.caption or "" for result in results],
            "caption_read": [result.caption is not None for result in results],
        },
        schema=_READ,
    )


def _jobs(listing: pa.Table, todo: Todo, sources: Sequence[Source]) -> Iterator[list[Job]]:
    prefixes = [f"{source.root}/" if source.root else "" for source in sources]
    paths, places = listing.column("path"), listing.column("source").to_numpy()
    for low in range(0, len(todo.rows), BATCH):
        rows = todo.rows[low : low + BATCH]
        batch = []
        for row, path in zip(rows.tolist(), paths.take(pa.array(rows)).to_pylist(), strict=True):
            source, prefix = sources[places[row]], prefixes[places[row]]
            image = prefix + path if todo.header[row] else ""
            caption = prefix + source.caption_path(path) if todo.caption[row] else ""
            batch.append(Job(image, caption))
        yield batch


def assemble(listing: pa.Table, known: Known, todo: Todo, fresh: pa.Table) -> pa.Table:
    """The listing with sizes, reasons and captions, each read now or known from before."""
    new = np.full(len(listing), -1, dtype=np.int64)
    new[todo.rows] = np.arange(len(todo.rows)) + len(known.rows)
    refused = pc.not_equal(listing.column("reason"), "").to_numpy()
    caption_times = listing.column("caption_mtime_ns").to_numpy().copy()
    headers = np.where(refused, -1, np.where(todo.header, new, todo.earlier))
    captions = np.where(todo.caption, new, todo.earlier)
    captions[refused | (caption_times == NO_CAPTION)] = -1

    def gather(name: str, index: IntArray, default: Any) -> pa.ChunkedArray:
        both = pa.chunked_array(known.rows.column(name).chunks + fresh.column(name).chunks)
        picked = both.take(pa.array(index, mask=index < 0))
        return pc.fill_null(picked, pa.scalar(default, SCHEMA.field(name).type))

    caption_times[todo.rows[~fresh.column("caption_read").to_numpy()]] = CAPTION_UNREAD
    reasons = pc.if_else(pa.array(refused), listing.column("reason"), gather("reason", headers, ""))
    columns = {name: listing.column(name) for name in listing.column_names}
    columns |= {
        "height": gather("height", headers, 0),
        "width": gather("width", headers, 0),
        "caption": gather("caption", captions, ""),
        "caption_mtime_ns": pa.chunked_array([pa.array(caption_times)]),
        "reason": reasons,
    }
    return pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)
