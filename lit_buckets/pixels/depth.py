"""Shades of other depths than 8 bits, as Pillow gives them, made proper shades of 8."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin, TiffImagePlugin

__all__ = ["PNG_DEPTHS", "deep_grey", "is_deep", "mend_transparency"]

_BITS_PER_SAMPLE, _PHOTOMETRIC = 0x0102, 0x0106
#: What Pillow multiplies shades of few bits by, by its name of how a PNG holds them.
PNG_DEPTHS = {"1": 255, "L;2": 85, "L;4": 17}


def is_deep(image: Image.Image) -> bool:
    """Whether a picture is grey of more than 8 bits."""
    return image.mode in ("I", "F") or image.mode.startswith("I;")


def deep_grey(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Grey of 8 bits from integers of 16 or 32 bits or from floats.

    Values are scaled by the range of their type, and where the type has none (32-bit integers,
    floats) by that of the values: the smallest of 0–1 (floats), 0–255 and 0–65535 that holds them,
    or else all of it.

    Args:
        image: A loaded picture that :func:`is_deep`.

    Returns:
        The picture, mode L, and its alpha, mode L, if it has a transparent shade.
    """
    values = np.asarray(image)
    low, high = _range_of(image, values)
    exact = np.float32 if values.dtype.itemsize == 2 else np.float64
    grey = (values.astype(exact) - exact(low)) * exact(255 / (high - low))
    grey = np.nan_to_num(grey, nan=0, posinf=255, neginf=0)
    if _white_is_zero(image):
        grey = 255 - grey
    alpha = None
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        alpha = Image.fromarray((values != transparent).astype(np.uint8) * np.uint8(255))
    return Image.fromarray(grey.round().clip(0, 255).astype(np.uint8)), alpha


def mend_transparency(image: Image.Image) -> None:
    """Scale a PNG's transparent colour as Pillow scales its pixels; to be called before loading.

    Pillow leaves it in the file's own depth where that is not 8 bits; later releases scale 1 bit.
    """
    transparent = image.info.get("transparency")
    if not isinstance(image, PngImagePlugin.PngImageFile) or not image.tile:
        return
    raw = image.tile[0][3]
    if isinstance(transparent, int) and raw in PNG_DEPTHS:
        image.info["transparency"] = min(transparent * PNG_DEPTHS[raw], 255)
    elif isinstance(transparent, tuple) and raw == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in transparent)


def _range_of(image: Image.Image, values: npt.NDArray[Any]) -> tuple[float, float]:
    """Which values are black and white."""
    if image.mode.startswith("I;16"):
        return 0, 2 ** _bits_of(image) - 1
    if image.mode == "I" and image.format in ("PPM", "PNG"):
        return 0, 65535  # Pillow stretches a PPM's own range to it
    finite = values[np.isfinite(values)]
    low, high = float(finite.min(initial=0)), float(finite.max(initial=0))
    if low < 0:
        return low, high
    usual = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
    return 0, next((top for top in usual if high <= top), high)


def _bits_of(image: Image.Image) -> int:
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return int(image.tag_v2.get(_BITS_PER_SAMPLE, (16,))[0])  # may be 12
    return 16


def _white_is_zero(image: Image.Image) -> bool:
    """Whether Pillow has left a TIFF's 16-bit negative as it is; it turns 8 bits round itself."""
    return (
        isinstance(image, TiffImagePlugin.TiffImageFile)
        and image.mode.startswith("I;16")
        and image.tag_v2.get(_PHOTOMETRIC) == 0
    )
