"""Reading what is new."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing

import pyarrow as pa

from lit_buckets.headers import FileRead, Job, quiet
from lit_buckets.manifest import SCHEMA
from lit_buckets.scan.changes import Todo
from lit_buckets.scan.progress import Progress
from lit_buckets.scan.readers import BATCH, read_in_order
from lit_buckets.sources import BLOCK, Source
from lit_buckets.storage import joined

__all__ = ["read_files"]

_READ = pa.schema(
    [
        *(SCHEMA.field(name) for name in ("height", "width", "reason", "caption")),
        pa.field("measured", pa.bool_()),
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
            "measured": [True] * len(results),
            "caption_read": [result.caption is not None for result in results],
        },
        schema=_READ,
    )


def _jobs(listing: pa.Table, todo: Todo, sources: Sequence[Source]) -> Iterator[list[Job]]:
    roots = [source.root for source in sources]
    where = listing.select(["source", "path", "container", "offset", "bytes"])
    for low in range(0, len(todo.rows), BATCH):
        rows = todo.rows[low : low + BATCH]
        columns = [column.to_pylist() for column in where.take(pa.array(rows)).columns]
        batch = []
        for row, place, path, container, offset, length in zip(
            rows.tolist(), *columns, strict=True
        ):
            root, image, caption = roots[place], "", ""
            if todo.header[row]:
                image = joined(root, container or path)
            if todo.caption[row]:
                caption = joined(root, sources[place].caption_path(path))
            if container:
                suffix = os.path.splitext(path)[1]  # noqa: PTH122 - many times faster than pathlib
                batch.append(Job(image, caption, offset, length, suffix))
            else:
                batch.append(Job(image, caption))
        yield batch
