"""The rows of a tar shard: from its samples, or taken over from an earlier pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lit_buckets.errors import DataError
from lit_buckets.headers import Content
from lit_buckets.sources.base import BLOCK, LISTED, Block, Container, Earlier
from lit_buckets.sources.columns import AUTO, Columns, Roles, further_of
from lit_buckets.sources.samples import Sample, samples
from lit_buckets.sources.tar import Member, TarError, members

__all__ = ["index", "taken_over"]

_LARGEST = 2**31 - 1  # pixels of a side


def index(
    archive: Content, name: str, change: int, columns: Columns, *, captions: str | None, label: str
) -> Block:
    """The rows of a shard, from its members.

    Args:
        archive: The shard.
        name: Its path relative to the root of its source.
        change: Its stamp.
        columns: Which fields mean what.
        captions: Suffix of the members that hold captions.
        label: What messages call the source.

    Raises:
        ConfigError: If a field is not there that was asked for, or it is not clear which is meant.
        DataError: If the values of a field do not go together.
        OSError: If the shard cannot be read.
    """
    image = None if columns.image_column == AUTO else columns.image_column.removeprefix(".")
    damage: list[str] = []
    whole = _whole(members(archive), damage)
    found = samples(whole, archive, image=image, captions=captions)
    tables = []
    while block := list(islice(found, BLOCK)):
        tables.append(_table(block, name, change, columns, label))
    if not tables and not damage:
        damage.append("none of its members is part of a sample")
    if damage:  # what is whole is used; nothing says that the rest will never come
        tables.append(pa.table({"path": [name], "reason": damage}))
    try:
        rows = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise _mixed(name, label, error) from None
    rows = _named_once(rows)
    if damage:
        return Block(rows)
    rows = _in_order(rows)
    further = [field for field in rows.schema if field.name not in LISTED.names]
    return Block(rows, Container(name, archive.length, change, pa.schema(further)))


def _whole(found: Iterator[Member], damage: list[str]) -> Iterator[Member]:
    """Members up to where a shard is damaged, if it is; the reason is noted."""
    try:
        yield from found
    except TarError as error:
        damage.append(str(error))


def _in_order(rows: pa.Table) -> pa.Table:
    """The rows by where their images lie: links may lie elsewhere than they come.

    So that a later pass, which does not see the members, has them in the same order.
    """
    if (np.diff(rows.column("offset").to_numpy()) > 0).all():
        return rows
    return rows.sort_by([("offset", "ascending"), ("path", "ascending")])


def _named_once(rows: pa.Table) -> pa.Table:
    """The rows, those refused whose names came before."""
    paths = rows.column("path").combine_chunks()
    again = np.flatnonzero(pc.index_in(paths, value_set=paths).to_numpy() != np.arange(len(rows)))
    if not len(again):
        return rows
    names, reasons = paths.to_pylist(), rows.column("reason").to_pylist()
    for row in again.tolist():
        names[row] = f"{names[row]} (sample {row + 1})"
        reasons[row] = reasons[row] or "an earlier sample of the shard has its name"
    for column, values in (("path", names), ("reason", reasons)):
        rows = rows.set_column(rows.column_names.index(column), column, pa.array(values))
    return rows


def _table(
    block: Sequence[Sample], shard: str, change: int, columns: Columns, label: str
) -> pa.Table:
    names = dict.fromkeys(name for sample in block for name in (*sample.fields, *sample.beside))
    asked_for = columns.columns or ()  # not all samples need have them
    roles = columns.roles([*names, *(name for name in asked_for if name not in names)], label, "")
    captions, refused = zip(*(_caption(sample, roles, columns) for sample in block), strict=True)
    sides = {
        side: [_side(sample.fields.get(column)) for sample in block]
        for side, column in (("height", roles.height), ("width", roles.width))
        if column is not None
    }
    further = {name: _column(name, block, shard, label) for name in roles.further if name in names}
    return pa.table(
        {
            "path": [f"{shard}/{sample.name}" for sample in block],
            "container": [shard] * len(block),
            "offset": [sample.offset for sample in block],
            "bytes": [sample.bytes for sample in block],
            "mtime_ns": [change] * len(block),
            "caption": captions,
            "reason": refused,
            **sides,
            **further_of(pa.table(further), [*further], label),
        }
    )


def _caption(sample: Sample, roles: Roles, columns: Columns) -> tuple[str, str]:
    """The caption of a sample, and why it is refused, if it is."""
    caption: Any = sample.caption
    if roles.caption is not None and (caption is None or columns.caption_column != AUTO):
        caption = sample.fields.get(roles.caption)
    if caption is None or isinstance(caption, str):
        return caption or "", sample.refused
    kind = type(caption).__name__
    return "", sample.refused or f"its {roles.caption!r} must be text; it is of type {kind}"


def _side(value: object) -> int:
    """Pixels; 0 where JSON gives no whole number of them."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        return 0
    return int(value) if value == value // 1 and 0 < value <= _LARGEST else 0


def _column(name: str, block: Sequence[Sample], shard: str, label: str) -> pa.Array:
    """The values of a field, or of a further image, in each sample; null where it has none."""
    values = [
        f"{shard}/{sample.beside[name].name}@{sample.beside[name].offset}+"
        f"{sample.beside[name].bytes}"
        if name in sample.beside
        else sample.fields.get(name)
        for sample in block
    ]
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError) as error:
        raise _mixed(shard, label, error, name) from None


def _mixed(shard: str, label: str, error: Exception, name: str = "") -> DataError:
    which = f"the field {name!r}" if name else "a field"
    return DataError(
        f"path={label!r} has values in {which} that do not go together, in the shard {shard!r}: "
        f"{error}. Give it one type, or leave it out with 'columns', a list of those to keep."
    )


def taken_over(earlier: Earlier) -> Callable[[str, int, int], Block | None]:
    """A function that gives the rows of a shard which is as it was, from its name and stamp.

    Args:
        earlier: Rows and containers of an earlier pass.
    """
    codes = earlier.rows.column("container").combine_chunks().dictionary_encode()
    place = {name: code for code, name in enumerate(codes.dictionary.to_pylist())}
    codes = codes.indices.to_numpy()
    order = np.argsort(codes, kind="stable")
    ends = np.searchsorted(codes[order], np.arange(len(place) + 1))

    def known(name: str, length: int, change: int) -> Block | None:
        container = earlier.containers.get(name)
        if container is None or container[1:3] != (length, change) or name not in place:
            return None
        rows = earlier.rows.take(pa.array(order[slice(*ends[place[name] :][:2])]))
        try:
            return Block(_as_listed(_in_order(rows), container), container)
        except pa.ArrowException:  # values that do not go back to the type that they had
            return None

    return known


def _as_listed(rows: pa.Table, container: Container) -> pa.Table:
    """Rows of a manifest as they were listed; what was read since is left out."""
    own = pc.equal(rows.column("mtime_ns"), -1)  # refused by its source, not for its content
    listed = {
        name: rows.column(name)
        for name in ("path", "container", "offset", "bytes", "caption", "height", "width")
    }
    further = {
        field.name: pa.nulls(len(rows))
        if pa.types.is_null(field.type)
        else rows.column(field.name).cast(field.type)
        for field in container.columns
    }
    return pa.table(
        {
            **listed,
            "mtime_ns": pa.repeat(container.change, len(rows)),
            "reason": pc.if_else(own, rows.column("reason"), ""),
            **further,
        }
    )
