"""Which size each image wants: the rules, before small buckets are looked at.

Images are chosen for in levels, the largest resolution first. With the resolutions ``largest`` an
image belongs to the first level at which its size needs no enlarging; where enlarging is allowed,
the last level takes the rest. With ``all`` it belongs to every such level; where enlarging is
allowed, to every level there is.

=========  ===================================================================================
rule       the size that an image wants at an area
=========  ===================================================================================
fit        its own aspect ratio, both sides rounded
ladder     of all maximal sizes the one that keeps most of it
list       of given sizes the one that keeps most of it; there is one level, and no area
native     its own size, or what is left of it when trimmed; there is one level
=========  ===================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from lit_buckets import geometry
from lit_buckets.plan.fewest import fewest
from lit_buckets.plan.shapes import distinct, ladder, nearest, one_per_ratio, published

__all__ = ["Choice", "Limits", "Resolutions", "Rule", "choose"]

IntArray = npt.NDArray[np.int64]

Rule = Literal["fit", "ladder", "list", "native"]
Resolutions = Literal["largest", "all"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a size may be.

    Attributes:
        areas: Largest areas, in pixels, one for each resolution, falling.
        divisor: Every side is a multiple of it, in pixels.
        min_side: No side is shorter, in pixels.
        max_side: No side is longer, in pixels.
        upscale: Whether an image may be enlarged.
        resolutions: Whether an image comes at the largest area that suits it, or at all of them.
        trim: Whether an image that keeps its pixels may lose those beyond a multiple of the
            divisor.
    """

    areas: Sequence[int]
    divisor: int
    min_side: int | None = None
    max_side: int | None = None
    upscale: bool = True
    resolutions: Resolutions = "largest"
    trim: bool = False

    def levels(self) -> list[int]:
        """The areas, and without enlarging also their halves, as long as there is a size."""
        areas = list(self.areas)
        while not self.upscale and self._has_size(areas[-1] // 2):
            areas.append(areas[-1] // 2)
        return areas

    def _has_size(self, area: int) -> bool:
        smallest = max(self.divisor, self.min_side or 1)
        return area >= (-(-smallest // self.divisor) * self.divisor) ** 2


@dataclass(frozen=True, eq=False)
class Choice:
    """What images want, in M rows: one for each image, or one for each of its resolutions.

    Attributes:
        image: (M,) which image each row is of, non-decreasing; every image has a row.
        wanted: (M, 2) sizes, in pixels; zeros for those left out.
        level: (M,) which resolution each belongs to, 0 for the largest; -1 for those left out.
        left_out: Why there is no size for an image, by row.
        curve: Least mean crop loss by number of shapes, where their number is limited.
    """

    image: IntArray
    wanted: IntArray
    level: IntArray
    left_out: Mapping[int, str] = field(default_factory=dict)
    curve: Mapping[int, float] = field(default_factory=dict)

    def among(self, present: IntArray, images: int) -> Choice:
        """The same choice where these are some of more images; the others want nothing."""
        if len(present) == images:
            return self
        absent = np.delete(np.arange(images), present)
        image = np.concatenate([present[self.image], absent])
        order = np.argsort(image, kind="stable")
        wanted = np.concatenate([self.wanted, np.zeros((len(absent), 2), dtype=np.int64)])
        level = np.concatenate([self.level, np.full(len(absent), -1, dtype=np.int64)])
        place = np.argsort(order)
        reasons = {int(place[row]): reason for row, reason in self.left_out.items()}
        return Choice(image[order], wanted[order], level[order], reasons, self.curve)


def choose(
    images: IntArray,
    *,
    rule: Rule,
    limits: Limits,
    shapes: str | npt.ArrayLike | None = None,
    max_buckets: int | None = None,
    weights: npt.ArrayLike | None = None,
) -> Choice:
    """Choose a size for each image.

    Args:
        images: (N, 2) image sizes, in pixels.
        rule: How sizes are found.
        limits: What a size may be.
        shapes: For the rule ``list``: (K, 2) sizes, in pixels, or the name of a published set.
        max_buckets: At most so many sizes are wanted, at least one: those with the least total
            crop loss.
        weights: (N,) how often each image counts in that total; ``None`` for once.

    Returns:
        Sizes that keep the limits, and who is left out.

    Raises:
        ValueError: If the limits leave no size at all, or arguments contradict each other.
    """
    if limits.trim and rule != "native":
        raise ValueError(
            f"trim=True is for images that keep their pixels; rule={rule!r} resizes them. "
            "Leave it out, or set rule='native'."
        )
    if limits.resolutions == "all" and rule not in ("fit", "ladder"):
        raise ValueError(
            f"resolutions='all' needs sizes by area; rule={rule!r} has none. "
            "Set rule='fit' or 'ladder'."
        )
    if (rule == "list") != (shapes is not None):
        raise ValueError(f"rule={rule!r} and sizes={shapes!r} do not go together; a list has both.")
    if max_buckets is not None and (rule == "native" or not limits.upscale):
        raise ValueError(
            f"max_buckets={max_buckets} needs images that take any of the sizes; with rule='native'"
            " or upscale=False they cannot. Leave it out."
        )
    if max_buckets is not None and max_buckets < 1:
        raise ValueError(f"max_buckets={max_buckets} must be at least 1.")
    if rule == "native":
        return _native(images, limits)
    given = None if shapes is None else _given(shapes, limits.divisor)
    choice = _by_level(images, rule, limits, given)
    if max_buckets is None:
        return choice
    return _limited(images, choice, rule, limits, given, max_buckets, weights)


def _by_level(images: IntArray, rule: Rule, limits: Limits, given: IntArray | None) -> Choice:
    """Level after level, settle the images that belong to it."""
    levels = limits.levels() if given is None else [0]
    settled = np.zeros(len(images), dtype=bool)
    rows: list[tuple[IntArray, IntArray, IntArray]] = []
    for number, area in enumerate(levels):
        all_come = limits.resolutions == "all" and number < len(limits.areas)
        some = np.arange(len(images)) if all_come else np.flatnonzero(~settled)
        enlarge = limits.upscale and (all_come or number == len(levels) - 1)
        sizes = (
            _at(images[some], rule, limits, area)
            if given is None
            else _of(images[some], given, enlarge)
        )
        fits = (sizes > 0).all(axis=1) & (enlarge | (sizes <= images[some]).all(axis=1))
        settled[some[fits]] = True
        rows.append((some[fits], sizes[fits], np.full(int(fits.sum()), number)))
    rest = np.flatnonzero(~settled)
    rows.append((rest, np.zeros((len(rest), 2), dtype=np.int64), np.full(len(rest), -1)))
    image, wanted, level = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    order = np.argsort(image, kind="stable")
    reasons = {
        row: f"every bucket would enlarge its {height}x{width} pixels, and upscale is false"
        for row in np.flatnonzero(level[order] < 0).tolist()
        for height, width in [images[image[order[row]]].tolist()]
    }
    return Choice(image[order], wanted[order], level[order], reasons)


def _at(images: IntArray, rule: Rule, limits: Limits, area: int) -> IntArray:
    """Sizes by rule at one area."""
    keywords = {
        "max_area": area,
        "divisor": limits.divisor,
        "min_side": limits.min_side,
        "max_side": limits.max_side,
    }
    if rule == "fit":
        return geometry.fit(images, **keywords)  # type: ignore[arg-type]
    rungs = ladder(**keywords)  # type: ignore[arg-type]
    return rungs[nearest(images, rungs)]


def _of(images: IntArray, given: IntArray, enlarge: bool) -> IntArray:
    """Sizes of a list; zeros where each would enlarge the image."""
    found = nearest(images, given, enlarge=enlarge)
    return np.where((found >= 0)[:, None], given[found], 0)


def _given(shapes: str | npt.ArrayLike, divisor: int) -> IntArray:
    if isinstance(shapes, str):
        sizes = published(shapes)
    else:
        sizes = np.unique(np.asarray(shapes, dtype=np.int64).reshape(-1, 2), axis=0)
    wrong = (sizes % divisor != 0).any(axis=1) | (sizes < 1).any(axis=1)
    if wrong.any() or not len(sizes):
        first = f"{'x'.join(map(str, sizes[wrong][0]))} is not" if len(sizes) else "there is none"
        fitting = int(np.gcd.reduce(sizes, axis=None)) if len(sizes) else divisor
        raise ValueError(
            f"sizes must have sides that are multiples of divisor={divisor}; {first}. "
            f"Set divisor={max(fitting, 1)}."
        )
    return sizes


def _native(images: IntArray, limits: Limits) -> Choice:
    """Images as they are, or trimmed; those that break a limit are left out."""
    sides = images // limits.divisor * limits.divisor if limits.trim else images
    longest = images.max(initial=1) if limits.max_side is None else limits.max_side
    broken = [
        ((sides % limits.divisor != 0).any(axis=1), f"no multiples of divisor={limits.divisor}"),
        ((sides < 1).any(axis=1), f"less than divisor={limits.divisor}"),
        (sides.prod(axis=1) > limits.areas[0], f"more than max_area={limits.areas[0]}"),
        ((sides < (limits.min_side or 1)).any(axis=1), f"less than min_side={limits.min_side}"),
        ((sides > longest).any(axis=1), f"more than max_side={limits.max_side}"),
    ]
    reasons: dict[int, str] = {}
    for where, rule in broken:
        for index in np.flatnonzero(where).tolist():
            height, width = images[index].tolist()
            reasons.setdefault(index, f"its {height}x{width} pixels are {rule}")
    level = np.zeros(len(images), dtype=np.int64)
    level[list(reasons)] = -1
    wanted = np.where((level >= 0)[:, None], sides, 0)
    return Choice(np.arange(len(images)), wanted, level, dict(sorted(reasons.items())))


def _limited(
    images: IntArray,
    choice: Choice,
    rule: Rule,
    limits: Limits,
    given: IntArray | None,
    most: int,
    weights: npt.ArrayLike | None,
) -> Choice:
    """At most ``most`` sizes in all, shared out among levels so that the total is the least."""
    row_images = images[choice.image]
    every = np.ones(len(images), dtype=np.int64) if weights is None else np.asarray(weights)
    every = every[choice.image]
    numbers = np.unique(choice.level).tolist()
    if not numbers:
        return choice
    if most < len(numbers):
        raise ValueError(
            f"max_buckets={most} must be at least 1 for each resolution that images have; "
            f"there are {len(numbers)}. Set max_buckets={len(numbers)} or more."
        )
    members = [np.flatnonzero(choice.level == number) for number in numbers]
    candidates = [
        _candidates(choice.wanted[some], rule, limits, limits.areas[number], given)
        for number, some in zip(numbers, members, strict=True)
    ]
    # twice as many as asked for: what more shapes would gain is part of the answer
    best = [
        fewest(row_images[some], shapes, 2 * most, every[some])
        for some, shapes in zip(members, candidates, strict=True)
    ]
    shares, total = _shared_out([found.curve for found in best], 2 * most)
    wanted = choice.wanted.copy()
    taken = shares[min(most, max(shares))]
    for some, shapes, found, share in zip(members, candidates, best, taken, strict=True):
        chosen = shapes[found.sets[share - 1]]
        wanted[some] = chosen[nearest(row_images[some], chosen)]
    curve = {number: loss / float(every.sum()) for number, loss in total.items()}
    return replace(choice, wanted=wanted, curve=curve)


def _candidates(
    wanted: IntArray, rule: Rule, limits: Limits, area: int, given: IntArray | None
) -> IntArray:
    """Sizes of a rule at one level: those of the list, all maximal ones, and what fit found."""
    if given is not None:
        return one_per_ratio(given)
    rungs = ladder(
        max_area=area, divisor=limits.divisor, min_side=limits.min_side, max_side=limits.max_side
    )
    return one_per_ratio(np.concatenate([rungs, distinct(wanted)[0]]) if rule == "fit" else rungs)


def _shared_out(
    curves: Sequence[npt.NDArray[np.float64]], most: int
) -> tuple[dict[int, tuple[int, ...]], dict[int, float]]:
    """The best shares of 1, 2, … shapes for levels, at least one each, and the least losses.

    What one shape more gains only falls along each curve, so the next shape goes wherever it
    gains most.
    """
    shares = [1] * len(curves)
    number = len(curves)
    best = {number: tuple(shares)}
    total = {number: float(sum(curve[0] for curve in curves))}
    while number < most:
        gains = [
            curve[share - 1] - curve[share] if share < len(curve) else 0.0
            for curve, share in zip(curves, shares, strict=True)
        ]
        if max(gains, default=0.0) <= 0:
            break
        shares[gains.index(max(gains))] += 1
        number += 1
        best[number] = tuple(shares)
        total[number] = float(sum(c[s - 1] for c, s in zip(curves, shares, strict=True)))
    return best, total
