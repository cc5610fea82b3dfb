"""Tables of images as Arrow reads them: CSV, JSON lines, Parquet."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from lit_buckets.errors import DataError
from lit_buckets.storage import Span, is_remote, read

__all__ = ["TABLE_SUFFIXES", "read_table", "suffix_of"]

#: Suffixes of the files that are read as tables.
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")

_BLOCK = 2**26  # bytes that are parsed at a time; no row may be longer


def suffix_of(path: str) -> str:
    """The suffix that tells how a table is written, in lower case; "" if it is none of them."""
    suffix = os.path.splitext(path)[1].lower()  # noqa: PTH122 - of a URL, too
    return suffix if suffix in TABLE_SUFFIXES else ""


def read_table(path: str, *, as_text: Collection[str]) -> pa.Table:
    """All rows and columns of a table.

    Args:
        path: Absolute path or URL; its suffix says how it is written.
        as_text: Columns that hold text, whatever it looks like: a caption may be "1984". The
            types of others are found out, in CSV and JSON lines, by Arrow's rules, but that dates
            and times stay text. A name that no column has is no mistake.

    Raises:
        DataError: If the file cannot be read, or is not written as its suffix says.
    """
    suffix = suffix_of(path)
    try:
        file = pa.BufferReader(read(Span(path))) if is_remote(path) else pa.OSFile(path)
        with file:
            if suffix == ".parquet":
                table = pyarrow.parquet.ParquetFile(file).read()
            else:
                table = _read_text(file, suffix, as_text)
    except (OSError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DataError(
            f"path={path!r} cannot be read as a table: {reason[:300]}. Correct the file."
        ) from None
    twice = {name for name in table.column_names if table.column_names.count(name) > 1}
    if twice:
        raise DataError(
            f"path={path!r} has {len(table.column_names)} columns, more than one of them named "
            f"{min(twice)!r}. Rename them."
        )
    return table.replace_schema_metadata(None)


def _read_text(file: Any, suffix: str, as_text: Collection[str]) -> pa.Table:
    read = _read_csv if suffix in (".csv", ".tsv") else _read_json
    table = read(file, as_text, suffix)
    times = {field.name for field in table.schema if pa.types.is_temporal(field.type)}
    if not times:
        return table
    file.seek(0)
    return read(file, {*as_text, *times}, suffix)


def _read_csv(file: Any, as_text: Collection[str], suffix: str) -> pa.Table:
    return pyarrow.csv.read_csv(
        file,
        read_options=pyarrow.csv.ReadOptions(block_size=_BLOCK),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter="\t" if suffix == ".tsv" else ",", newlines_in_values=True
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(as_text, pa.large_string())
        ),
    )


def _read_json(file: Any, as_text: Collection[str], suffix: str) -> pa.Table:
    schema = pa.schema([pa.field(name, pa.large_string()) for name in sorted(as_text)])
    table = pyarrow.json.read_json(
        file,
        read_options=pyarrow.json.ReadOptions(block_size=_BLOCK),
        parse_options=pyarrow.json.ParseOptions(explicit_schema=schema),
    )
    # Arrow adds columns that only the schema has: such as have no value at all are taken for none
    absent = [n for n in as_text if table.column(n).null_count == len(table)]
    return table.drop_columns(absent)
