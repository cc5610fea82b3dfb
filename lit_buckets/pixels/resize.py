"""A part of a resized picture, antialiased, from bytes to bytes."""

from __future__ import annotations

from typing import Literal

import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from lit_buckets.geometry import Offset, Size

__all__ = ["MODES", "Interpolation", "resize_crop"]

Interpolation = Literal["bicubic", "bilinear"]

MODES: dict[Interpolation, InterpolationMode] = {
    "bicubic": InterpolationMode.BICUBIC,
    "bilinear": InterpolationMode.BILINEAR,
}


def resize_crop(
    image: torch.Tensor,
    *,
    resized: Size,
    offset: Offset,
    crop: Size,
    interpolation: Interpolation = "bicubic",
) -> torch.Tensor:
    """Resize a picture and keep a part of the result.

    A picture that has the size already is not touched: its bytes come out as they are.

    Args:
        image: uint8 (C, H, W).
        resized: What the whole picture is resized to, in pixels.
        offset: Where the part begins in the resized picture.
        crop: Size of the part, in pixels; it lies inside the resized picture.
        interpolation: How it is resized.

    Returns:
        uint8 (C, crop height, crop width), not necessarily contiguous.
    """
    if tuple(image.shape[-2:]) != resized:
        image = functional.resize(
            image, list(resized), interpolation=MODES[interpolation], antialias=True
        )
    top, left = offset
    return image[..., top : top + crop.height, left : left + crop.width]
