"""One picture of a batch: as the model sees it, in the middle of what was cut from it.

    │             │
┌ ─  ┌───────────┐  ─ ┐
     │           │            faded: what the crop removes
│    │  tensor   │    │       marks: where the crop is
     │           │
└ ─  └───────────┘  ─ ┘
    │             │
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageOps

from lit_buckets.geometry import Offset, Size

__all__ = ["MARGIN", "PAPER", "Sample", "draw_picture"]

PAPER = (250, 249, 246)
_ACCENT, _EDGE = (214, 60, 40), (222, 219, 212)
_FADED = 0.62  # share of paper in what was cut
_MARK, _GAP = 12, 4  # length of a crop mark, and its distance from the crop, in pixels
MARGIN = _MARK + _GAP  #: around the whole picture, so that marks have room
_COMPARED = 48  # longest side of the pictures that tell whether a sample is mirrored
_ENLARGED = 2  # from this factor on pixels are drawn as squares

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Sample:
    """One sample of a batch, and the picture that it was made of.

    Attributes:
        pixels: (H, W, 3) as the model sees it, before normalisation.
        whole: The whole picture at any scale, upright; ``None`` where it cannot be had.
        resized: What it was resized to, in pixels.
        offset: Where the sample begins in it, as the model sees it: mirrored, if the sample is.
    """

    pixels: Pixels
    whole: Image.Image | None
    resized: Size
    offset: Offset

    @property
    def size(self) -> Size:
        """Of the sample, in pixels."""
        height, width = self.pixels.shape[:2]
        return Size(height, width)

    @property
    def shown(self) -> Size:
        """Of the part of the resized picture that the sample shows."""
        return Size(*map(min, self.resized, self.size))

    @property
    def extent(self) -> Size:
        """Of sample and resized picture together."""
        return Size(*map(max, self.resized, self.size))

    @property
    def crop_loss(self) -> float:
        """Share of the resized picture that is cut."""
        return 1 - _area(self.shown) / _area(self.resized)

    @property
    def padding(self) -> float:
        """Share of the sample that is not picture."""
        return 1 - _area(self.shown) / _area(self.size)

    @cached_property
    def mirrored(self) -> bool:
        """Whether the sample looks more like the mirrored picture than like the picture."""
        if self.whole is None:
            return False
        scale = _COMPARED / max(self.resized)
        top, left = ((side - shown) // 2 for side, shown in zip(self.size, self.shown, strict=True))
        part = self.pixels[top : top + self.shown.height, left : left + self.shown.width]
        tile = _scaled(Image.fromarray(part), self.shown, scale)
        box = _box(self.offset, tile, scale)
        whole = _scaled(self.whole, self.resized, scale)
        straight, turned = (
            _distance(tile, picture.crop(box)) for picture in (whole, ImageOps.mirror(whole))
        )
        return turned < straight


def draw_picture(sample: Sample, room: Size) -> Image.Image:
    """The sample in the middle of what was cut from it, with marks at the corners of the sample.

    Args:
        sample: What to draw.
        room: What the whole picture fits into, in pixels.

    Returns:
        The whole picture in the room's lower left corner, with :data:`MARGIN` on all sides.
    """
    extent = sample.extent
    scale = min(room.height / extent.height, room.width / extent.width)
    tile = _scaled(Image.fromarray(sample.pixels), sample.size, scale)
    canvas = Image.new("RGB", (room.width + 2 * MARGIN, room.height + 2 * MARGIN), PAPER)
    height, width = (max(1, round(side * scale)) for side in extent)
    left, top = MARGIN, MARGIN + room.height - height
    edge = (left - 1, top - 1, left + width, top + height)
    ImageDraw.Draw(canvas).rectangle(edge, outline=_EDGE)
    if sample.whole is not None and sample.crop_loss > 0:
        whole = _scaled(sample.whole, sample.resized, scale)
        whole = ImageOps.mirror(whole) if sample.mirrored else whole
        faded = Image.blend(whole, Image.new("RGB", whole.size, PAPER), _FADED)
        canvas.paste(faded, (left, top))
    begin = _box(sample.offset, tile, scale)
    place = left + begin[0], top + begin[1]
    canvas.paste(tile, place)
    _draw_marks(canvas, place, tile.size)
    return canvas


def _area(size: Size) -> int:
    return size.height * size.width


def _draw_marks(canvas: Image.Image, place: tuple[int, int], size: tuple[int, int]) -> None:
    """Two lines at each corner, outside, in the direction of the sides, as printers draw them."""
    draw = ImageDraw.Draw(canvas)
    for x, across in ((place[0], -1), (place[0] + size[0] - 1, 1)):
        for y, down in ((place[1], -1), (place[1] + size[1] - 1, 1)):
            draw.line([(x + across * _GAP, y), (x + across * (_GAP + _MARK - 1), y)], _ACCENT)
            draw.line([(x, y + down * _GAP), (x, y + down * (_GAP + _MARK - 1))], _ACCENT)


def _scaled(picture: Image.Image, size: Size, scale: float) -> Image.Image:
    """A picture, whatever its own size, as one of ``size`` looks at a scale."""
    width, height = (max(1, round(side * scale)) for side in (size.width, size.height))
    enlarged = width >= _ENLARGED * picture.width
    method = Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS
    return picture.resize((width, height), method)


def _box(offset: Offset, tile: Image.Image, scale: float) -> tuple[int, int, int, int]:
    left, top = round(offset.left * scale), round(offset.top * scale)
    return left, top, left + tile.width, top + tile.height


def _distance(one: Image.Image, other: Image.Image) -> float:
    difference = np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64)
    return float(np.abs(difference).mean())
