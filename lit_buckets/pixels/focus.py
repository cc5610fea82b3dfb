"""What a crop is to keep, from columns of a table: a point or a box in each image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lit_buckets.errors import DataError

__all__ = ["FocusUnit", "check_focus", "focus_boxes", "read_focus"]

FloatArray = npt.NDArray[np.float64]
FocusUnit = Literal["share", "pixels"]

_AT_ONCE = 1 << 18  # rows that are looked at together


class Rows(Protocol):
    """What is asked of a manifest."""

    @property
    def sizes(self) -> npt.NDArray[Any]:
        """(N, 2) displayed heights and widths, in pixels."""

    @property
    def table(self) -> pa.Table:
        """Its N rows."""

    def path(self, index: int, /) -> str:
        """Path of an image, for people."""


def focus_boxes(values: npt.ArrayLike, sizes: npt.ArrayLike, unit: FocusUnit) -> FloatArray:
    """Focus as :func:`lit_buckets.placement.place` takes it.

    Args:
        values: (..., 2) points (x, y) or (..., 4) boxes (left, top, right, bottom), counted from
            the left and the top of the displayed image; not a number where there is none.
        sizes: (..., 2) heights and widths of the displayed images, in pixels.
        unit: Whether values are shares of the images' sides, or pixels.

    Returns:
        (..., 4) top, left, bottom and right, as shares.

    Example:
        >>> focus_boxes([300, 100], [200, 400], "pixels").tolist()
        [0.5, 0.75, 0.5, 0.75]
    """
    given = np.asarray(values, dtype=np.float64)
    first, last = given[..., :2], given[..., -2:]
    corners = np.concatenate([first[..., ::-1], last[..., ::-1]], axis=-1)
    if unit == "share":
        return corners
    sides = np.asarray(sizes)
    return np.asarray(corners / np.concatenate([sides, sides], axis=-1))


def read_focus(rows: Rows, columns: Sequence[str], unit: FocusUnit) -> FloatArray:
    """Focus of all images.

    Args:
        rows: A manifest of N images.
        columns: Two or four of its columns, as :func:`focus_boxes` takes their values.
        unit: Unit of these columns.

    Returns:
        (N, 4) as :func:`focus_boxes`.
    """
    parts = [boxes for _, boxes in _parts(rows, columns, unit)]
    return np.concatenate(parts) if parts else np.zeros((0, 4))


def check_focus(rows: Rows, columns: Sequence[str], unit: FocusUnit) -> None:
    """Refuse columns that cannot mean what they are taken for.

    Args:
        rows: A manifest.
        columns: Two or four of its columns.
        unit: Unit of these columns.

    Raises:
        DataError: If a column holds no numbers, a box ends before it begins, or what is to be
            kept lies outside of its image.
    """
    for name in columns:
        found = rows.table.schema.field(name).type
        if pa.types.is_null(found):
            continue  # no image has a focus: all are cropped at the centre
        if not (pa.types.is_integer(found) or pa.types.is_floating(found)):
            raise DataError(
                f"column {name!r} must hold numbers to be a focus; it holds {found}. "
                "Correct the table, or transform.focus."
            )
    for start, boxes in _parts(rows, columns, unit):
        begin, end = boxes[:, :2], boxes[:, 2:]
        for wrong, rule, fix in (
            (begin > end, "ends before it begins", "Name columns as [left, top, right, bottom]."),
            ((end < 0) | (begin > 1), "lies outside of its image", _other(unit)),
        ):
            if (found := np.flatnonzero(wrong.any(axis=1))).size:
                row = start + int(found[0])
                values = rows.table.select(list(columns)).slice(row, 1).to_pylist()[0]
                height, width = rows.sizes[row].tolist()
                numbers = ", ".join(f"{name}={_shown(value)}" for name, value in values.items())
                raise DataError(
                    f"the focus of {rows.path(row)!r} {rule}; {numbers} ({unit}) in an image of "
                    f"{height}x{width} pixels. {fix}"
                )


def _shown(value: float | None) -> str:
    return "null" if value is None else f"{value:g}"


def _other(unit: FocusUnit) -> str:
    other = "pixels" if unit == "share" else "share"
    return f"Set transform.focus_unit={other}, or correct the table."


def _parts(rows: Rows, columns: Sequence[str], unit: FocusUnit) -> Iterator[tuple[int, FloatArray]]:
    """Focus of many images at once, and the row of the first of them."""
    table = rows.table.select(list(columns))
    for start in range(0, table.num_rows, _AT_ONCE):
        part = table.slice(start, _AT_ONCE)
        # not safe: integers may be rounded, which no pixel is far enough out for
        values = [part.column(name).cast(pa.float64(), safe=False).to_numpy() for name in columns]
        sizes = rows.sizes[start : start + _AT_ONCE]
        yield start, focus_boxes(np.stack(values, axis=-1), sizes, unit)
