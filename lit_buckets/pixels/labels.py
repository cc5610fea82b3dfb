"""From a file to a label map: integers as they are in the file, upright, no colours."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from lit_buckets.headers import MAX_IMAGE_PIXELS, open_image
from lit_buckets.pixels.decode import DecodeError, check_size
from lit_buckets.pixels.depth import PNG_DEPTHS

__all__ = ["decode_labels"]

_MODES = ("1", "L", "P", "I", "I;16", "I;16L", "I;16B")
_LOSSY = ("JPEG", "MPO")


def decode_labels(
    content: bytes, *, name: str = "", max_image_pixels: int = MAX_IMAGE_PIXELS
) -> torch.Tensor:
    """Decode a label map.

    A palette's indices are the labels, whatever their colours; grey values are, in files of 1 to
    32 bits.

    Args:
        content: Content of the file.
        name: What to call it in errors.
        max_image_pixels: Largest product of both sides, in pixels.

    Returns:
        Integers (H, W) as displayed, EXIF orientation applied.

    Raises:
        DecodeError: If it cannot be read, is too large, has several channels, or is a JPEG, which
            does not keep values.
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
    if image.format in _LOSSY:
        raise DecodeError.of(name, f"labels must be exact; {image.format} does not keep values")
    if image.mode not in _MODES:
        raise DecodeError.of(name, f"labels must have one channel; its mode is {image.mode}")
    scale = _scale(image)
    values = np.asarray(ImageOps.exif_transpose(image))
    kept = np.uint8 if values.dtype.itemsize == 1 else np.int32  # neither bool nor unsigned
    return torch.from_numpy(np.array(values, dtype=kept) // kept(scale))


def _scale(image: Image.Image) -> int:
    """What the values will have been multiplied by; to be called before loading."""
    if image.mode == "1" or not getattr(image, "tile", None):
        return 1
    raw = image.tile[0][3]  # type: ignore[attr-defined]
    return PNG_DEPTHS.get(raw[0] if isinstance(raw, tuple) else raw, 1)
