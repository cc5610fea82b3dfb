"""Sizes, and the arithmetic between an image and its bucket. Exact integers, no torch.

A size is always ``(height, width)`` in pixels, as displayed. Functions on many sizes take and
return integer arrays of shape (N, 2), height first.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = [
    "Cells",
    "Offset",
    "Size",
    "as_sizes",
    "cells",
    "contain",
    "cover",
    "crop_loss",
    "fit",
    "same_ratio",
    "share_cut",
]

IntArray = npt.NDArray[np.int64]

_CHUNK = 1 << 13  # sizes worked on at once: what fits a cache
_DOUBT = 1e-6  # distance to where rounding turns, within which floating point is not trusted


class Size(NamedTuple):
    """Height and width in pixels, as displayed."""

    height: int
    width: int


class Offset(NamedTuple):
    """Where a crop begins in the resized image, in pixels from the top left corner."""

    top: int
    left: int


class Cells(NamedTuple):
    """Limits of a bucket in cells of divisor x divisor pixels."""

    budget: int  #: largest area
    shortest: int  #: no side is shorter
    longest: int  #: no side is longer


def cells(
    max_area: int, divisor: int, min_side: int | None = None, max_side: int | None = None
) -> Cells:
    """Limits in cells of divisor x divisor pixels.

    Args:
        max_area: Largest area of a bucket, in pixels.
        divisor: Every side of a bucket is a multiple of it, in pixels.
        min_side: No side is shorter than this, in pixels; raised to a multiple of ``divisor``.
        max_side: No side is longer than this, in pixels; lowered to a multiple of ``divisor``.

    Raises:
        ValueError: If the limits leave no size at all.

    Example:
        >>> cells(512 * 512, 64, min_side=100)
        Cells(budget=64, shortest=2, longest=64)
    """
    budget = max_area // divisor**2
    shortest = max(1, -(-(min_side or 1) // divisor))
    longest = max(1, budget) if max_side is None else max_side // divisor
    if shortest > longest or shortest**2 > budget:
        raise ValueError(
            f"no multiple of divisor={divisor} fits: sides of {shortest * divisor} to "
            f"{longest * divisor} pixels within max_area={max_area}. "
            f"Raise max_area to {(shortest * divisor) ** 2} or lower min_side."
        )
    return Cells(budget, shortest, longest)


def fit(
    sizes: npt.ArrayLike,
    *,
    max_area: int,
    divisor: int,
    min_side: int | None = None,
    max_side: int | None = None,
) -> IntArray:
    """Bucket size for each image: its own aspect ratio at the area budget.

    With ``s = sqrt(max_area / (width * height))`` each side becomes
    ``round(side * s / divisor) * divisor``; if the product exceeds ``max_area``, both sides are
    rounded down instead. No result hangs on a rounding error: ``side * s`` is
    ``sqrt(side * max_area / other)``, and wherever floating point might round it the wrong way,
    the nearest integer to the root of a fraction follows from comparing squares. A half goes to
    the even multiple, as Python's ``round`` does.

    The rule is that of the pull request "Simpler bucketing code" (waifu-diffusion #59, 2022).
    Beyond it, the budget also holds where a side had to be raised to one divisor or to
    ``min_side``: the longer side then takes what the shorter one leaves.

    Args:
        sizes: (N, 2) heights and widths, in pixels, each at least 1.
        max_area: Largest area of a bucket, in pixels; at least ``divisor ** 2``.
        divisor: Every side of a bucket is a multiple of it, in pixels.
        min_side: No side is shorter than this, in pixels; raised to a multiple of ``divisor``.
        max_side: No side is longer than this, in pixels; lowered to a multiple of ``divisor``.

    Returns:
        (N, 2) bucket sizes, int64, each within ``max_area``.

    Raises:
        ValueError: If a size is not positive, or the limits leave no size at all.

    Example:
        >>> fit([[600, 800], [1080, 1920], [20, 10_000]], max_area=512 * 512, divisor=64)
        array([[ 448,  576],
               [ 384,  640],
               [  64, 4096]])
    """
    images = as_sizes(sizes)
    limits = cells(max_area, divisor, min_side, max_side)
    if images.max(initial=1) * max_area >= 2**61:
        raise ValueError(
            f"a side of {images.max()} pixels at max_area={max_area} exceeds exact 64-bit integers."
        )
    found = np.empty_like(images)
    for begin in range(0, len(images), _CHUNK):
        chunk = slice(begin, begin + _CHUNK)
        height, width = np.ascontiguousarray(images[chunk].T)
        sides = _nearest_sides(height, width, max_area, divisor, limits)
        over = np.flatnonzero(sides[0] * sides[1] > limits.budget)
        if over.size:  # one side was raised to its least length; the longer one makes room
            tall, wide = sides[0][over], sides[1][over]
            sides[0][over] = np.where(tall > wide, limits.budget // wide, tall)
            sides[1][over] = np.where(tall > wide, wide, limits.budget // tall)
        np.multiply(sides[0], divisor, out=found[chunk, 0])
        np.multiply(sides[1], divisor, out=found[chunk, 1])
    return found


def as_sizes(sizes: npt.ArrayLike) -> IntArray:
    """Sizes as an int64 array of shape (N, 2), or (2,) for one.

    Raises:
        ValueError: If they are not integers of that shape, or a side is less than 1.
    """
    array = np.asarray(sizes)
    if array.size == 0:
        array = array.reshape(0, 2).astype(np.int64)
    if array.shape[-1:] != (2,) or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"sizes must be integers of shape (N, 2), (height, width); "
            f"got {array.dtype} of shape {array.shape}."
        )
    if array.size and array.min() < 1:
        raise ValueError(f"every side must be at least 1 pixel; the smallest is {array.min()}.")
    return array.astype(np.int64, copy=False)


def cover(sizes: npt.ArrayLike, buckets: npt.ArrayLike) -> IntArray:
    """Smallest sizes with the images' aspect ratios that cover their buckets.

    Args:
        sizes: (N, 2) or (2,) image sizes, in pixels.
        buckets: Bucket sizes, in pixels, broadcast against ``sizes``.

    Returns:
        int64 sizes, both sides at least the bucket's and one equal to it; the other is rounded
        to the nearest pixel.

    Raises:
        ValueError: If a side is not positive.

    Example:
        >>> Size(*cover(Size(600, 800), Size(512, 512)).tolist())
        Size(height=512, width=683)
    """
    return _scaled(sizes, buckets, np.greater_equal)


def contain(sizes: npt.ArrayLike, buckets: npt.ArrayLike) -> IntArray:
    """Largest sizes with the images' aspect ratios that fit in their buckets.

    Args:
        sizes: (N, 2) or (2,) image sizes, in pixels.
        buckets: Bucket sizes, in pixels, broadcast against ``sizes``.

    Returns:
        int64 sizes, both sides at most the bucket's and one equal to it; the other is rounded
        to the nearest pixel, and at least 1.

    Raises:
        ValueError: If a side is not positive.

    Example:
        >>> Size(*contain(Size(600, 800), Size(512, 512)).tolist())
        Size(height=384, width=512)
    """
    return np.maximum(_scaled(sizes, buckets, np.less_equal), 1)


def same_ratio(first: Size, second: Size) -> bool:
    """Whether one size is the other scaled, to within a pixel of the smaller one.

    Example:
        >>> same_ratio(Size(1000, 1333), Size(125, 167)), same_ratio(Size(100, 100), Size(50, 52))
        (True, False)
    """
    # cross-multiplied: one pixel of the smaller size counts as much as a side of the larger one
    return abs(first.height * second.width - first.width * second.height) <= max(*first, *second)


def crop_loss(sizes: npt.ArrayLike, buckets: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Share of the resized image that the crop to the bucket removes.

    Args:
        sizes: (N, 2) or (2,) image sizes, in pixels.
        buckets: Bucket sizes, in pixels, broadcast against ``sizes``.

    Returns:
        Shares in [0, 1): 0 where nothing is cut.

    Example:
        >>> crop_loss([[512, 512], [256, 1024]], [512, 512]).tolist()
        [0.0, 0.75]
    """
    return share_cut(cover(sizes, buckets), buckets)


def share_cut(resized: npt.ArrayLike, buckets: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Share of its pixels that a resized image loses when it is cut to its bucket.

    Args:
        resized: (N, 2) or (2,) sizes, in pixels.
        buckets: Bucket sizes, in pixels, broadcast against ``resized``.

    Returns:
        Shares in [0, 1): 0 where nothing is cut, because the image lies inside its bucket.

    Example:
        >>> share_cut([512, 683], [512, 512]).round(3).tolist()
        0.25
    """
    whole = np.asarray(resized, dtype=np.int64)
    kept = np.minimum(whole, np.asarray(buckets, dtype=np.int64))
    return np.asarray(1.0 - kept.prod(axis=-1) / whole.prod(axis=-1))


def _scaled(sizes: npt.ArrayLike, buckets: npt.ArrayLike, meets_height: np.ufunc) -> IntArray:
    """Sizes with the images' aspect ratios and one side of their buckets'.

    It is the height where ``meets_height`` holds for the bucket's height and the height that the
    image has at the bucket's width, both multiplied by the image's width.
    """
    image, bucket = np.broadcast_arrays(as_sizes(sizes), as_sizes(buckets))
    height, width = image[..., 0], image[..., 1]
    bucket_height, bucket_width = bucket[..., 0], bucket[..., 1]
    by_height = meets_height(bucket_height * width, bucket_width * height)
    resized_height = np.where(by_height, bucket_height, _divide(height * bucket_width, width))
    resized_width = np.where(by_height, _divide(width * bucket_height, height), bucket_width)
    return np.stack([resized_height, resized_width], axis=-1)


def _divide(numerator: IntArray, denominator: IntArray) -> IntArray:
    """Integer division to the nearest, a half upwards."""
    return (2 * numerator + denominator) // (2 * denominator)


def _nearest_sides(
    height: IntArray, width: IntArray, max_area: int, divisor: int, limits: Cells
) -> tuple[IntArray, IntArray]:
    """Sides at the budget in cells: to the nearest, or both down where that exceeds it.

    Floating point settles what is far from where rounding turns, which is nearly everything; the
    rest is settled by comparing integers.
    """
    budget, shortest, longest = limits
    area = max_area / divisor**2
    tall = np.sqrt(height / width * area)
    wide = area / tall
    sides = tall, wide
    near = [np.rint(side) for side in sides]
    doubtful = np.zeros(len(height), dtype=bool)
    for side, rounded in zip(sides, near, strict=True):
        # a root is off by less than 5 / 2**53 of itself, and there is none of 2**31 or more
        doubtful |= np.abs(side - rounded) > 0.5 - _DOUBT
    kept = [np.clip(rounded, shortest, longest) for rounded in near]
    over = np.flatnonzero(kept[0] * kept[1] > budget)
    for side, rounded, clipped in zip(sides, near, kept, strict=True):
        doubtful[over] |= np.abs(side[over] - rounded[over]) < _DOUBT
        clipped[over] = np.clip(np.floor(side[over]), shortest, longest)
    found = kept[0].astype(np.int64), kept[1].astype(np.int64)
    if doubtful.any():
        some = np.flatnonzero(doubtful)
        down, nearest = _roots(np.stack([height[some], width[some]], 1), max_area, divisor)
        down, nearest = np.clip(down, shortest, longest), np.clip(nearest, shortest, longest)
        exact = np.where((nearest[:, 0] * nearest[:, 1] > budget)[:, None], down, nearest)
        found[0][some], found[1][some] = exact.T
    return found


def _roots(images: IntArray, max_area: int, divisor: int) -> tuple[IntArray, IntArray]:
    """Sides at the budget in units of the divisor, rounded down and to the nearest."""
    other = images[:, ::-1]
    numerator, denominator = images * max_area, other * divisor**2
    down = _isqrt(numerator // denominator)
    # sqrt(n / d) against down + 1/2, squared and multiplied out: no root, no rounding error
    twice, halfway = 4 * numerator, (2 * down + 1) ** 2 * denominator
    up = (twice > halfway) | ((twice == halfway) & (down % 2 == 1))
    return down, down + up


def _isqrt(values: IntArray) -> IntArray:
    """Integer square roots; the float root is within one of the truth and is set right."""
    root: IntArray = np.sqrt(values.astype(np.float64)).astype(np.int64)
    root -= root * root > values
    root += (root + 1) ** 2 <= values
    return root
