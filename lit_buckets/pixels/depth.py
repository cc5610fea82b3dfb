"""Shades of other depths than 8 bits, as Pillow gives them, made proper shades of 8."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, PngImagePlugin, TiffImagePlugin

__all__ = [
    "PNG_DEPTHS",
    "SIGNED",
    "UNSIGNED",
    "deep_grey",
    "is_deep",
    "mend_planes",
    "mend_transparency",
    "sample_format",
    "white_is_zero",
]

_BITS_PER_SAMPLE, _PHOTOMETRIC, _PLANAR, _SAMPLE_FORMAT = 0x0102, 0x0106, 0x011C, 0x0153
#: Sample formats of a TIFF.
UNSIGNED, SIGNED = 1, 2
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
    if image.mode == "I" and sample_format(image) == UNSIGNED:
        values = values.view(np.uint32)
    low, high = _range_of(image, values)
    exact = np.float32 if values.dtype.itemsize == 2 else np.float64
    grey = (values.astype(exact) - exact(low)) * exact(255 / (high - low))
    if white_is_zero(image):
        grey = 255 - grey
    grey = np.nan_to_num(grey, nan=0, posinf=255, neginf=0)
    alpha = None
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        alpha = Image.fromarray((values != transparent).astype(np.uint8) * np.uint8(255))
    return Image.fromarray(grey.round().clip(0, 255).astype(np.uint8)), alpha


def mend_transparency(image: Image.Image, again: Callable[[], ImageFile.ImageFile]) -> None:
    """Make transparent what a PNG's transparent colour says; to be called before loading.

    Pillow leaves that colour in the file's own depth where that is not 8 bits; later releases
    scale 1 bit. Of 16 bits in each of three channels it keeps 8, in which others look the same.

    Args:
        image: An opened picture.
        again: Opens the same file once more.
    """
    transparent = image.info.get("transparency")
    if not isinstance(image, PngImagePlugin.PngImageFile) or not image.tile:
        return
    raw = image.tile[0][3]
    if isinstance(transparent, int) and raw in PNG_DEPTHS:
        image.info["transparency"] = min(transparent * PNG_DEPTHS[raw], 255)
    elif isinstance(transparent, tuple) and raw == "RGB;16B":
        low = again()
        # in the other order of bytes, the upper half that Pillow keeps is the lower one
        low.tile = [tile._replace(args="RGB;16L") for tile in low.tile]
        clear = _is_colour(image, [value >> 8 for value in transparent])
        clear &= _is_colour(low, [value & 255 for value in transparent])
        image.putalpha(Image.fromarray(np.where(clear, 0, 255).astype(np.uint8)))
        del image.info["transparency"]


def mend_planes(image: Image.Image) -> None:
    """Tell Pillow how wide the samples of a TIFF's planes are; to be called before loading.

    Pillow takes those of 16 bits for 8 where the planes are not compressed.

    Raises:
        ValueError: If Pillow has no way to read them.
    """
    if (
        not isinstance(image, TiffImagePlugin.TiffImageFile)
        or image.tag_v2.get(_PLANAR) != 2
        or _bits_of(image) != 16
        or any(tile.codec_name != "raw" for tile in image.tile)
    ):
        return
    if image.mode not in ("RGB", "RGBA"):
        raise ValueError(f"{image.mode} of 16 bits in uncompressed planes is not supported")
    order = "B" if image.tag_v2.prefix == b"MM" else "L"
    image.tile = [_of_16_bits(tile, order) for tile in image.tile]


def _of_16_bits(tile: ImageFile._Tile, order: str) -> ImageFile._Tile:
    assert isinstance(tile.args, tuple)  # as all of a TIFF's are
    return tile._replace(args=(f"{tile.args[0]};16{order}", *tile.args[1:]))


def _is_colour(image: Image.Image, colour: list[int]) -> npt.NDArray[np.bool_]:
    equal: npt.NDArray[np.bool_] = (np.asarray(image) == colour).all(axis=2)
    return equal


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


def sample_format(image: Image.Image) -> int | None:
    """What a TIFF says of its values, `UNSIGNED` or `SIGNED` if they are integers.

    Pillow knows little of it: it takes the highest of 32 bits for a sign, and of 8 bits for none.
    """
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return None
    return int(image.tag_v2.get(_SAMPLE_FORMAT, (UNSIGNED,))[0])


def white_is_zero(image: Image.Image) -> bool:
    """Whether a TIFF is a negative. Pillow turns 8 bits round itself, and leaves deeper ones."""
    return isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == 0
