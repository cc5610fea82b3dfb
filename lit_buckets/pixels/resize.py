"""A part of a resized picture, from bytes to bytes, and no pixel of it in vain.

    stored pixels          the part that matters      resized             upright, sRGB
    ┌───────────────┐      ┌ ─ ┬────────┬ ─ ┐
    │               │ cut      │ margin │     resize  ┌──────┐   turn     ┌────┐
    │               │ ───▶ │   │ of the │   │ ──────▶ │      │ ─────────▶ │    │
    │               │          │ filter │             └──────┘   colours  │    │
    └───────────────┘      └ ─ ┴────────┴ ─ ┘                             └────┘

Cutting, resizing, turning and converting colours may come in any order; this one has the fewest
pixels at every step.
"""

from __future__ import annotations

from typing import get_args

import torch

from lit_buckets.geometry import Offset, Size
from lit_buckets.pixels.resample import Interpolation, resample
from lit_buckets.pixels.stored import Stored

__all__ = ["Interpolation", "resize_crop"]


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
    picture and cropping then; a value may differ by 1 of 255 where a sum lies at the edge of two,
    and one in thousands by 2 in parts of large pictures that torch could only resize whole.
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
    rows, columns = stored.parts(resized, offset, crop)
    return stored.finished(resample(stored.pixels, rows, columns, interpolation))
