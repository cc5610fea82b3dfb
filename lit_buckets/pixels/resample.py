"""Resampling of pixels along rows and columns, from bytes to bytes.

Bicubic and bilinear run in torch, whose kernels for bytes are several times as fast as Pillow's;
so does Lanczos where torch has it. Pillow takes over where torch would have to resize much more
than is asked for. All are antialiased: on shrinking the filters grow with the scale. Their formulas
are Pillow's, in torch too: bicubic is Keys' with a = -0.5, Lanczos has three lobes.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.nn import functional

__all__ = ["Interpolation", "Part", "resample"]

Interpolation = Literal["bicubic", "bilinear", "lanczos", "area", "nearest"]

_REACH = {"bicubic": 2, "bilinear": 1, "lanczos": 3}  # of the filter to each side, in pixels
# torch's kernels by themselves, because they can be told size and scale both, which need not
# agree: the last stored pixel may be the picture's in part. Lanczos came late to torch.
_KERNELS = {name: getattr(torch.ops.aten, f"_upsample_{name}2d_aa", None) for name in _REACH}


# Pillow takes 3 to 6 times as long for a pixel as torch, so it is sooner where torch would take
# this many times the pixels that matter. Photographs in buckets of about their shape stay far
# below; and a few pixels, counted before and after resizing, are quick in any case.
_TIMES_IN_VAIN, _FEW = 8, 2**18


@dataclass(frozen=True)
class Part:
    """A part of a resized side."""

    length: int  #: stored pixels
    step: Fraction  #: stored pixels for each resized one
    first: int  #: where the part begins in the resized side
    count: int  #: its pixels

    def edges(self, origin: int, length: int) -> tuple[float, float]:
        """Where the part begins and ends in stored pixels from an origin on, ``length`` of them."""
        begin, end = self.step * self.first - origin, self.step * (self.first + self.count) - origin
        return float(begin), min(float(end), length)


def resample(
    pixels: torch.Tensor, rows: Part, columns: Part, interpolation: Interpolation
) -> torch.Tensor:
    """Resize pixels and keep a part of the result.

    Args:
        pixels: uint8 (C, rows, columns).
        rows: What is asked for of the rows.
        columns: What is asked for of the columns.
        interpolation: As in :func:`lit_buckets.pixels.resize.resize_crop`.

    Returns:
        uint8 (C, rows.count, columns.count).
    """
    if rows.step == columns.step == 1:
        return _cut(pixels, rows, columns)
    if interpolation == "nearest":
        return pixels[:, _nearest(rows)][:, :, _nearest(columns)]
    if interpolation == "area":
        return _area(pixels, rows, columns)
    kernel, reach = _KERNELS[interpolation], _REACH[interpolation]
    down, across = _aligned(rows, reach), _aligned(columns, reach)
    if kernel is None or _is_in_vain(rows, columns, down, across):
        return _in_pillow(pixels, rows, columns, interpolation)
    return _in_torch(pixels, rows, columns, down, across, kernel)


class _Aligned(NamedTuple):
    """What torch is given and makes of a side."""

    begin: int  # first stored pixel
    needed: int  # the first that matters
    end: int  # the first after them
    first: int  # where the part begins in what is made
    made: int  # pixels up to the end of the part


def _aligned(part: Part, reach: int) -> _Aligned:
    """The least that torch can be given, as it lays the first resized pixel at the first stored.

    What comes after the part can always be left out. Of what comes before it, only as many stored
    pixels as make a whole number of resized ones, or all resized pixels would lie beside their
    places: with a step of 20011/3415211, for a strip of 3 x 20011, that is none at all.
    """
    needed, end = _needed(part, reach)
    begin = needed - needed % part.step.numerator
    first = part.first - int(begin / part.step)
    return _Aligned(begin, needed, end, first, first + part.count)


def _is_in_vain(rows: Part, columns: Part, down: _Aligned, across: _Aligned) -> bool:
    """Whether most of what torch would do has nothing to do with the part."""
    given = (down.end - down.begin) * (across.end - across.begin) + down.made * across.made
    needed = (down.end - down.needed) * (across.end - across.needed)
    needed += rows.count * columns.count
    return given > max(_TIMES_IN_VAIN * needed, _FEW)


def _in_torch(
    pixels: torch.Tensor,
    rows: Part,
    columns: Part,
    down: _Aligned,
    across: _Aligned,
    kernel: Any,
) -> torch.Tensor:
    """Resize with torch's kernels, and cut off what had to be made before the part."""
    top, _, bottom, first_row, height = down
    left, _, right, first_column, width = across
    sides = [height, width]
    for axis, (length, step) in enumerate(
        ((bottom - top, rows.step), (right - left, columns.step))
    ):
        # torch leaves a side alone that keeps its length, whatever the scale: ask for one more
        sides[axis] += sides[axis] == length and step != 1
    needed = pixels[:, top:bottom, left:right]
    if 1 in needed.shape[1:]:  # torch mistakes the order in memory where a side is one pixel long
        needed = needed.clone(memory_format=torch.contiguous_format)
    # nor can it make a single pixel of three channels: one channel at a time
    stack = needed[:, None] if sides == [1, 1] else needed[None]
    resized = kernel(stack, sides, False, float(1 / rows.step), float(1 / columns.step))
    part: torch.Tensor = resized.reshape(-1, *sides)
    return part.narrow(1, first_row, rows.count).narrow(2, first_column, columns.count)


def _in_pillow(pixels: torch.Tensor, rows: Part, columns: Part, interpolation: str) -> torch.Tensor:
    """Resize with Pillow, which begins between two pixels if it must.

    It notes where to begin and to end in 24 bits: a pixel of a part of n, counted in stored or
    resized pixels, whichever are larger, lies less than n / 2**24 of one beside its place. Within
    one, no filter changes a value by more than 1.6 x 255: at n = 4096 that is 1/10 of a level. So
    it is torch, whose weights have 15 bits, that is further from the exact sums.
    """
    reach = _REACH[interpolation]
    (top, bottom), (left, right) = _needed(rows, reach), _needed(columns, reach)
    needed = pixels[:, top:bottom, left:right].permute(1, 2, 0).numpy()
    # three channels at once or each by itself: all that Pillow has
    planes = [needed] if needed.shape[2] == 3 else [*needed.transpose(2, 0, 1)]
    method = Image.Resampling[interpolation.upper()]
    resized = [_columns_then_rows(plane, rows, columns, top, left, method) for plane in planes]
    together = resized[0] if len(planes) == 1 and planes[0].ndim == 3 else np.stack(resized, axis=2)
    return torch.from_numpy(together).permute(2, 0, 1)


def _columns_then_rows(
    plane: npt.NDArray[np.uint8],
    rows: Part,
    columns: Part,
    top: int,
    left: int,
    method: Image.Resampling,
) -> npt.NDArray[np.uint8]:
    """Resize columns first, whatever the part: values are bytes in between, so the order tells."""
    image = Image.fromarray(np.ascontiguousarray(plane))
    height, width = image.height, image.width
    begin, end = columns.edges(left, width)
    image = image.resize((columns.count, height), method, (begin, 0, end, height))
    begin, end = rows.edges(top, height)
    image = image.resize((columns.count, rows.count), method, (0, begin, columns.count, end))
    return np.array(image)


def _area(pixels: torch.Tensor, rows: Part, columns: Part) -> torch.Tensor:
    """Means over what each resized pixel covers, exact but for rounding at the end."""
    (top, bottom), (left, right) = _needed(rows, 0), _needed(columns, 0)
    needed = pixels[:, top:bottom, left:right]
    sums = _covered(_covered(needed, rows, top, 1, torch.int32), columns, left, 2, torch.int64)
    covered = rows.step.numerator * columns.step.numerator
    return ((2 * sums + covered) // (2 * covered)).to(torch.uint8)


def _covered(
    values: torch.Tensor, part: Part, begin: int, axis: int, dtype: torch.dtype
) -> torch.Tensor:
    """Sums over the stretches of one side, in stored pixels split by the step's denominator.

    Args:
        values: Integers, as many as the part needs.
        part: What is asked for of the side.
        begin: The first of them, in stored pixels.
        axis: Which side.
        dtype: Integers that hold the sum of a whole side.

    Returns:
        int64, ``part.count`` long on that axis.
    """
    split = part.step.denominator
    places = torch.arange(part.first, part.first + part.count + 1) * part.step.numerator
    whole, rest = torch.div(places, split, rounding_mode="floor") - begin, places % split
    values = values.transpose(axis, -1)
    before = functional.pad(values.cumsum(-1, dtype=dtype), (1, 1))  # the 0 after it counts 0 times
    sums = before[..., whole] * (split - rest) + before[..., whole + 1] * rest
    return sums.diff(dim=-1).transpose(axis, -1)


def _nearest(part: Part) -> torch.Tensor:
    """Which stored pixel lies at the middle of each resized one."""
    middles = 2 * torch.arange(part.first, part.first + part.count) + 1
    return (middles * part.step.numerator // (2 * part.step.denominator)).clamp(max=part.length - 1)


def _cut(pixels: torch.Tensor, rows: Part, columns: Part) -> torch.Tensor:
    return pixels.narrow(1, rows.first, rows.count).narrow(2, columns.first, columns.count)


def _needed(part: Part, reach: int) -> tuple[int, int]:
    """First stored pixel that the part depends on, and the first after it that it does not."""
    margin = ceil(reach * max(part.step, Fraction(1))) + 1
    begin = floor(part.step * part.first) - margin
    end = ceil(part.step * (part.first + part.count)) + margin
    return max(begin, 0), min(end, part.length)
