"""Settings that are right one by one and cannot hold together."""

from __future__ import annotations

from math import gcd, isqrt

from lit_buckets.config.schema import BatchesConfig, BucketsConfig, TransformConfig
from lit_buckets.config.text import problem
from lit_buckets.manifest import BATCH_FIELDS
from lit_buckets.plan.shapes import published

__all__ = ["check_batches", "check_buckets", "check_transform"]


def check_buckets(buckets: BucketsConfig) -> None:
    """Refuse limits that leave no bucket at all, and rules without what they need.

    Raises:
        ConfigError: If no multiple of ``divisor`` lies between ``min_side`` and ``max_side``, or
            the smallest square of one exceeds ``max_area``; if ``sizes`` and ``rule`` do not
            belong together, or ``max_buckets`` and another setting.
    """
    _check_max_buckets(buckets)
    _check_rule_of_others(buckets)
    if buckets.rule == "list" or buckets.sizes is not None:
        _check_sizes(buckets)
        return
    divisor, area = buckets.divisor, min(_areas(buckets))
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


def _check_sizes(buckets: BucketsConfig) -> None:
    """A list and the rule that reads it; every size a multiple of the divisor."""
    if buckets.sizes is None:
        rule, numbers = "needs a list", "buckets.sizes is null"
        raise problem("buckets.rule", "list", rule, numbers, "Set buckets.sizes=sdxl.")
    key, shown = "buckets.sizes", buckets.sizes
    if buckets.rule != "list":
        rule, numbers = "is read by the rule list only", f"buckets.rule is {buckets.rule}"
        raise problem(key, shown, rule, numbers, "Set buckets.rule=list.")
    for height, width in _sizes(buckets):
        if height % buckets.divisor or width % buckets.divisor:
            rule = "must have sides that are multiples of buckets.divisor"
            numbers = f"{height} x {width} is not one of {buckets.divisor}"
            fix = f"Set buckets.divisor={gcd(*(side for s in _sizes(buckets) for side in s))}."
            raise problem(key, shown, rule, numbers, fix)


def _check_max_buckets(buckets: BucketsConfig) -> None:
    """Few buckets need images that may take any of them, and one for each resolution."""
    key, most = "buckets.max_buckets", buckets.max_buckets
    if most is None:
        return
    rule = "needs images that may take any bucket"
    if buckets.rule == "native":
        numbers = "with buckets.rule=native each has its own"
        raise problem(key, most, rule, numbers, "Set buckets.max_buckets=null.")
    if not buckets.upscale:
        numbers = "with buckets.upscale=false they must not be enlarged"
        raise problem(key, most, rule, numbers, "Set buckets.upscale=true.")
    resolutions = 1 if buckets.rule == "list" else len(_areas(buckets))
    if most < resolutions:
        rule, numbers = "must be one for each of buckets.max_area", f"{most} < {resolutions}"
        raise problem(key, most, rule, numbers, f"Set it to {resolutions} or more.")


def _check_rule_of_others(buckets: BucketsConfig) -> None:
    """Settings that one rule reads, under another."""
    rule = f"buckets.rule is {buckets.rule}"
    if buckets.trim and buckets.rule != "native":
        what = "is read by the rule native only"
        raise problem("buckets.trim", True, what, rule, "Set buckets.rule=native.")
    if buckets.resolutions == "all" and buckets.rule not in ("fit", "ladder"):
        what, fix = "needs a rule that goes by area", "Set buckets.rule=fit."
        raise problem("buckets.resolutions", "all", what, rule, fix)


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


def check_transform(transform: TransformConfig, buckets: BucketsConfig) -> None:
    """Refuse what a crop is told where there is none, and a focus without its columns.

    Raises:
        ConfigError: If ``crop`` is set though ``fit`` does not crop, if ``fit`` would resize images
            that keep their pixels, if ``focus`` and ``crop`` do not belong together, or a paired
            column has the name of another field of a batch.
    """
    if transform.fit != "crop" and buckets.rule == "native":
        rule, numbers = "would resize images", "buckets.rule=native keeps their pixels"
        raise problem("transform.fit", transform.fit, rule, numbers, "Set transform.fit=crop.")
    if transform.fit != "crop" and transform.crop != "center":
        rule, numbers = "is read with transform.fit=crop only", f"that is {transform.fit}"
        raise problem("transform.crop", transform.crop, rule, numbers, "Set transform.crop=center.")
    _check_focus(transform)
    for column in transform.paired:
        if column in BATCH_FIELDS:
            rule, numbers = "must not take the place of another field", f"a batch has its {column}"
            fix = "Rename the column."
            raise problem("transform.paired", dict(transform.paired), rule, numbers, fix)


def _check_focus(transform: TransformConfig) -> None:
    key, columns = "transform.focus", transform.focus
    if transform.crop == "focus" and columns is None:
        rule, numbers = "needs columns to follow", f"{key} is null"
        raise problem("transform.crop", "focus", rule, numbers, f"Set {key}=[focus_x, focus_y].")
    if columns is None:
        return
    if transform.crop != "focus":
        rule, numbers = "is read with transform.crop=focus only", f"that is {transform.crop}"
        raise problem(key, columns, rule, numbers, "Set transform.crop=focus.")
    if len(columns) not in (2, 4) or len(set(columns)) < len(columns):
        rule = "must be [x, y] or [left, top, right, bottom]"
        numbers = f"it has {len(columns)} names, {len(set(columns))} of them different"
        raise problem(key, columns, rule, numbers, "Name two or four columns.")


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
    if buckets.rule == "list":
        return max(height * width for height, width in _sizes(buckets))
    area = _down(max(_areas(buckets)), buckets.divisor**2)
    if buckets.max_side is None:
        return area
    return min(area, _down(buckets.max_side, buckets.divisor) ** 2)


def _areas(buckets: BucketsConfig) -> tuple[int, ...]:
    return (buckets.max_area,) if isinstance(buckets.max_area, int) else buckets.max_area


def _sizes(buckets: BucketsConfig) -> list[tuple[int, int]]:
    if isinstance(buckets.sizes, str):
        return [(height, width) for height, width in published(buckets.sizes).tolist()]
    return list(buckets.sizes or ())


def _down(value: int, divisor: int) -> int:
    return value // divisor * divisor


def _up(value: int, divisor: int) -> int:
    return -(-value // divisor) * divisor
