"""A table that names image files: CSV, JSON lines or Parquet."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lit_buckets.errors import ConfigError
from lit_buckets.sources.base import BLOCK, LISTED, Block, Earlier
from lit_buckets.sources.columns import (
    Columns,
    captions_of,
    further_of,
    sizes_of,
    text,
)
from lit_buckets.sources.named_files import Files, clean
from lit_buckets.sources.table_files import TABLE_SUFFIXES, read_table, suffix_of
from lit_buckets.storage import absolute, is_remote, without_query

__all__ = ["TableSource"]


@dataclass(frozen=True)
class TableSource(Columns):
    """Image files that the rows of a table name, in the order of the rows.

    A row is refused by name if its file is missing or no file at all, if an earlier row names
    the same file, or if its path leads out of the root (it is absolute, has a "..", or is a link)
    and `allow_outside` does not allow it. Other files in the root are not part of the dataset.

    Attributes:
        path: The table, or its URL; its suffix says how it is written.
        image_root: Folder or URL that the table's paths begin at; None for the table's folder.
        allow_outside: Whether paths and links may lead out of it.

    Raises:
        ConfigError: If an attribute is out of its range.
    """

    path: str | os.PathLike[str]
    _: KW_ONLY
    image_root: str | os.PathLike[str] | None = None
    allow_outside: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not suffix_of(self.label):
            raise ConfigError(
                f"path={self.label!r} must be a table; its suffix is none of the "
                f"{len(TABLE_SUFFIXES)} known, {', '.join(TABLE_SUFFIXES)}. Rename it."
            )

    @property
    def label(self) -> str:
        """Absolute path of the table, or its URL."""
        return absolute(self.path)

    @property
    def root(self) -> str:
        """What the paths in the table begin at."""
        if self.image_root is not None:
            return absolute(self.image_root)
        table = without_query(self.label)
        return table[: table.rfind("/")] or "/"

    @property
    def confined(self) -> bool:
        """Whether nothing outside the root may be read."""
        return not self.allow_outside

    def identity(self) -> Mapping[str, Any]:
        """All that decides which images are listed, and how."""
        return {"kind": "table", **self.column_options()}

    def blocks(self, *, earlier: Earlier, apart_from: Collection[str] = ()) -> Iterator[Block]:
        """One row of the listing for each row of the table.

        Args:
            earlier: Not needed: the table is read each time, the images are not.
            apart_from: Not needed: what a table names is meant.

        Raises:
            ConfigError: If the table lacks a column that is asked for.
            DataError: If the table cannot be read, or a column is of a wrong type.
        """
        table = read_table(self.label, as_text=self.names_of_text())
        roles = self.roles(table.column_names, self.label)
        names = clean(
            text(table.column(roles.image), roles.image, self.label),
            confined=self.confined,
            is_far=is_remote(self.root),
            is_web=self.root.startswith(("http://", "https://")),
        )
        rows = pa.table(
            {
                "path": names.paths,
                "reason": names.reasons,
                "caption": captions_of(table, roles.caption, self.label),
                **sizes_of(table, roles, self.label),
                **further_of(table, roles.further, self.label),
            }
        )
        files = Files(self.root, confined=self.confined)
        for low in range(0, len(rows), BLOCK):
            yield Block(_looked_at(rows.slice(low, BLOCK), files))


def _looked_at(rows: pa.Table, files: Files) -> pa.Table:
    """The rows with what their files look like."""
    named = pc.equal(rows.column("reason"), "")
    looks = files.look(rows.column("path").filter(named).to_pylist())
    columns = {
        field.name: pa.array(column, field.type)
        for field, column in zip(map(LISTED.field, looks._fields), looks, strict=True)
    }
    if len(looks.reason) < len(rows):  # what is refused already is not looked at
        index = pc.subtract(pc.cumulative_sum(named.cast(pa.int64())), 1)
        index = pc.if_else(named, index, None)
        columns = {name: column.take(index) for name, column in columns.items()}
        columns["reason"] = pc.coalesce(columns["reason"], rows.column("reason"))
    rows = rows.drop_columns(["reason"])
    for name, column in columns.items():
        rows = rows.append_column(name, column)
    return rows
