"""Sets of sizes: maximal, symmetric, as published; and the one that keeps most of an image."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_buckets.plan.shapes import PUBLISHED, ladder, nearest, published

side = st.integers(1, 5000)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 80), st.sampled_from([1, 8, 64]), st.integers(1, 5), st.integers(5, 40))
def test_a_ladder_holds_every_maximal_size(budget, divisor, shortest, longest):
    if shortest**2 > budget:
        return
    limits = {"min_side": shortest * divisor, "max_side": longest * divisor}
    found = ladder(max_area=budget * divisor**2, divisor=divisor, **limits)
    sides = range(shortest, longest + 1)
    allowed = {(h, w) for h in sides for w in sides if h * w <= budget}
    maximal = {(h, w) for h, w in allowed if not {(h + 1, w), (h, w + 1)} & allowed}
    assert {tuple(size) for size in (found // divisor).tolist()} == maximal


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(side, side), min_size=1, max_size=10),
    st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), min_size=1, max_size=8),
    st.booleans(),
)
def test_an_image_takes_the_shape_that_keeps_most_of_it(sizes, shapes, enlarge):
    shapes = [(64 * height, 64 * width) for height, width in shapes]
    for (height, width), found in zip(
        sizes, nearest(sizes, shapes, enlarge=enlarge).tolist(), strict=True
    ):
        ratio = Fraction(width, height)
        kept = [
            min(ratio / Fraction(w, h), Fraction(w, h) / ratio)
            if enlarge or (h <= height and w <= width)
            else -1
            for h, w in shapes
        ]
        assert found == -1 if max(kept) < 0 else kept[found] == max(kept)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(side, side), min_size=1, max_size=10), st.sampled_from([6, 7, 64]))
def test_transposed_images_take_transposed_shapes(sizes, budget):
    shapes = ladder(max_area=budget * 64 * 64, divisor=64)
    found = shapes[nearest(sizes, shapes)]
    turned = shapes[nearest([size[::-1] for size in sizes], shapes)][:, ::-1]
    square = np.array([height == width for height, width in sizes])
    assert np.array_equal(found[~square], turned[~square])


def test_an_image_between_two_shapes_takes_the_squarer_one_in_both_directions():
    shapes = [[64, 256], [128, 128], [256, 64]]  # 1:2 is just between 1:1 and 1:4
    assert nearest([[100, 200], [200, 100]], shapes).tolist() == [1, 1]
    assert nearest([[100, 200]], [[64, 64], [128, 128]]).tolist() == [1]
    assert nearest([[100, 200]], np.empty((0, 2))).tolist() == [-1]


def test_published_sets_are_what_their_sources_say():
    sdxl = published("sdxl")
    assert len(sdxl) == 40
    assert (sdxl % 64 == 0).all()
    assert (sdxl.prod(axis=1) <= 1024 * 1024).all()
    assert np.array_equal(published("pixart_512") * 2, sdxl)
    novelai = {tuple(size) for size in published("novelai").tolist()}
    assert {(512, 512), (512, 768), (768, 512), (256, 1024), (1024, 256)} <= novelai
    assert {(width, height) for height, width in novelai} == novelai
    assert all(h * w <= 512 * 768 and max(h, w) <= 1024 for h, w in novelai)
    assert all(len(published(name)) > 10 for name in PUBLISHED)
    with pytest.raises(ValueError, match="sizes='sdx' is no published set; there are sdxl"):
        published("sdx")
