"""JPEGs decoded at a scale: most of what a camera stores is never looked at.

libjpeg-turbo decodes n/8 of a picture's sides for any n. Only 1/8, 1/4, 1/2 and all of it have fast
code for today's processors: on an x86 server 5/8 to 7/8 take longer than everything, and 3/8 as
long as 1/2. Scaled decoding keeps the lowest frequencies of each 8 x 8 block, which is itself a
good filter: a picture of 1.25 times the wanted size differs little from one made of all pixels.

simplejpeg calls libjpeg-turbo on bytes that lie in memory and is a third faster than Pillow at it,
with the same pixels; it is asked first. What it refuses, Pillow decodes or names what is wrong.
"""

from __future__ import annotations

from typing import Any, Literal

import simplejpeg
import torch

from lit_buckets.geometry import Size

__all__ = ["Quality", "decode_jpeg", "eighths"]

Quality = Literal["fast", "balanced", "exact"]

#: How many times the wanted size a JPEG is decoded at, at least; "exact" is always full scale.
_SPARE = {"fast": 1.0, "balanced": 1.25}
_SHORTEST = 8  # pixels of a side below which scales cannot be told apart
_COLOURS = {"RGB": "RGB", "L": "GRAY"}  # Pillow's modes and simplejpeg's names for them


def eighths(size: Size, wanted: Size, quality: Quality = "balanced") -> int:
    """The scale that a JPEG is decoded at.

    Args:
        size: Stored size of the JPEG, in pixels.
        wanted: Size that it will be resized to, in pixels, as stored.
        quality: ``"fast"``: both sides at least as long as wanted; ``"balanced"``: at least 1.25
            times; ``"exact"``: full scale.

    Returns:
        8 times the scale: 1, 2, 4 or 8, the smallest that will do.

    Example:
        >>> eighths(Size(3000, 4000), Size(640, 853), "fast")  # 1/4 gives 750 x 1000
        2
        >>> eighths(Size(3000, 4000), Size(640, 853), "balanced")
        4
    """
    if quality == "exact" or min(size) < _SHORTEST:
        return 8
    least = 8 * _SPARE[quality]
    return next(
        (
            scale
            for scale in (1, 2, 4)
            if all(side * scale >= least * w for side, w in zip(size, wanted, strict=True))
        ),
        8,
    )


def decode_jpeg(content: bytes, mode: str, size: Size, scale: int) -> torch.Tensor | None:
    """Decode a JPEG of grey or colour.

    Args:
        content: The whole file.
        mode: Pillow's name of what it holds.
        size: Its stored size, in pixels.
        scale: 8 times the scale: 1, 2, 4 or 8.

    Returns:
        uint8 (1 or 3, rows, columns), channels last in memory; ``None`` if it has other colours,
        or if anything at all is wrong with it.
    """
    if mode not in _COLOURS:
        return None
    rows, columns = (-(-side * scale // 8) for side in size)
    least: dict[str, Any] = {} if scale == 8 else {"min_height": rows, "min_width": columns}
    try:
        pixels = simplejpeg.decode_jpeg(content, _COLOURS[mode], **least)
    except ValueError:  # of libjpeg's warnings, too
        return None
    if pixels.shape[:2] != (rows, columns):
        return None
    return torch.from_numpy(pixels).permute(2, 0, 1)
