"""Which columns of a table mean what, and what becomes of the others."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from lit_buckets.errors import ConfigError, DataError
from lit_buckets.sources.base import LISTED, MissingCaption, check_free, check_repeats

__all__ = ["AUTO", "Columns", "Roles", "captions_of", "further_of", "is_binary", "sizes_of", "text"]

#: In place of a column's name: found out from the names that there are.
AUTO = "auto"

#: What `AUTO` finds, where a table has one of them.
IMAGE_NAMES = ("path", "file_name", "image")
CAPTION_NAMES = ("caption", "text")
SIZE_NAMES = ("height", "width")

#: Columns of a listing: where a table has such a one that means something else, or is not the one
#: that is meant, it is none of those that come along.
_OWN_NAMES = ("path", "caption", *SIZE_NAMES)


@dataclass(frozen=True)
class Columns:
    """What sources with columns have in common.

    Attributes:
        repeats: How often each image comes in an epoch; at least 1.
        missing_caption: Whether images without a caption stay, are refused, or are an error.
        image_column: The column that holds the image or names its file.
        caption_column: The column that holds the caption; None for no captions.
        height_column: The column that holds the height as displayed, in pixels; None to read it.
        width_column: The same of the width.
        columns: Further columns that the batches carry; None for all but those called path,
            caption, height or width.

    Raises:
        ConfigError: If an attribute is out of its range.
    """

    _: KW_ONLY
    repeats: int = 1
    missing_caption: MissingCaption = "empty"
    image_column: str = AUTO
    caption_column: str | None = AUTO
    height_column: str | None = AUTO
    width_column: str | None = AUTO
    columns: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        check_repeats(self.repeats)
        if (self.height_column is None) != (self.width_column is None):
            raise ConfigError(
                f"height_column={self.height_column!r} and width_column={self.width_column!r} must "
                f"both name a column, or both be null; one side is no size. Set both to null."
            )

    @property
    def label(self) -> str:
        """What messages call the source; each kind says it."""
        raise NotImplementedError

    def caption_path(self, path: str) -> str:
        """No image has a caption file."""
        raise DataError(f"path={self.label!r} holds the captions itself; {path!r} has no file.")

    def column_options(self) -> dict[str, Any]:
        """The part of a source's identity that is said here."""
        return {
            "image_column": self.image_column,
            "caption_column": self.caption_column,
            "height_column": self.height_column,
            "width_column": self.width_column,
            "columns": self.columns and list(self.columns),
        }

    def names_of_text(self) -> set[str]:
        """Columns that hold text if they are there: the image's path and the caption."""
        image = IMAGE_NAMES if self.image_column == AUTO else (self.image_column,)
        caption = CAPTION_NAMES if self.caption_column == AUTO else (self.caption_column,)
        return {name for name in (*image, *caption) if name is not None}

    def roles(self, names: Sequence[str], label: str, image: str | None = None) -> Roles:
        """Which of the columns that there are mean what.

        Args:
            names: All columns.
            label: What messages call the table.
            image: The image's column, where the kind of source knows it; `image_column` is then
                not asked for.

        Raises:
            ConfigError: If a column is not there that was asked for, or if it is not clear which
                is meant.
            DataError: If a further column has the name of one of a listing's.
        """
        chooser = _Chooser(names, label)
        if image is None:
            image = chooser.one("image_column", self.image_column, IMAGE_NAMES)
        if image is None:
            raise ConfigError(
                f"path={label!r} has no column {_listed(IMAGE_NAMES)}; it has {len(names)}: "
                f"{_listed(names)}. Set image_column to the one that names the images."
            )
        caption = chooser.one("caption_column", self.caption_column, CAPTION_NAMES)
        height, width = (
            chooser.one(f"{side}_column", column, (side,))
            for side, column in zip(
                SIZE_NAMES, (self.height_column, self.width_column), strict=True
            )
        )
        if (height is None) != (width is None):
            have, lack = SIZE_NAMES if width is None else SIZE_NAMES[::-1]
            raise ConfigError(
                f"path={label!r} has a column {height or width!r} but none for the {lack}; one "
                f"side is no size. Set {lack}_column, or set both it and {have}_column to null."
            )
        if self.columns is None:
            apart = {image, caption, height, width, *_OWN_NAMES}
            further = tuple(name for name in names if name not in apart)
        else:
            named = [chooser.known("columns", name) for name in self.columns]
            meant = {"path": image, "caption": caption, "height": height, "width": width}
            # what the batch has of itself is no further column
            further = tuple(name for name in named if meant.get(name) != name)
        check_free(further, LISTED.names, label)
        return Roles(image, caption, height, width, further)


class Roles(NamedTuple):
    """Which columns mean what; None where there is none.

    Attributes:
        image: The image or its file.
        caption: Its caption.
        height: Its height.
        width: Its width.
        further: What the batches carry beside.
    """

    image: str
    caption: str | None
    height: str | None
    width: str | None
    further: tuple[str, ...]


class _Chooser(NamedTuple):
    names: Sequence[str]
    label: str

    def one(self, option: str, given: str | None, usual: Sequence[str]) -> str | None:
        """The column that an option means."""
        if given is None:
            return None
        if given != AUTO:
            return self.known(option, given)
        found = [name for name in usual if name in self.names]
        blurred = [name for name in self.names if name.strip() in usual]
        if blurred and not found:
            raise ConfigError(
                f"{option}={AUTO!r} finds no column in path={self.label!r}; the name of its "
                f"column {blurred[0]!r} begins or ends with a space. Remove it, or set "
                f"{option}={blurred[0]!r}."
            )
        if len(found) > 1:
            raise ConfigError(
                f"{option}={AUTO!r} leaves open which column of path={self.label!r} is meant; it "
                f"has {len(found)} that may be: {_listed(found)}. Set {option}={found[0]!r}."
            )
        return found[0] if found else None

    def known(self, option: str, name: str) -> str:
        """The name, if there is such a column."""
        if name in self.names:
            return name
        near = difflib.get_close_matches(name, self.names, n=1)
        fix = f"Did you mean {near[0]!r}?" if near else "Choose one of these."
        raise ConfigError(
            f"{option}={name!r} is no column of path={self.label!r}; it has {len(self.names)}: "
            f"{_listed(self.names)}. {fix}"
        )


def text(column: pa.ChunkedArray, name: str, label: str) -> pa.ChunkedArray:
    """A column of text, whatever kind of text it is stored as.

    Raises:
        DataError: If it holds something else.
    """
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)
    if is_text or "string_view" in str(kind):
        return column.cast(kind).cast(pa.large_string())
    fix = "Name another column, or write it as text."
    if _holds_bytes(kind):
        fix = "Save it with save_to_disk of Hugging Face's datasets, and name that folder."
    raise DataError(
        f"path={label!r} holds {kind} in the column {name!r}, which must hold text; it has "
        f"{len(column):,} rows. {fix}"
    )


def captions_of(table: pa.Table, column: str | None, label: str) -> pa.ChunkedArray:
    """Captions, "" where there is none."""
    if column is None:
        return pa.chunked_array([pa.repeat(pa.scalar("", pa.large_string()), len(table))])
    return pc.fill_null(text(table.column(column), column, label), "")


def sizes_of(table: pa.Table, roles: Roles, label: str) -> dict[str, pa.ChunkedArray]:
    """Heights and widths in pixels, 0 where a table does not know; nothing if it has no columns.

    Raises:
        DataError: If a side is no whole number, or too large to be one.
    """
    sides = {}
    for side, column in (("height", roles.height), ("width", roles.width)):
        if column is None:
            return {}
        try:
            sides[side] = pc.max_element_wise(
                pc.fill_null(table.column(column).cast(pa.int32()), 0), pa.scalar(0, pa.int32())
            )
        except pa.ArrowException as error:
            raise DataError(
                f"path={label!r} holds no whole numbers of pixels in the column {column!r}: "
                f"{error}. Correct it, or set height_column=null and width_column=null."
            ) from None
    return sides


def further_of(table: pa.Table, names: Sequence[str], label: str) -> dict[str, pa.ChunkedArray]:
    """Further columns, by name, of types that stay the same when tables are put together.

    Raises:
        DataError: If one holds images themselves: the manifest is no place for them; or values of
            a type that cannot be taken row by row.
    """
    for name in names:
        if _holds_bytes(table.schema.field(name).type):
            raise DataError(
                f"path={label!r} holds files themselves in the column {name!r}, of type "
                f"{table.schema.field(name).type}; the manifest has room for values only. "
                f"Leave it out with 'columns', a list of those to keep."
            )
    plain = {name: _plain(table.column(name)) for name in names}
    for name, column in plain.items():
        if "_view" in str(column.type):
            raise DataError(
                f"path={label!r} holds {column.type} in the column {name!r}, a type whose rows "
                f"Arrow cannot choose from. Write it as lists and strings, or leave it out with "
                f"'columns', a list of those to keep."
            )
    return plain


def _holds_bytes(kind: pa.DataType) -> bool:
    """Whether a structure anywhere in a type holds bytes, as Hugging Face stores a file."""
    inner = [kind.field(i).type for i in range(kind.num_fields)]
    if pa.types.is_struct(kind) and any(map(is_binary, inner)):
        return True
    return any(map(_holds_bytes, inner))


def is_binary(kind: pa.DataType) -> bool:
    """Whether values of a type are bytes."""
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], kind.storage_type)
        return _plain(column)
    if pa.types.is_dictionary(kind):
        return _plain(column.cast(kind.value_type))
    larger = {"string": pa.large_string(), "binary": pa.large_binary()}
    name = str(kind).removesuffix("_view")
    return column.cast(larger[name]) if name in larger else column


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:8])
    return f"{shown}, ..." if len(names) > 8 else shown
