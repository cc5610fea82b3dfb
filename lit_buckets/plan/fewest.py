"""At most n shapes that together cut the least from a dataset: an exact dynamic programme.

Sort images and candidate shapes by aspect ratio. Of a chosen set, an image of ratio ``r`` takes
the shape that keeps most of it, which is one of the two chosen ratios next to ``r``, because the
crop to a shape of ratio ``q`` removes ``1 - min(r / q, q / r)``. So the loss of a set is a sum
over pairs of neighbours in it, and the best set is a shortest path::

    ratios   ·   · ·    ·  · ·   ·    ·  ·    ·
    shapes     a      b        c         d        chosen: a, c, d
             ◀─┤◀─────┴──▶├────┴─▶◀──────┴─▶├──▶  loss = C(,a) + C(a,c) + C(c,d) + C(d,)

``C(i, j)`` is what images between two chosen shapes lose, each to the better of the two. It comes
from running totals in two look-ups, whatever the number of images, and it satisfies the
quadrangle inequality ``C(a,c) + C(b,d) <= C(a,d) + C(b,c)``, so the best predecessor only moves
to the right and a row of the programme takes ``O(K log K)`` look-ups.

The loss is that of the ideal resize, before its longer side is rounded to a whole pixel.
:func:`lit_buckets.geometry.crop_loss` counts whole pixels and differs by at most
half a pixel's share of that side.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Fewest", "fewest"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

_NEGLIGIBLE = 1e-12  # of an image: what rounding may make of no loss


class Fewest(NamedTuple):
    """The best sets of 1, 2, … shapes.

    Attributes:
        curve: (M,) least total loss with 1, 2, … shapes, in images: falling, ever more slowly.
        sets: M arrays of indices of candidates, in rising order of aspect ratio.
    """

    curve: FloatArray
    sets: list[IntArray]


def fewest(
    sizes: npt.ArrayLike, shapes: npt.ArrayLike, most: int, weights: npt.ArrayLike | None = None
) -> Fewest:
    """The sets of at most 1, 2, … ``most`` shapes with the least total loss.

    Args:
        sizes: (N, 2) image sizes, in pixels.
        shapes: (K, 2) candidates, in pixels, each of an aspect ratio of its own.
        most: The largest number of shapes, at least 1.
        weights: (N,) how often each image counts, whole numbers; ``None`` for once.

    Returns:
        Curve and sets of at most ``min(most, K)`` entries: they end where one shape more would
        gain nothing. There is none without candidates.

    Raises:
        ValueError: If ``most`` is less than 1, or two candidates have one aspect ratio.

    Example:
        >>> best = fewest([[1, 1], [1, 1], [1, 2], [3, 1]], [[1, 1], [1, 2], [2, 1]], most=2)
        >>> best.curve.round(3).tolist(), [found.tolist() for found in best.sets]
        ([1.167, 0.667], [[0], [0, 1]])
    """
    candidates = np.asarray(shapes, dtype=np.int64).reshape(-1, 2)
    if most < 1:
        raise ValueError(f"most={most} must be at least 1.")
    images, counts = _histogram(sizes, weights)
    # seen from the side that sorts first, so that transposed images get transposed shapes
    turned = _mirrored_first(images, counts)
    if turned:
        images, counts, candidates = images[::-1, ::-1], counts[::-1], candidates[:, ::-1]
    ratios = candidates[:, 1] / candidates[:, 0]
    order = np.argsort(ratios, kind="stable")
    if (np.diff(ratios[order]) == 0).any():
        raise ValueError("two candidates have one aspect ratio; give the better one alone.")
    losses = _Losses(images[:, 1] / images[:, 0], counts, ratios[order])
    curve, paths = _shortest_paths(losses, min(most, len(candidates)))
    sets = [order[path][::-1] if turned else order[path] for path in paths]
    return Fewest(curve, sets)


def _histogram(
    sizes: npt.ArrayLike, weights: npt.ArrayLike | None
) -> tuple[IntArray, npt.NDArray[np.int64]]:
    """Distinct aspect ratios as reduced (height, width), rising in width / height; their counts."""
    images = np.asarray(sizes, dtype=np.int64).reshape(-1, 2)
    reduced = images // np.gcd(images[:, 0], images[:, 1])[:, None]
    base = int(reduced.max(initial=0)) + 1
    keys, which = np.unique(reduced[:, 0] * base + reduced[:, 1], return_inverse=True)
    every = np.ones(len(images)) if weights is None else np.asarray(weights)
    counts = np.bincount(which.reshape(-1), every, minlength=len(keys)).astype(np.int64)
    distinct = np.stack(np.divmod(keys, base), axis=1)
    rising = np.argsort(distinct[:, 1] / distinct[:, 0], kind="stable")
    return distinct[rising], counts[rising]


def _mirrored_first(images: IntArray, counts: IntArray) -> bool:
    """Whether the transposed histogram comes first in the order of its numbers."""
    here = np.column_stack([images, counts]).ravel()
    there = np.column_stack([images[::-1, ::-1], counts[::-1]]).ravel()
    differing = np.flatnonzero(here != there)
    return bool(differing.size and there[differing[0]] < here[differing[0]])


class _Losses:
    """What images between two chosen shapes lose, from running totals.

    Args:
        ratios: (U,) distinct aspect ratios of images, rising.
        counts: (U,) how many images have each.
        shapes: (K,) aspect ratios of candidates, rising.
    """

    def __init__(self, ratios: FloatArray, counts: IntArray, shapes: FloatArray) -> None:
        self._ratios, self._shapes = ratios, shapes
        # running totals are added up in order, so they are the same on every machine
        self._images, self._narrow, self._wide = (
            np.concatenate([[0.0], np.cumsum(values)])
            for values in (counts.astype(np.float64), counts * ratios, counts / ratios)
        )
        self._after = np.searchsorted(ratios, shapes, side="right")

    def __len__(self) -> int:
        return len(self._shapes)

    @property
    def images(self) -> float:
        """How many images there are."""
        return float(self._images[-1])

    def before(self, j: IntArray) -> FloatArray:
        """Loss of all images left of shape ``j`` if it is the first."""
        return self._to_right(np.zeros_like(j), self._after[j], j)

    def beyond(self, i: IntArray) -> FloatArray:
        """Loss of all images right of shape ``i`` if it is the last."""
        return self._to_left(self._after[i], np.full_like(i, len(self._ratios)), i)

    def between(self, i: IntArray, j: IntArray) -> FloatArray:
        """Loss of the images between neighbours ``i`` and ``j``, each to the better one."""
        middle = np.sqrt(self._shapes[i] * self._shapes[j])
        cut = np.searchsorted(self._ratios, middle, side="right")
        cut = np.clip(cut, self._after[i], self._after[j])
        left, right = self._to_left(self._after[i], cut, i), self._to_right(cut, self._after[j], j)
        return left + right

    def _to_left(self, begin: IntArray, end: IntArray, shape: IntArray) -> FloatArray:
        """Images [begin, end) are wider than their shape and lose ``1 - shape / ratio``."""
        kept = self._shapes[shape] * (self._wide[end] - self._wide[begin])
        return np.maximum(self._images[end] - self._images[begin] - kept, 0.0)

    def _to_right(self, begin: IntArray, end: IntArray, shape: IntArray) -> FloatArray:
        """Images [begin, end) are narrower than their shape and lose ``1 - ratio / shape``."""
        kept = (self._narrow[end] - self._narrow[begin]) / self._shapes[shape]
        return np.maximum(self._images[end] - self._images[begin] - kept, 0.0)


def _shortest_paths(losses: _Losses, most: int) -> tuple[FloatArray, list[IntArray]]:
    """Least loss with up to 1, 2, … shapes, and the shapes."""
    every = np.arange(len(losses))
    beyond, loss = losses.beyond(every), losses.before(every)
    predecessors: list[IntArray] = []
    totals: list[float] = []
    paths: list[IntArray] = []
    for number in range(most):
        if number:
            loss, best = _row(losses, loss)
            predecessors.append(best)
        end = int((loss + beyond)[number:].argmin()) + number
        total = float(loss[end] + beyond[end])
        if number and total >= totals[-1] - _NEGLIGIBLE * losses.images:
            break  # by the quadrangle inequality gains only fall, so none is to come
        totals.append(total)
        paths.append(np.array(_back(predecessors, end), dtype=np.int64))
    return np.array(totals), paths


def _back(predecessors: list[IntArray], end: int) -> list[int]:
    path = [end]
    for best in reversed(predecessors):
        path.append(int(best[path[-1]]))
    return path[::-1]


def _row(losses: _Losses, previous: FloatArray) -> tuple[FloatArray, IntArray]:
    """One shape more: for every last shape the least loss and the shape before it.

    The middle one of every stretch is settled first, by trying all predecessors that its settled
    neighbours leave. Because best predecessors only move right, a level of stretches tries about
    K of them, and there are log2(K) levels.
    """
    count = len(previous)
    loss, best = np.full(count, np.inf), np.zeros(count, dtype=np.int64)
    # stretches [low, high) of last shapes, with the least and largest predecessor still possible
    low, high = np.array([1]), np.array([count])
    least, largest = np.array([0]), np.array([count - 1])
    while low.size:
        middle = (low + high) // 2
        last = np.minimum(largest, middle - 1)
        lengths = last - least + 1
        first = np.cumsum(lengths) - lengths
        tried = np.arange(lengths.sum()) - np.repeat(first - least, lengths)
        values = previous[tried] + losses.between(tried, np.repeat(middle, lengths))
        loss[middle] = np.minimum.reduceat(values, first)
        at_best = np.flatnonzero(values == np.repeat(loss[middle], lengths))
        best[middle] = tried[at_best[np.searchsorted(at_best, first)]]
        low, high = np.concatenate([low, middle + 1]), np.concatenate([middle, high])
        least = np.concatenate([least, best[middle]])
        largest = np.concatenate([best[middle], largest])
        some = low < high
        low, high, least, largest = low[some], high[some], least[some], largest[some]
    return loss, best
