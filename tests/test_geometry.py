"""Size arithmetic: exact, within every limit, the same in landscape and portrait."""

from __future__ import annotations

import random
from fractions import Fraction
from math import isqrt, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_buckets import geometry

BUDGETS = [(512 * 512, 64), (1024 * 1024, 64), (640 * 640, 8), (1_000_003, 32), (64 * 64, 64)]


def hard_sizes(count: int) -> list[tuple[int, int]]:
    """Random sizes and, among them, those that break roundings: primes, strips, exact halves."""
    dice = random.Random(2022)
    sizes = [(1, 1), (10_000, 20), (20, 10_000), (1, 65_535), (4099, 4093), (7919, 2), (8191, 8191)]
    # side * s / divisor is exactly k + 1/2 where height : width = (2k + 1)^2 : (2 * 2 * budget)
    for k in range(20):
        sizes += [((2 * k + 1) ** 2, 4 * 64), (4 * 64, (2 * k + 1) ** 2)]
        sizes += [((2 * k + 1) ** 2, 4 * 256), (4 * 256, (2 * k + 1) ** 2)]
    while len(sizes) < count:
        top = dice.choice([8, 100, 1000, 5000, 50_000])
        sizes.append((dice.randint(1, top), dice.randint(1, top)))
    return sizes


def nearest_root(square: Fraction) -> int:
    """The integer nearest to a root, a half to the even one, worked out from the doubled root."""
    doubled = isqrt(4 * square.numerator * square.denominator) // square.denominator
    is_half = doubled % 2 == 1 and Fraction(doubled) ** 2 == 4 * square
    return 2 * ((doubled // 2 + 1) // 2) if is_half else (doubled + 1) // 2


def exact_fit(height: int, width: int, max_area: int, divisor: int) -> tuple[int, int]:
    """The rule with one image at a time and rational numbers, without any limit on sides."""
    budget = max_area // divisor**2
    squares = [Fraction(side * max_area, other * divisor**2)
               for side, other in ((height, width), (width, height))]  # fmt: skip
    cells = [max(1, min(nearest_root(square), budget)) for square in squares]
    if cells[0] * cells[1] > budget:
        cells = [max(1, min(isqrt(int(square)), budget)) for square in squares]
    if cells[0] * cells[1] > budget:  # a side was raised to one divisor; the other makes room
        longer = cells.index(max(cells))
        cells[longer] = budget // cells[1 - longer]
    return cells[0] * divisor, cells[1] * divisor


def float_fit(height: int, width: int, max_area: int, divisor: int) -> tuple[int, int] | None:
    """The pull request's formula in floats; None within rounding error of a half."""
    scale = sqrt(max_area / (width * height))
    sides = [height * scale / divisor, width * scale / divisor]
    if any(abs(side % 1 - 0.5) < 1e-9 for side in sides):
        return None
    if round(sides[0]) * round(sides[1]) * divisor**2 <= max_area:
        return round(sides[0]) * divisor, round(sides[1]) * divisor
    if any(abs(side - round(side)) < 1e-9 for side in sides):
        return None
    return int(sides[0]) * divisor, int(sides[1]) * divisor


@pytest.mark.parametrize(("max_area", "divisor"), BUDGETS)
def test_fit_equals_a_computation_in_fractions(max_area, divisor):
    sizes = hard_sizes(20_000)  # 100,000 over the five budgets
    found = geometry.fit(sizes, max_area=max_area, divisor=divisor)
    assert found.tolist() == [list(exact_fit(h, w, max_area, divisor)) for h, w in sizes]


@pytest.mark.parametrize(("max_area", "divisor"), BUDGETS)
def test_fit_is_the_float_formula_wherever_that_keeps_the_limits(max_area, divisor):
    sizes = hard_sizes(20_000)
    found = geometry.fit(sizes, max_area=max_area, divisor=divisor).tolist()
    compared = 0
    for (height, width), size in zip(sizes, found, strict=True):
        expected = float_fit(height, width, max_area, divisor)
        if expected and min(expected) >= divisor and expected[0] * expected[1] <= max_area:
            assert size == list(expected)
            compared += 1
    assert compared > len(sizes) // 2 or max_area == divisor**2


def test_halves_go_to_the_even_multiple():
    # 25 : 256 at 64 cells: sides of 2.5 and 25.6 cells; 2 * 26 = 52 cells fit
    assert geometry.fit([[25, 256]], max_area=512 * 512, divisor=64).tolist() == [[128, 26 * 64]]
    # 49 : 256: 3.5 and 18.28; 4 * 18 = 72 cells do not fit, so both are rounded down
    assert geometry.fit([[49, 256]], max_area=512 * 512, divisor=64).tolist() == [[192, 18 * 64]]


side = st.one_of(st.integers(1, 5000), st.integers(1, 70_000))
image_sizes = st.lists(st.tuples(side, side), min_size=1, max_size=30)


@st.composite
def limits(draw):
    divisor = draw(st.sampled_from([1, 8, 16, 32, 64]))
    across = draw(st.integers(1, 20))  # cells in the side of the largest square
    shortest = draw(st.integers(1, across))
    longest = draw(st.one_of(st.none(), st.integers(shortest, 40)))
    return {
        "max_area": (across * divisor) ** 2 + draw(st.integers(0, divisor)),
        "divisor": divisor,
        "min_side": draw(st.sampled_from([None, shortest * divisor])),
        "max_side": None if longest is None else longest * divisor,
    }


@settings(max_examples=300, deadline=None)
@given(image_sizes, limits())
def test_fit_keeps_every_limit_and_treats_both_directions_alike(sizes, limit):
    found = geometry.fit(sizes, **limit)
    assert (found % limit["divisor"] == 0).all()
    assert (found >= (limit["min_side"] or limit["divisor"])).all()
    assert (found.prod(axis=1) <= limit["max_area"]).all()
    if limit["max_side"] is not None:
        assert (found <= limit["max_side"]).all()
    turned = geometry.fit([size[::-1] for size in sizes], **limit)
    assert turned.tolist() == found[:, ::-1].tolist()


@settings(max_examples=300, deadline=None)
@given(image_sizes, st.tuples(st.integers(1, 64), st.integers(1, 64)), st.sampled_from([1, 8, 64]))
def test_cover_covers_and_cuts_one_side_only(sizes, bucket, divisor):
    bucket = np.array(bucket) * divisor
    resized = geometry.cover(sizes, bucket)
    assert (resized >= bucket).all()
    assert (resized == bucket).any(axis=1).all()
    loss = geometry.crop_loss(sizes, bucket)
    assert ((loss >= 0) & (loss < 1)).all()
    turned = geometry.crop_loss(np.array(sizes)[:, ::-1], bucket[::-1])
    assert (loss == turned).all()


def test_sizes_that_are_no_sizes_are_refused():
    for sizes, message in (
        ([[0, 5]], "the smallest is 0"),
        ([[1.0, 2.0]], "must be integers"),
        ([1, 2, 3], r"of shape \(3,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            geometry.fit(sizes, max_area=4096, divisor=64)
    with pytest.raises(ValueError, match="no multiple of divisor=64 fits"):
        geometry.fit([[5, 5]], max_area=4095, divisor=64)


def test_nothing_is_as_good_as_an_empty_list():
    assert geometry.fit([], max_area=4096, divisor=64).shape == (0, 2)
