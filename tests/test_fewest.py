"""The fewest shapes: equal to trying every set, and fast enough for a million images."""

from __future__ import annotations

import time
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_buckets import geometry
from lit_buckets.plan.fewest import _histogram, _Losses, fewest
from lit_buckets.plan.shapes import ladder, nearest

side = st.integers(1, 40)
image_sizes = st.lists(st.tuples(side, side), min_size=1, max_size=25)
candidates = st.lists(
    st.tuples(side, side), min_size=1, max_size=9, unique_by=lambda s: s[1] / s[0]
)
weights = st.lists(st.integers(1, 5), min_size=25, max_size=25)


def ideal_loss(sizes, shapes) -> np.ndarray:
    """(N, K) share that a crop removes of an image that is resized without rounding."""
    height, width = np.array(sizes, dtype=float).T[:, :, None]
    shape_height, shape_width = np.array(shapes, dtype=float).T
    down, across = height * shape_width, width * shape_height
    return 1 - np.minimum(down, across) / np.maximum(down, across)


@settings(max_examples=300, deadline=None)
@given(image_sizes, candidates, weights)
def test_no_set_of_shapes_cuts_less(sizes, shapes, often):
    often = often[: len(sizes)]
    loss = ideal_loss(sizes, shapes) * np.array(often)[:, None]
    best = fewest(sizes, shapes, most=len(shapes), weights=often)
    for number in range(1, len(shapes) + 1):
        sets = combinations(range(len(shapes)), number)
        least = min(loss[:, list(chosen)].min(axis=1).sum() for chosen in sets)
        found = min(number, len(best.sets)) - 1
        assert best.curve[found] == pytest.approx(least, abs=1e-9)
        assert loss[:, best.sets[found]].min(axis=1).sum() == pytest.approx(least, abs=1e-9)
        assert len(best.sets[found]) == found + 1


@settings(max_examples=200, deadline=None)
@given(image_sizes, candidates)
def test_the_quadrangle_inequality_holds(sizes, shapes):
    images, counts = _histogram(sizes, None)
    ratios = np.sort([width / height for height, width in shapes])
    losses = _Losses(images[:, 1] / images[:, 0], counts, ratios)

    def between(i: int, j: int) -> float:
        return float(losses.between(np.array([i]), np.array([j]))[0])

    for a in range(len(shapes)):
        for b in range(a, len(shapes)):
            for c in range(b, len(shapes)):
                for d in range(c, len(shapes)):
                    assert between(a, c) + between(b, d) <= between(a, d) + between(b, c) + 1e-9


@settings(max_examples=200, deadline=None)
@given(image_sizes, candidates, st.integers(1, 5))
def test_transposed_images_take_transposed_shapes(sizes, shapes, most):
    turned_sizes = [size[::-1] for size in sizes]
    if all(map(np.array_equal, _histogram(sizes, None), _histogram(turned_sizes, None))):
        return  # the same images again, for which one set is as good as its mirror image
    best = fewest(sizes, shapes, most)
    turned = fewest(turned_sizes, [shape[::-1] for shape in shapes], most)
    assert best.curve.tolist() == turned.curve.tolist()
    for found, other in zip(best.sets, turned.sets, strict=True):
        assert found.tolist() == other.tolist()[::-1]


@settings(max_examples=200, deadline=None)
@given(image_sizes, candidates)
def test_gains_only_fall(sizes, shapes):
    curve = fewest(sizes, shapes, most=len(shapes)).curve
    gains = -np.diff(curve)
    assert (gains > 0).all()
    assert (np.diff(gains) <= 1e-9).all()


def test_the_loss_in_whole_pixels_is_that_of_the_ideal_resize_but_for_half_a_pixel():
    dice = np.random.default_rng(0)
    sizes, shapes = dice.integers(50, 3000, (500, 2)), ladder(max_area=512 * 512, divisor=64)
    whole = geometry.crop_loss(sizes[:, None], shapes)
    resized = geometry.cover(sizes[:, None], shapes)
    # the side that was rounded, over which half a pixel is spread: the one that is cut, if any is
    cut = (resized > shapes).any(axis=-1)
    rounded = np.where(resized > shapes, resized, 0).max(axis=-1)
    rounded = np.where(cut, rounded, resized.min(axis=-1))
    assert (np.abs(whole - ideal_loss(sizes, shapes)) <= 0.5 / (rounded - 0.5)).all()
    best = ideal_loss(sizes, shapes).min(axis=1)
    found = nearest(sizes, shapes)
    assert (ideal_loss(sizes, shapes)[np.arange(500), found] == best).all()


def test_a_million_images_take_seconds():
    sizes = np.random.default_rng(0).integers(300, 3000, (1_000_000, 2))
    shapes = ladder(max_area=1024 * 1024, divisor=16)
    begin = time.perf_counter()
    best = fewest(sizes, shapes, most=28)
    assert time.perf_counter() - begin < 10
    assert len(best.sets[-1]) == 28


def test_two_shapes_of_one_aspect_ratio_are_refused():
    with pytest.raises(ValueError, match="two candidates have one aspect ratio"):
        fewest([[1, 1]], [[1, 2], [2, 4]], 1)
    with pytest.raises(ValueError, match="most=0 must be at least 1"):
        fewest([[1, 1]], [[1, 2]], 0)
