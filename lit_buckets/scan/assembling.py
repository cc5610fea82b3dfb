"""What was listed, what was read now and what is known from before become the manifest's rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lit_buckets.errors import DataError
from lit_buckets.manifest import SCHEMA
from lit_buckets.scan.changes import WITHOUT_CAPTION, IntArray, Todo
from lit_buckets.scan.known import Known
from lit_buckets.scan.listing import CAPTION_UNREAD, NO_CAPTION
from lit_buckets.sources import Source

__all__ = ["assemble", "check_sizes"]


def assemble(
    rows: pa.Table, known: Known, todo: Todo, fresh: pa.Table, sources: Sequence[Source]
) -> pa.Table:
    """The listed rows with sizes, reasons and captions, each from where it is to be had.

    Args:
        rows: N rows of a `Listing`.
        known: Rows of earlier passes.
        todo: What was to be read.
        fresh: What was read of `todo.rows`.
        sources: They say what a missing caption means.

    Raises:
        DataError: If a caption is missing and its source does not allow that.
    """
    first_fresh, first_row = len(known.rows), len(known.rows) + len(fresh)
    new = np.full(len(rows), -1, dtype=np.int64)
    new[todo.rows] = np.arange(len(fresh)) + first_fresh
    own = np.arange(len(rows)) + first_row
    refused = pc.not_equal(rows.column("reason"), "").to_numpy()
    headers = np.where(refused | todo.listed, own, np.where(todo.header, new, todo.earlier))
    times = rows.column("caption_mtime_ns").to_numpy().copy()
    in_file = pc.is_null(rows.column("caption")).to_numpy() & (times != NO_CAPTION)
    captions = np.where(in_file, np.where(todo.caption, new, todo.earlier), own)

    def gather(name: str, index: IntArray) -> pa.ChunkedArray:
        pieces = [table.column(name).chunks for table in (known.rows, fresh, rows)]
        return pa.chunked_array([c for piece in pieces for c in piece]).take(pa.array(index))

    times[todo.rows[~fresh.column("caption_read").to_numpy()]] = CAPTION_UNREAD
    columns = {name: rows.column(name) for name in rows.column_names}
    of_header = ("height", "width", "measured", "verified")
    columns |= {name: gather(name, headers) for name in of_header}
    columns["caption"] = pc.fill_null(gather("caption", captions), "")
    columns["caption_mtime_ns"] = pa.chunked_array([pa.array(times)])
    reason = gather("reason", headers)
    for_itself = pc.if_else(pc.equal(reason, WITHOUT_CAPTION), "", reason)
    columns["reason"] = _without_caption(for_itself, columns["caption"], rows, sources)
    further = [rows.schema.field(name) for name in rows.column_names if name not in SCHEMA.names]
    schema = pa.schema([*SCHEMA, *further])
    return pa.table([columns[name] for name in schema.names], schema=schema)


def _without_caption(
    reason: pa.ChunkedArray, caption: pa.ChunkedArray, rows: pa.Table, sources: Sequence[Source]
) -> pa.ChunkedArray:
    """The reasons, with those of images whose caption is missing where that matters."""
    policies = [source.missing_caption for source in sources]
    if all(policy == "empty" for policy in policies):
        return reason
    places = rows.column("source").to_numpy()
    blank = pc.and_(pc.equal(pc.utf8_trim_whitespace(caption), ""), pc.equal(reason, "")).to_numpy()
    for place, source in enumerate(sources):
        missing, count = np.flatnonzero(blank & (places == place)), (places == place).sum()
        if source.missing_caption == "error" and len(missing):
            names = rows.column("path").take(pa.array(missing[:3])).to_pylist()
            raise DataError(
                f"missing_caption='error': {len(missing):,} of {count:,} images of "
                f"path={source.label!r} have no caption: "
                f"{', '.join(map(repr, names))}{', ...' if len(missing) > 3 else ''}. Write their "
                f"captions, or set missing_caption='skip' to leave them out."
            )
    skip = blank & np.isin(places, [i for i, each in enumerate(policies) if each == "skip"])
    return pc.if_else(pa.array(skip), pa.scalar(WITHOUT_CAPTION, reason.type), reason)


def check_sizes(rows: pa.Table, todo: Todo, fresh: pa.Table, sources: Sequence[Source]) -> None:
    """Hold the sizes that sources give against those that were read.

    Raises:
        DataError: If one is another.
    """
    read = todo.rows
    sizes = [
        np.stack([table.column(name).to_numpy() for name in ("height", "width")], axis=1)
        for table in (rows.take(pa.array(read)), fresh)
    ]
    compared = (sizes[0] > 0).all(axis=1) & (sizes[1] > 0).all(axis=1)
    wrong = np.flatnonzero(compared & (sizes[0] != sizes[1]).any(axis=1))
    if not len(wrong):
        return
    first = wrong[0]
    place = rows.column("source")[read[first]].as_py()
    places = rows.column("source").to_numpy()[read]
    of_source = compared & (places == place)
    count = np.count_nonzero(places[wrong] == place)
    (height, width), (real_height, real_width) = (size[first].tolist() for size in sizes)
    turned = np.array_equal(sizes[0][wrong], sizes[1][wrong][:, ::-1])
    raise DataError(
        f"path={sources[place].label!r} gives sizes that its images do not have: {count:,} of "
        f"{np.count_nonzero(of_source):,} that were looked at differ, such as "
        f"{rows.column('path')[read[first]].as_py()!r}, height {height:,} x width {width:,} in the "
        f"table and height {real_height:,} x width {real_width:,} in the file"
        f"{', as EXIF turns it' if turned else ''}. Correct the table, or set height_column=null "
        f"and width_column=null."
    )
