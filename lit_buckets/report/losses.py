"""What images lose to their buckets, whichever way they get a bucket's size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lit_buckets.plan import BucketPlan
from lit_buckets.plan.fewest import fewest
from lit_buckets.plan.shapes import one_per_ratio

__all__ = ["Curve", "Loss", "curve_of", "loss_of", "spread_of"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

_MOST_SHAPES = 40  # how far a curve goes that the plan does not hold
_ONE_RESOLUTION = 2  # largest quotient of the areas of buckets that may be compared by ratio alone


class Loss(NamedTuple):
    """What images lose to their buckets.

    Attributes:
        name: What to call it.
        done: What has become of an image that loses something.
        meaning: What it is a share of, in a sentence.
        values: (N,) shares for the rows of a plan, in [0, 1); 0 for those left out.
    """

    name: str
    done: str
    meaning: str
    values: FloatArray


class Curve(NamedTuple):
    """The least mean loss by number of shapes, and what to know of it."""

    points: Mapping[int, float]  #: empty where there is no such curve
    mean: float  #: of the plan itself, over samples
    note: str


def loss_of(plan: BucketPlan) -> Loss:
    """What the images of a plan lose.

    Args:
        plan: The plan. But for whole pixels, padding and stretching lose as much as a crop to the
            same bucket: one less the smaller of both aspect ratios over the larger.

    Example:
        >>> from lit_buckets import plan_buckets
        >>> size = {"rule": "list", "sizes": [[64, 64]]}
        >>> for fit in ("crop", "pad", "stretch"):
        ...     loss = loss_of(plan_buckets([[100, 200]], fit=fit, **size))
        ...     print(loss.name, loss.values.tolist())
        crop loss [0.5]
        padding [0.5]
        stretch [0.5]
    """
    if plan.fit not in ("pad", "stretch"):
        meaning = "Crop loss is the share of the resized image that the crop removes."
        return Loss("crop loss", "cropped", meaning, plan.crop_loss)
    values = np.zeros(len(plan))
    rows = np.flatnonzero(plan.bucket_of >= 0)
    buckets = plan.bucket_sizes[plan.bucket_of[rows]].reshape(-1, 2)
    if plan.fit == "pad":
        values[rows] = 1 - plan.resized(rows).prod(axis=1) / buckets.prod(axis=1)
        meaning = "Nothing is cropped: padding is the share of the bucket that stays empty."
        return Loss("padding", "padded", meaning, values)
    sides = buckets / plan.sizes[rows]
    values[rows] = 1 - sides.min(axis=1, initial=1e9) / sides.max(axis=1, initial=1e-9)
    meaning = (
        "Nothing is cropped: stretch is the share by which one side is shortened against the other."
    )
    return Loss("stretch", "stretched", meaning, values)


def spread_of(loss: Loss, plan: BucketPlan) -> str:
    """How a loss spreads over the images of a plan, in a sentence."""
    values = loss.values[plan.bucket_of >= 0]
    if not len(values):
        return "There is no image."
    half, most = np.quantile(values, [0.5, 0.95])
    none = np.count_nonzero(values == 0) / len(values)
    return (
        f"{loss.name.capitalize()}: at most {half:.1%} in half of the images, at most {most:.1%} "
        f"in 95% of them, none in {none:.0%}."
    )


def curve_of(loss: Loss, plan: BucketPlan) -> Curve:
    """What fewer shapes would lose.

    Args:
        loss: From :func:`loss_of`.
        plan: Its plan; where the number of its buckets is limited it has the curve already.
            Otherwise the best of its own shapes are found, if they are of one resolution.

    Returns:
        The curve, with at most 40 points where it has to be found.
    """
    used = plan.bucket_of >= 0
    weights = np.ones(len(plan), dtype=np.int64) if plan.repeats is None else plan.repeats
    samples = int(weights[used].sum())
    mean = float((loss.values * weights)[used].sum()) / max(samples, 1)
    here = f"This plan has {len(plan.bucket_sizes):,} shapes and a mean {loss.name} of {mean:.1%}"
    here += ", repeats counted." if (weights[used] > 1).any() else "."
    points, rest = _points(plan, weights)
    return Curve(points, mean, f"{here} {rest}".rstrip())


def _points(plan: BucketPlan, weights: IntArray) -> tuple[Mapping[int, float], str]:
    """Points of a curve, if there is one, and what to say of them or of there being none."""
    if plan.curve:
        return plan.curve, "The curve is the least of all such sets, before sides are whole pixels."
    if not len(plan.bucket_sizes):
        return {}, ""
    if plan.fit == "native":
        return {}, "Images keep their pixels."
    areas = plan.bucket_sizes.prod(axis=1)
    if plan.resolutions or areas.max() >= _ONE_RESOLUTION * areas.min():
        return {}, (
            f"Buckets of {areas.min():,} to {areas.max():,} pixels do not take one another's "
            "images, so there is no one curve. With max_buckets a plan has its own."
        )
    used = plan.bucket_of >= 0
    shapes = one_per_ratio(plan.bucket_sizes)
    best = fewest(plan.sizes[used], shapes, min(_MOST_SHAPES, len(shapes)), weights[used])
    samples = float(weights[used].sum())
    points = {number: float(total) / samples for number, total in enumerate(best.curve, start=1)}
    return points, (
        "The curve is what the best of them would give if each image took the one nearest to it. "
        "That is what max_buckets does, and it has more to choose from."
    )
