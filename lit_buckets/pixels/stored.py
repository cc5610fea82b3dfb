"""A picture as its file stores it: what there is still to do when it is small.

Files store pictures lying on their sides and mirrored, and say so (EXIF); say what their colours
mean (ICC); and a JPEG decoded at a scale ends within its last pixel: 1/4 of 101 columns are 25.25.
All that is cheap for a small picture and dear for a large one, so it is noted here and done last.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import torch

from lit_buckets.geometry import Offset, Size
from lit_buckets.pixels.resample import Part

__all__ = ["Stored"]

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
        return self.finished(self.pixels)

    def parts(self, resized: Size, offset: Offset, crop: Size) -> tuple[Part, Part]:
        """Where a part of the resized picture lies along the stored rows and columns.

        Args:
            resized: What the whole picture is resized to, in pixels, as displayed.
            offset: Where the part begins.
            crop: Its size.

        Returns:
            Of the rows, and of the columns.
        """
        mirrored = _TURNS[self.orientation]
        sides = list(zip(resized, offset, crop, strict=True))
        if mirrored[2]:
            sides.reverse()
        rows, columns = (
            Part(length, Fraction(extent) / whole, whole - first - count if flip else first, count)
            for length, extent, flip, (whole, first, count) in zip(
                self.pixels.shape[-2:], self.extent, mirrored, sides, strict=False
            )
        )
        return rows, columns

    def finished(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn a part upright as the picture is turned, and make sRGB of it."""
        rows, columns, exchanged = _TURNS[self.orientation]
        flipped = [axis for axis, flip in ((-2, rows), (-1, columns)) if flip]
        if flipped:
            pixels = pixels.flip(flipped)
        if exchanged:
            pixels = pixels.transpose(-2, -1)
        return pixels if self.colours is None else self.colours(pixels)
