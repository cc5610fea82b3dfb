"""A part of a resized picture, from bytes to bytes, and no pixel of it in vain.

    stored pixels          the part that matters      resized             upright, sRGB
    ┌───────────────┐      ┌ ─ ┬────────┬ ─ ┐
    │               │ cut      │ margin │     resize  ┌──────┐   turn     ┌────┐
    │               │ ───▶ │   │ of the │   │ ──────▶ │      │ ─────────▶ │    │
    │               │          │ filter │             └──────┘   colours  │    │
    └───────────────┘      └ ─ ┴────────┴ ─ ┘                             └────┘

Cutting, resizing, turning and converting colours may come in any order; this one has the fewest
pixels at every step. Bicubic and bilinear run in torch, whose kernels for bytes are several times
as fast as Pillow's; what torch lacks runs in Pillow. All filters are antialiased: on shrinking they
grow with the scale. Their formulas are Pillow's, in torch too: bicubic is Keys' with a = -0.5.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.nn import functional

from lit_buckets.geometry import Offset, Size

__all__ = ["Interpolation", "Stored", "resize_crop"]

Interpolation = Literal["bicubic", "bilinear", "lanczos", "area", "nearest"]
_REACH = {"bicubic": 2, "bilinear": 1, "lanczos": 3}  # of the filter to each side, in pixels
# torch's kernels by themselves, because they can be told size and scale both, which need not
# agree: the last stored pixel may be the picture's in part. Lanczos came late to torch.
_KERNELS = {name: getattr(torch.ops.aten, f"_upsample_{name}2d_aa", None) for name in _REACH}

# EXIF orientation: whether the stored rows and columns are mirrored, and then both exchanged
_TURNS = {
    1: (False, False, False),
    2: (False, True, False),
    3: (True, True, False),
    4: (True, False, False),
    5: (False, False, True),
    6: (True, False, True),
    7: (True, True, True),
    8: (False, True, True),
}


class Stored(NamedTuple):
    """A picture as its file stores it, or a smaller copy of it, before it is turned upright."""

    pixels: torch.Tensor  #: uint8 (C, rows, columns)
    #: rows and columns that the picture takes, from the first; the last may be taken in part
    extent: tuple[float, float]
    orientation: int = 1  #: EXIF's, 1 to 8
    colours: Callable[[torch.Tensor], torch.Tensor] | None = None  #: makes sRGB of the pixels

    @classmethod
    def whole(cls, pixels: torch.Tensor) -> Stored:
        """An upright picture that takes all of its pixels."""
        rows, columns = pixels.shape[-2:]
        return cls(pixels, (rows, columns))

    def upright(self) -> torch.Tensor:
        """All of its pixels in sRGB as they are displayed."""
        return _finished(self.pixels, self)


@dataclass(frozen=True)
class _Span:
    """A part of a resized side."""

    length: int  # stored pixels
    step: Fraction  # stored pixels for each resized one
    first: int  # where the part begins in the resized side
    count: int  # its pixels

    def edges(self, origin: int, length: int) -> tuple[float, float]:
        """Where the part begins and ends in stored pixels from an origin on, ``length`` of them."""
        begin, end = self.step * self.first - origin, self.step * (self.first + self.count) - origin
        return float(begin), min(float(end), length)


def resize_crop(
    image: torch.Tensor | Stored,
    *,
    resized: Size,
    offset: Offset,
    crop: Size,
    interpolation: Interpolation = "bicubic",
) -> torch.Tensor:
    """Resize a picture and keep a part of the result.

    Only pixels that the part depends on are resized. The result is that of resizing the whole
    picture and cropping then; a value may differ by 1 of 255 where a sum lies at the edge of two.
    A picture that has the size already is not touched: its bytes come out as they are.

    Args:
        image: uint8 (C, H, W), upright; or a picture as it is stored, which is turned upright
            and gets its colours once it is small.
        resized: What the whole picture is resized to, in pixels, as displayed.
        offset: Where the part begins in the resized picture.
        crop: Size of the part, in pixels; it lies inside the resized picture.
        interpolation: ``"bicubic"``, ``"bilinear"``, ``"lanczos"`` (three lobes), ``"area"`` (the
            mean of what a pixel covers), or ``"nearest"`` (the pixel at the middle,
            never a new value).

    Returns:
        uint8 (C, crop height, crop width), not necessarily contiguous.

    Raises:
        ValueError: If the part does not lie inside, or ``interpolation`` is unknown.
    """
    if interpolation not in get_args(Interpolation):
        raise ValueError(
            f"interpolation={interpolation!r} must be one of {', '.join(get_args(Interpolation))}."
        )
    if any(not 0 <= o <= o + c <= r for o, c, r in zip(offset, crop, resized, strict=True)):
        raise ValueError(
            f"a part of {crop.height}x{crop.width} pixels at {tuple(offset)} does not lie inside a "
            f"picture of {resized.height}x{resized.width} pixels."
        )
    stored = image if isinstance(image, Stored) else Stored.whole(image)
    rows, columns = _spans(stored, resized, offset, crop)
    if rows.step == columns.step == 1:
        part = _cut(stored.pixels, rows, columns)
    else:
        part = _resized(stored.pixels, rows, columns, interpolation)
    return _finished(part, stored)


# -- stored and displayed ----------------------------------------------------------------------


def _spans(stored: Stored, resized: Size, offset: Offset, crop: Size) -> tuple[_Span, _Span]:
    """What is asked for as displayed, along the stored rows and columns."""
    mirrored = _TURNS[stored.orientation]
    sides = list(zip(resized, offset, crop, strict=True))
    if mirrored[2]:
        sides.reverse()
    rows, columns = (
        _Span(length, Fraction(extent) / whole, whole - first - count if flip else first, count)
        for length, extent, flip, (whole, first, count) in zip(
            stored.pixels.shape[-2:], stored.extent, mirrored, sides, strict=False
        )
    )
    return rows, columns


def _finished(pixels: torch.Tensor, stored: Stored) -> torch.Tensor:
    """Turn pixels upright as the picture is turned, and convert their colours."""
    rows, columns, exchanged = _TURNS[stored.orientation]
    flipped = [axis for axis, flip in ((-2, rows), (-1, columns)) if flip]
    if flipped:
        pixels = pixels.flip(flipped)
    if exchanged:
        pixels = pixels.transpose(-2, -1)
    return pixels if stored.colours is None else stored.colours(pixels)


# -- resizing ----------------------------------------------------------------------------------


def _resized(
    pixels: torch.Tensor, rows: _Span, columns: _Span, interpolation: Interpolation
) -> torch.Tensor:
    if interpolation == "nearest":
        return pixels[:, _nearest(rows)][:, :, _nearest(columns)]
    if interpolation == "area":
        return _area(pixels, rows, columns)
    kernel = _KERNELS[interpolation]
    if kernel is None:
        return _in_pillow(pixels, rows, columns)
    return _in_torch(pixels, rows, columns, kernel, _REACH[interpolation])


def _in_torch(
    pixels: torch.Tensor, rows: _Span, columns: _Span, kernel: Any, reach: int
) -> torch.Tensor:
    """Resize with torch's kernels, which lay the first resized pixel at the first stored one.

    What comes after the part can always be left out. Of what comes before it, only as many stored
    pixels as make a whole number of resized ones.
    """
    (top, bottom), (left, right) = _needed(rows, reach), _needed(columns, reach)
    top -= top % rows.step.numerator
    left -= left % columns.step.numerator
    first_row = rows.first - int(top / rows.step)
    first_column = columns.first - int(left / columns.step)
    sides = [first_row + rows.count, first_column + columns.count]
    for axis, (length, step) in enumerate(
        ((bottom - top, rows.step), (right - left, columns.step))
    ):
        # torch leaves a side alone that keeps its length, whatever the scale: ask for one more
        sides[axis] += sides[axis] == length and step != 1
    needed = pixels[:, top:bottom, left:right]
    if 1 in needed.shape:  # torch mistakes the order in memory where a side is one pixel long
        needed = needed.clone(memory_format=torch.contiguous_format)
    # nor can it make a single pixel of three channels: one channel at a time
    stack = needed[:, None] if sides == [1, 1] else needed[None]
    resized = kernel(stack, sides, False, float(1 / rows.step), float(1 / columns.step))
    part: torch.Tensor = resized.reshape(-1, *sides)
    return part.narrow(1, first_row, rows.count).narrow(2, first_column, columns.count)


def _in_pillow(pixels: torch.Tensor, rows: _Span, columns: _Span) -> torch.Tensor:
    """Lanczos with Pillow, which begins between two pixels if it must."""
    (top, bottom), (left, right) = _needed(rows, 3), _needed(columns, 3)
    needed = pixels[:, top:bottom, left:right].permute(1, 2, 0).numpy()
    # three channels at once or each by itself: all that Pillow has
    planes = [needed] if needed.shape[2] == 3 else [*needed.transpose(2, 0, 1)]
    resized = [_lanczos(plane, rows, columns, top, left) for plane in planes]
    together = resized[0] if len(planes) == 1 and planes[0].ndim == 3 else np.stack(resized, axis=2)
    return torch.from_numpy(together).permute(2, 0, 1)


def _lanczos(
    plane: npt.NDArray[np.uint8], rows: _Span, columns: _Span, top: int, left: int
) -> npt.NDArray[np.uint8]:
    """Columns first, whatever the part: values are bytes in between, so the order tells."""
    image = Image.fromarray(np.ascontiguousarray(plane))
    height, width = image.height, image.width
    begin, end = columns.edges(left, width)
    image = image.resize((columns.count, height), Image.Resampling.LANCZOS, (begin, 0, end, height))
    begin, end = rows.edges(top, height)
    image = image.resize(
        (columns.count, rows.count), Image.Resampling.LANCZOS, (0, begin, columns.count, end)
    )
    return np.array(image)


def _area(pixels: torch.Tensor, rows: _Span, columns: _Span) -> torch.Tensor:
    """Means over what each resized pixel covers, exact but for rounding at the end."""
    sums = _covered(_covered(pixels, rows, 1, torch.int32), columns, 2, torch.int64)
    covered = rows.step.numerator * columns.step.numerator
    return ((2 * sums + covered) // (2 * covered)).to(torch.uint8)


def _covered(values: torch.Tensor, span: _Span, axis: int, dtype: torch.dtype) -> torch.Tensor:
    """Sums over the stretches of one side, in stored pixels split by the step's denominator.

    Args:
        values: Integers.
        span: What is asked for of the side.
        axis: Which side.
        dtype: Integers that hold the sum of a whole side.

    Returns:
        int64, ``span.count`` long on that axis.
    """
    begin, end = _needed(span, 0)
    split = span.step.denominator
    places = torch.arange(span.first, span.first + span.count + 1) * span.step.numerator
    whole, rest = torch.div(places, split, rounding_mode="floor") - begin, places % split
    values = values.narrow(axis, begin, end - begin).transpose(axis, -1)
    before = functional.pad(values.cumsum(-1, dtype=dtype), (1, 1))  # the 0 after it counts 0 times
    sums = before[..., whole] * (split - rest) + before[..., whole + 1] * rest
    return sums.diff(dim=-1).transpose(axis, -1)


def _nearest(span: _Span) -> torch.Tensor:
    """Which stored pixel lies at the middle of each resized one."""
    middles = 2 * torch.arange(span.first, span.first + span.count) + 1
    return (middles * span.step.numerator // (2 * span.step.denominator)).clamp(max=span.length - 1)


def _cut(pixels: torch.Tensor, rows: _Span, columns: _Span) -> torch.Tensor:
    return pixels.narrow(1, rows.first, rows.count).narrow(2, columns.first, columns.count)


def _needed(span: _Span, reach: int) -> tuple[int, int]:
    """First stored pixel that the part depends on, and the first after it that it does not."""
    margin = ceil(reach * max(span.step, Fraction(1))) + 1
    begin = floor(span.step * span.first) - margin
    end = ceil(span.step * (span.first + span.count)) + margin
    return max(begin, 0), min(end, span.length)
