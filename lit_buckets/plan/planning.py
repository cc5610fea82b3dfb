"""From sizes to a plan: what each image wants, then what becomes of small buckets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from lit_buckets import geometry
from lit_buckets.placement import Fit, resized_sizes
from lit_buckets.plan.bucket_plan import BucketPlan
from lit_buckets.plan.choice import Choice, Limits, Resolutions, Rule, choose
from lit_buckets.plan.shapes import distinct, largest_inside, nearest

__all__ = ["Resolutions", "Rule", "SmallBucket", "plan_buckets"]

IntArray = npt.NDArray[np.int64]

SmallBucket = Literal["move", "keep", "exclude"]


def plan_buckets(
    images: npt.ArrayLike,
    /,
    *,
    rule: Rule = "fit",
    max_area: int | Sequence[int] = 512 * 512,
    divisor: int = 64,
    min_side: int | None = None,
    max_side: int | None = None,
    sizes: str | npt.ArrayLike | None = None,
    max_buckets: int | None = None,
    resolutions: Resolutions = "largest",
    upscale: bool = True,
    trim: bool = False,
    min_images: int = 1,
    small_bucket: SmallBucket = "move",
    max_crop: float = 0.25,
    fit: Fit = "crop",
    repeats: npt.ArrayLike | None = None,
    left_out: Mapping[int, str] | None = None,
    dataset: str = "",
) -> BucketPlan:
    """Give each image a bucket.

    Args:
        images: (N, 2) integer heights and widths as displayed, in pixels.
        rule: How bucket sizes are chosen. ``"fit"`` is :func:`lit_buckets.geometry.fit`: each
            image's own aspect ratio, rounded. ``"ladder"`` takes the one that keeps most of an
            image, of all maximal sizes (:func:`lit_buckets.plan.shapes.ladder`). ``"list"``
            does so with ``sizes``. ``"native"`` takes images as they are and leaves out those
            whose sides are no multiples of ``divisor``, or that break another limit; it never
            resizes.
        max_area: Largest area of a bucket, in pixels; or several, one for each resolution.
        divisor: Every side of a bucket is a multiple of it, in pixels.
        min_side: No side is shorter, in pixels.
        max_side: No side is longer, in pixels.
        sizes: For the rule ``"list"``: (K, 2) sizes, or the name of a published set, a key of
            :data:`lit_buckets.plan.shapes.PUBLISHED`. They alone count: areas and sides are not
            limited beside them.
        max_buckets: At most so many buckets: those that cut least from these images, counted with
            their repeats, of all maximal sizes and, with the rule ``"fit"``, those that images
            want; of ``sizes`` with the rule ``"list"``. The best choice is found exactly.
        resolutions: At which of several areas an image comes. ``"largest"``: at the largest where
            it need not be enlarged, or at the smallest. ``"all"``: at each of them, so that the
            plan has a row for each; without ``upscale``, at each where it need not be enlarged.
        upscale: Whether images may be enlarged. If not, one that is too small for its bucket
            takes one of half the area, a quarter and so on (of ``sizes``, the best that is small
            enough), and is left out where there is none.
        trim: With the rule ``"native"``: whether an image is cut to multiples of ``divisor``
            instead of being left out.
        min_images: A bucket with fewer images is small.
        small_bucket: ``"keep"`` lets small buckets be. ``"move"`` sends each of their images to
            the bucket of its resolution that is not small and keeps most of it, unless that would
            cut more than ``max_crop``: then it stays. ``"exclude"`` does the same, but leaves the
            others out.
        max_crop: Largest crop loss that a moved image may suffer, in [0, 1). Others that suffer
            more are noted in the plan.
        fit: How images get their bucket's size: ``"crop"``, ``"pad"`` or ``"stretch"``; see
            :func:`lit_buckets.placement.place`. Padding and stretching cut nothing, so ``max_crop``
            limits no move then. With the rule ``"native"`` images keep their pixels.
        repeats: (N,) how often each image comes in an epoch, each at least 1.
        left_out: Images that shall not come, and why, whatever their sizes.
        dataset: Fingerprint of the files; the plan carries it along.

    Returns:
        The plan; every image is in exactly one bucket or among those left out. With the resolutions
        ``"all"`` this holds for each of its rows, and every image has one.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> plan = plan_buckets([[600, 800], [800, 600], [600, 800]], max_area=256 * 256)
        >>> plan.bucket_sizes.tolist(), plan.bucket_of.tolist()
        ([[192, 320], [320, 192]], [0, 1, 0])
        >>> plan_buckets([[600, 800], [768, 1344]], rule="list", sizes="sdxl").bucket_sizes.tolist()
        [[768, 1344], [896, 1152]]
    """
    _check_choice("rule", rule, get_args(Rule))
    _check_choice("small_bucket", small_bucket, get_args(SmallBucket))
    _check_choice("resolutions", resolutions, get_args(Resolutions))
    _check_choice("fit", fit, get_args(Fit))
    image_sizes = geometry.as_sizes(images)
    often = None if repeats is None else _checked_repeats(repeats, len(image_sizes))
    limits = Limits(
        areas=_areas(max_area),
        divisor=divisor,
        min_side=min_side,
        max_side=max_side,
        upscale=upscale,
        resolutions=resolutions,
        trim=trim,
    )
    gone = dict(left_out or {})
    present = np.delete(np.arange(len(image_sizes)), list(gone))
    choice = choose(
        image_sizes[present],
        rule=rule,
        limits=limits,
        shapes=sizes,
        max_buckets=max_buckets,
        weights=None if often is None else often[present],
    ).among(present, len(image_sizes))
    sizes_of_rows = image_sizes[choice.image]
    bucket_sizes, which = distinct(choice.wanted)
    bucket_of = np.where(choice.level < 0, -1, which).astype(np.int32)
    fit = "native" if rule == "native" else fit
    moved, stranded = (
        ([], [])
        if small_bucket == "keep"
        else _settle_small(
            sizes_of_rows, bucket_sizes, bucket_of, choice, min_images, max_crop, upscale, fit
        )
    )
    reasons = {row: _stranded(choice.wanted[row], min_images, max_crop) for row in stranded}
    excluded = {int(np.searchsorted(choice.image, image)): why for image, why in gone.items()}
    excluded |= choice.left_out
    if small_bucket == "exclude":
        bucket_of[stranded] = -1
        excluded |= reasons
    kept, bucket_of = _drop_empty(bucket_of, len(bucket_sizes))
    plan = BucketPlan(
        sizes=sizes_of_rows,
        bucket_sizes=bucket_sizes[kept],
        bucket_of=bucket_of,
        repeats=None if often is None else often[choice.image],
        moved_from={row: geometry.Size(*choice.wanted[row].tolist()) for row in moved},
        excluded=dict(sorted(excluded.items())),
        curve=choice.curve,
        image=choice.image if resolutions == "all" else None,
        resolutions=_come_at(limits, choice.level[bucket_of >= 0]) if len(limits.areas) > 1 else {},
        fit=fit,
        dataset=dataset,
    )
    stay = {row: f"stays: {why}" for row, why in reasons.items() if bucket_of[row] >= 0}
    return replace(plan, noted=dict(sorted((_cut_beyond(plan, max_crop) | stay).items())))


def _come_at(limits: Limits, level: IntArray) -> dict[int, int]:
    """How many images come at each area, in pixels; areas at which none does are left out."""
    images = np.bincount(level, minlength=1)
    return {limits.levels()[at]: int(images[at]) for at in np.flatnonzero(images).tolist()}


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name}={value!r} must be one of {', '.join(choices)}.")


def _areas(max_area: int | Sequence[int]) -> list[int]:
    """One or several areas, falling, each once."""
    areas = sorted({int(area) for area in np.ravel(max_area)}, reverse=True)
    if not areas or areas[-1] < 1:
        raise ValueError(f"max_area={max_area} must be one area or several, each at least 1 pixel.")
    return areas


def _settle_small(
    sizes: IntArray,
    bucket_sizes: IntArray,
    bucket_of: npt.NDArray[np.int32],
    choice: Choice,
    min_images: int,
    max_crop: float,
    upscale: bool,
    fit: Fit,
) -> tuple[list[int], list[int]]:
    """Send the rows of small buckets on, in place; return who was moved and who cannot be."""
    counts = np.bincount(bucket_of[bucket_of >= 0], minlength=len(bucket_sizes))
    small = (counts < min_images)[bucket_of] & (bucket_of >= 0)
    moves = np.zeros(len(sizes), dtype=bool)
    for level in np.unique(choice.level[small]):
        here = choice.level == level
        restless = np.flatnonzero(here & small)
        large = np.unique(bucket_of[here & ~small])
        best, loss = _next_best(sizes[restless], bucket_sizes[large], upscale, fit)
        fits = (best >= 0) & (loss <= max_crop)
        bucket_of[restless[fits]] = large[best[fits]]
        moves[restless[fits]] = True
    return np.flatnonzero(moves).tolist(), np.flatnonzero(small & ~moves).tolist()


def _next_best(
    sizes: IntArray, buckets: IntArray, upscale: bool, fit: Fit
) -> tuple[IntArray, npt.NDArray[np.float64]]:
    """The bucket that keeps most of each image, -1 for none, and what it cuts."""
    keeps = fit == "native"
    best = largest_inside(sizes, buckets) if keeps else nearest(sizes, buckets, enlarge=upscale)
    loss = np.ones(len(sizes))
    some = best >= 0
    found = buckets[best[some]]
    loss[some] = geometry.share_cut(resized_sizes(sizes[some], found, fit), found)
    return best, loss


def _cut_beyond(plan: BucketPlan, max_crop: float) -> dict[int, str]:
    """Which rows are cut by more than the limit, though they were not moved."""
    beyond = np.flatnonzero(plan.crop_loss > max_crop)
    return {
        int(row): f"{share:.0%} is cut, more than max_crop={max_crop:g}"
        for row, share in zip(beyond, plan.crop_loss[beyond], strict=True)
    }


def _drop_empty(
    bucket_of: npt.NDArray[np.int32], buckets: int
) -> tuple[IntArray, npt.NDArray[np.int32]]:
    """Which buckets still have images, and the images' buckets counted among those alone."""
    used = np.bincount(bucket_of[bucket_of >= 0], minlength=buckets) > 0
    # the number for -1, the last entry, stays -1
    number = np.append(np.cumsum(used) - 1, -1).astype(np.int32)
    return np.flatnonzero(used), number[bucket_of]


def _stranded(wanted: IntArray, min_images: int, max_crop: float) -> str:
    height, width = wanted.tolist()
    return (
        f"bucket {height}x{width} has fewer than min_images={min_images} images, and every other "
        f"bucket that it may go to would cut more than max_crop={max_crop:g} of it"
    )


def _checked_repeats(repeats: npt.ArrayLike, images: int) -> IntArray:
    array = np.asarray(repeats, dtype=np.int64)
    if array.shape != (images,) or array.min(initial=1) < 1:
        raise ValueError(
            f"repeats must be {images} whole numbers of at least 1, one for each image; "
            f"got shape {array.shape} with a least of {array.min(initial=1)}."
        )
    return array
