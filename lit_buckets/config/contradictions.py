"""Settings that are right one by one and cannot hold together."""

from __future__ import annotations

from math import isqrt

from lit_buckets.config.schema import BatchesConfig, BucketsConfig
from lit_buckets.config.text import problem

__all__ = ["check_batches", "check_buckets"]


def check_buckets(buckets: BucketsConfig) -> None:
    """Refuse limits that leave no bucket at all.

    Raises:
        ConfigError: If no multiple of ``divisor`` lies between ``min_side`` and ``max_side``, or
            the smallest square of one exceeds ``max_area``.
    """
    divisor, area = buckets.divisor, buckets.max_area
    if divisor**2 > area:
        rule = "must not be larger than the square root of buckets.max_area"
        numbers = f"{divisor} * {divisor} = {divisor**2} > {area}"
        fix = f"Set it to {isqrt(area)} or less."
        raise problem("buckets.divisor", divisor, rule, numbers, fix)
    if buckets.max_side is not None:
        _check_max_side(buckets.max_side, buckets.min_side, divisor)
    shortest = _up(buckets.min_side or 1, divisor)
    if shortest**2 > area:
        rule = "must allow a square bucket within buckets.max_area"
        numbers = (
            f"as a multiple of {divisor} it is {shortest}, and {shortest} * {shortest} > {area}"
        )
        fix = f"Set it to {_down(isqrt(area), divisor)} or less."
        raise problem("buckets.min_side", buckets.min_side, rule, numbers, fix)


def check_batches(batches: BatchesConfig, buckets: BucketsConfig) -> None:
    """Refuse two measures of a batch, or none, or one that the largest bucket does not fit.

    Raises:
        ConfigError: If ``batch_size`` and ``max_pixels`` are both set or both null, or
            ``max_pixels`` is less than the area of a bucket may be.
    """
    key, size, pixels = "batches.max_pixels", batches.batch_size, batches.max_pixels
    if size is None and pixels is None:
        rule, numbers = "leaves batches without a size", f"{key} is null too"
        fix = f"Set batches.batch_size=null only together with {key}."
        raise problem("batches.batch_size", None, rule, numbers, fix)
    if size is not None and pixels is not None:
        rule = "contradicts batches.batch_size"
        numbers = f"that is {size}, and a batch has one measure"
        raise problem(key, pixels, rule, numbers, "Set batches.batch_size=null.")
    largest = _largest_area(buckets)
    if pixels is not None and pixels < largest:
        rule = "must hold one image of the largest bucket"
        numbers = f"a bucket may have {largest} pixels, and {pixels} < {largest}"
        raise problem(key, pixels, rule, numbers, f"Set it to {largest} or more.")


def _check_max_side(longest: int, shortest: int | None, divisor: int) -> None:
    key = "buckets.max_side"
    if longest < divisor:
        rule, numbers = "must not be less than buckets.divisor", f"{longest} < {divisor}"
        raise problem(key, longest, rule, numbers, f"Set it to {divisor} or more.")
    if shortest is None:
        return
    fix = f"Set it to {_up(shortest, divisor)} or more."
    if longest < shortest:
        rule, numbers = "must not be less than buckets.min_side", f"{longest} < {shortest}"
        raise problem(key, longest, rule, numbers, fix)
    if _down(longest, divisor) < _up(shortest, divisor):
        rule = "must leave a multiple of buckets.divisor above buckets.min_side"
        numbers = f"there is no multiple of {divisor} from {shortest} to {longest}"
        raise problem(key, longest, rule, numbers, fix)


def _largest_area(buckets: BucketsConfig) -> int:
    """No bucket has more pixels; few sets of images reach it."""
    area = _down(buckets.max_area, buckets.divisor**2)
    if buckets.max_side is None:
        return area
    return min(area, _down(buckets.max_side, buckets.divisor) ** 2)


def _down(value: int, divisor: int) -> int:
    return value // divisor * divisor


def _up(value: int, divisor: int) -> int:
    return -(-value // divisor) * divisor
