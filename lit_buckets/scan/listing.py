"""What there is: everything that the sources list."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from lit_buckets.errors import DataError
from lit_buckets.headers import SUFFIXES
from lit_buckets.manifest import BATCH_FIELDS, SCHEMA
from lit_buckets.scan.progress import Progress
from lit_buckets.sources import (
    LISTED,
    NO_CAPTION,
    Container,
    Earlier,
    FolderSource,
    ImageFolderSource,
    Source,
    check_free,
)
from lit_buckets.storage import is_remote

__all__ = ["CAPTION_UNREAD", "NO_CAPTION", "RESERVED", "Listing", "list_sources"]

#: In place of a caption file's time of change, where it could not be read.
CAPTION_UNREAD = -2
#: Names that no further column may have: the batches' own keys, and the manifest's columns.
RESERVED = frozenset({*BATCH_FIELDS, *SCHEMA.names})

_DEFAULTS: dict[str, Any] = {
    "bytes": 0,
    "mtime_ns": 0,
    "container": "",
    "offset": 0,
    "reason": "",
    "height": 0,
    "width": 0,
    "caption": None,
    "caption_bytes": 0,
    "caption_mtime_ns": NO_CAPTION,
    "measured": False,
    "verified": False,
}


class Listing(NamedTuple):
    """Everything that the sources list.

    Attributes:
        rows: One source after another: the columns of `LISTED`, `source`, `repeats`, `measured`
            (false), and further columns. Where a source itself refuses an image, `reason` is set
            and `mtime_ns` is -1.
        containers: For each source, the files whose index is to be used again.
    """

    rows: pa.Table
    containers: list[list[Container]]


def list_sources(sources: Sequence[Source], earlier: Sequence[Earlier], bar: Progress) -> Listing:
    """Everything that the sources list, in order: what is known of the images without reading them.

    Args:
        sources: What to list.
        earlier: What is known of each from an earlier pass.
        bar: Is told how many there are.

    Raises:
        DataError: If a source cannot be listed or holds nothing, two sources are the same, or
            their further columns do not fit together.
    """
    folders = [_real_folder(source) for source in sources]
    tables, containers = [], []
    for place, source in enumerate(sources):
        others = {folder for folder in folders[:place] + folders[place + 1 :] if folder}
        if folders[place] in others or _is_listed(source, sources[:place]):
            raise DataError(
                f"path={source.label!r} is listed twice among {len(sources)} sources, and an image "
                f"belongs to one. Keep one of them, and give it 'repeats'."
            )
        rows, indexed = _list(source, earlier[place], others, bar)
        tables.append(_complete(rows, place, source.repeats))
        containers.append(indexed)
    return Listing(_together(tables, sources).combine_chunks(), containers)


def _real_folder(source: Source) -> str:
    if not isinstance(source, (FolderSource, ImageFolderSource)):
        return ""
    return source.root if is_remote(source.root) else os.path.realpath(source.root)


def _is_listed(source: Source, before: Sequence[Source]) -> bool:
    identity = (source.label, source.root, source.identity())
    return any((other.label, other.root, other.identity()) == identity for other in before)


def _list(
    source: Source, earlier: Earlier, others: Collection[str], bar: Progress
) -> tuple[pa.Table, list[Container]]:
    tables, containers = [], []
    for rows, container in source.blocks(earlier=earlier, apart_from=others):
        further = [name for name in rows.column_names if name not in LISTED.names]
        check_free(further, RESERVED, source.label)
        bar.listed(len(rows))
        tables.append(rows)
        containers += [] if container is None else [container]
    if not sum(map(len, tables)):
        raise DataError(_empty(source))
    return _united(tables, source), containers


def _empty(source: Source) -> str:
    if isinstance(source, FolderSource):
        return (
            f"path={source.root!r} holds no image: of its files, 0 have one of the "
            f"{len(SUFFIXES)} known suffixes (.jpg, .png, .webp, ...). Check the path."
        )
    return f"path={source.label!r} names no image: it has 0 rows. Check the path."


def _united(tables: Sequence[pa.Table], source: Source) -> pa.Table:
    """One table of several, each column of the type that holds all of its values."""
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        name, types = _in_conflict([table.schema for table in tables], error)
        raise DataError(
            f"path={source.label!r} has a column {name!r} of {len(types)} types that do not go "
            f"together, {' and '.join(types)}. Give it one type, or leave it out with 'columns'."
        ) from None


def _together(tables: Sequence[pa.Table], sources: Sequence[Source]) -> pa.Table:
    """The tables of all sources as one; further columns that one of them lacks are null there."""
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        name, types = _in_conflict([table.schema for table in tables], error)
        having = [
            f"{table.schema.field(name).type} in path={source.label!r}"
            for table, source in zip(tables, sources, strict=True)
            if name in table.column_names
        ]
        raise DataError(
            f"column {name!r} has {len(types)} types that do not go together: "
            f"{', '.join(having[:3])}. Give it one type, or leave it out with 'columns'."
        ) from None


def _in_conflict(schemas: Sequence[pa.Schema], error: Exception) -> tuple[str, list[str]]:
    """The column whose types cannot be united, and these types."""
    for name in dict.fromkeys(name for schema in schemas for name in schema.names):
        fields = [schema.field(name) for schema in schemas if name in schema.names]
        try:
            pa.unify_schemas([pa.schema([f]) for f in fields], promote_options="permissive")
        except pa.ArrowException:
            return name, list(dict.fromkeys(str(field.type) for field in fields))
    raise DataError(
        f"the columns of {len(schemas)} tables do not go together: {error}. Give each one type, or "
        f"leave it out with 'columns'."
    ) from None


def _complete(rows: pa.Table, place: int, repeats: int) -> pa.Table:
    """The columns of a listing, those that the source leaves out included."""
    count = len(rows)
    own = ("source", "repeats", "measured", "verified")
    fields = [*LISTED, *(SCHEMA.field(name) for name in own)]
    defaults = _DEFAULTS | {"source": place, "repeats": repeats}
    columns = {}
    for field in fields:
        default = pa.scalar(defaults.get(field.name), field.type)
        if field.name in rows.column_names:
            given = rows.column(field.name).cast(field.type)
            columns[field.name] = pc.fill_null(given, default) if default.is_valid else given
        else:
            columns[field.name] = pa.chunked_array([pa.repeat(default, count)])
    refused = pc.not_equal(columns["reason"], "")
    columns["mtime_ns"] = pc.if_else(refused, pa.scalar(-1, pa.int64()), columns["mtime_ns"])
    columns["caption_mtime_ns"] = pc.if_else(
        refused, pa.scalar(NO_CAPTION, pa.int64()), columns["caption_mtime_ns"]
    )
    further = [name for name in rows.column_names if name not in columns]
    columns |= {name: rows.column(name) for name in further}
    schema = pa.schema([*fields, *(rows.schema.field(name) for name in further)])
    return pa.table([columns[field.name] for field in schema], schema=schema)
