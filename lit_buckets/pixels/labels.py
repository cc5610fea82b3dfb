"""From a file to a label map: integers as they are in the file, upright, no colours."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps

from lit_buckets.headers import MAX_IMAGE_PIXELS, open_image
from lit_buckets.pixels.decode import DecodeError, check_size
from lit_buckets.pixels.depth import PNG_DEPTHS, SIGNED, UNSIGNED, sample_format, white_is_zero

__all__ = ["decode_labels"]

_MODES = ("1", "L", "P", "I", "I;16", "I;16L", "I;16B")
_LOSSY = ("JPEG", "MPO", "JPEG2000")  # a JPEG 2000 may be lossless, but nothing in it says so
_LOSSY_IN_TIFF = ("jpeg", "tiff_jpeg", "webp")
#: Types of a TIFF's values where Pillow gives another, by its mode and what the file says.
_TYPES: dict[tuple[str, int | None], npt.DTypeLike] = {
    ("L", SIGNED): np.int8,
    ("I", UNSIGNED): np.uint32,
}


def decode_labels(
    content: bytes, *, name: str = "", max_image_pixels: int = MAX_IMAGE_PIXELS
) -> torch.Tensor:
    """Decode a label map.

    A palette's indices are the labels, whatever their colours; grey values are, in files of 1 to
    32 bits, as they are stored.

    Args:
        content: Content of the file.
        name: What to call it in errors.
        max_image_pixels: Largest product of both sides, in pixels.

    Returns:
        Integers (H, W) as displayed, EXIF orientation applied.

    Raises:
        DecodeError: If it cannot be read, is too large, has several channels, is a JPEG, JPEG 2000
            or compressed as one, which does not keep values, or stores black as the larger value.
    """
    try:
        with open_image(io.BytesIO(content), Path(name).suffix) as image:
            check_size(image, name, max_image_pixels)
            return _labels(image, name)
    except DecodeError:
        raise
    except Exception as error:  # parsers of hostile bytes raise anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DecodeError.of(name, reason) from error


def _labels(image: Image.Image, name: str) -> torch.Tensor:
    if reason := _refusal(image):
        raise DecodeError.of(name, reason)
    # what the file says of its values is known before loading only
    (stored, given), kind = _scale(image), _type(image)
    values = np.asarray(ImageOps.exif_transpose(image))
    if stored != given:
        values = ((values.astype(np.int64) * stored + given // 2) // given).astype(values.dtype)
    values = values.astype(kind or values.dtype)  # a copy that torch may write to
    if values.dtype.kind == "u" and values.dtype.itemsize > 1:  # torch calculates with signed ones
        values = values.astype(np.promote_types(values.dtype, np.int8))
    return torch.from_numpy(values)


def _refusal(image: Image.Image) -> str | None:
    """Why a file's values are no labels."""
    if image.format in _LOSSY:
        return f"labels must be exact; {image.format} does not keep values"
    if image.mode not in _MODES:
        return f"labels must have one channel; its mode is {image.mode}"
    if image.format == "PPM" and image.mode == "1":
        return "labels must be as stored; in a PBM black is 1, which some turn round"
    if image.format == "TIFF" and (packed := image.info.get("compression")) in _LOSSY_IN_TIFF:
        return f"labels must be exact; a TIFF compressed as {packed} does not keep values"
    if white_is_zero(image):
        return "labels must be as stored; its white is 0 (WhiteIsZero), which some turn round"
    return None


def _scale(image: Image.Image) -> tuple[int, int]:
    """The largest value that a file can hold, and what Pillow will make of it."""
    if image.mode == "1" or not getattr(image, "tile", None):
        return 1, 1
    arguments = image.tile[0][3]  # type: ignore[attr-defined]
    if image.format == "PPM":
        most = 65535 if image.mode == "I" else 255
        return (arguments[1], most) if isinstance(arguments, tuple) else (most, most)
    raw = str(arguments[0] if isinstance(arguments, tuple) else arguments)
    # R: the bits of each byte are in reverse
    return 255 // PNG_DEPTHS.get(raw.removesuffix("R"), 1), 255


def _type(image: Image.Image) -> npt.DTypeLike | None:
    """Type of a file's values where Pillow gives another."""
    return np.uint8 if image.mode == "1" else _TYPES.get((image.mode, sample_format(image)))
