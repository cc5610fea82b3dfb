"""Tables of images as Arrow reads them: CSV, JSON lines, Parquet."""

from __future__ import annotations

import csv
import errno
import io
import os
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from lit_buckets.errors import DataError
from lit_buckets.storage import Span, is_file, is_remote, read, without_query

__all__ = ["TABLE_SUFFIXES", "read_table", "suffix_of"]

#: Suffixes of the files that are read as tables.
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")

_BLANKS = re.compile(r'"[ \t]+(?=[,\t\r\n]|$)')
_BLOCK = 2**26  # bytes that are parsed at a time; no row may be longer


def suffix_of(path: str) -> str:
    """The suffix that tells how a table is written, in lower case; "" if it is none of them."""
    suffix = os.path.splitext(without_query(path))[1].lower()  # noqa: PTH122 - of a URL, too
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
        with _opened(path) as file:
            if suffix == ".parquet":
                table = pyarrow.parquet.ParquetFile(file).read()
            else:
                table = _read_text(file, suffix, as_text)
        names = table.column_names
    except (OSError, ValueError, pa.ArrowException) as error:  # ValueError: not UTF-8
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DataError(
            f"path={path!r} cannot be read as a table: {reason[:300]}. Correct the file."
        ) from None
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(
            f"path={path!r} has {len(names)} columns, more than one of them named "
            f"{min(twice)!r}. Rename them."
        )
    return table.replace_schema_metadata(None)


def _opened(path: str) -> Any:
    """A table as Arrow reads it; a file of this machine must be a file, or a pipe would wait."""
    if is_remote(path):
        return pa.BufferReader(read(Span(path)))
    if os.path.exists(path) and not is_file(path):  # noqa: PTH110 - of a string
        raise OSError(errno.EINVAL, "not a file", path)
    return pa.OSFile(path)


def _read_text(file: Any, suffix: str, as_text: Collection[str]) -> pa.Table:
    read = _read_csv if suffix in (".csv", ".tsv") else _read_json
    table = read(file, as_text, suffix)
    times = {field.name for field in table.schema if pa.types.is_temporal(field.type)}
    if not times:
        return table
    file.seek(0)
    return read(file, {*as_text, *times}, suffix)


def _read_csv(file: Any, as_text: Collection[str], suffix: str) -> pa.Table:
    delimiter = "\t" if suffix == ".tsv" else ","
    table = pyarrow.csv.read_csv(
        file,
        read_options=pyarrow.csv.ReadOptions(block_size=_BLOCK),
        parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(as_text, pa.large_string())
        ),
    )
    for field in table.schema:
        if pa.types.is_binary(field.type):  # as Arrow reads what is no UTF-8
            raise ValueError(f"the column {field.name!r} is not UTF-8")
    if any(map(_has_lines, table.columns)):
        file.seek(0)
        _check_quotes(file, delimiter)
    return table


def _has_lines(column: pa.ChunkedArray) -> bool:
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    return is_text and bool(pc.any(pc.match_substring(column, "\n")).as_py())


def _check_quotes(file: Any, delimiter: str) -> None:
    """Look for a quote that is never closed: Arrow takes the rows behind it for part of its value.

    Raises:
        ValueError: If there is one, or one that is closed by the next row that has a quote.
    """
    text = io.TextIOWrapper(file, encoding="latin-1", newline="")  # keeps bytes as they are
    try:
        line = _loose_quote(map(_without_harmless, text), delimiter)
    finally:
        text.detach()  # or the file is closed with it
    if line is not None:
        raise ValueError(f"a quote that opens in line {line:,} is closed by none of its own")


def _without_harmless(line: str) -> str:
    """A line without what Arrow takes, and `csv` does not: NUL, and blanks behind a quote."""
    return _BLANKS.sub('"', line.replace("\0", ""))


def _loose_quote(lines: Iterable[str], delimiter: str) -> int | None:
    """The line, counted from 1, in which a quote opens that another row closes, or none does."""
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    with _values_of_any_length():
        while True:
            begin = rows.line_num + 1
            try:
                next(rows)
            except StopIteration:
                return None
            except csv.Error:
                if rows.line_num > begin:  # within a line nothing is lost
                    return begin


@contextmanager
def _values_of_any_length() -> Iterator[None]:
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)


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
