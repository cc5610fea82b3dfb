"""Where a picture lies in its bucket: exact to the pixel, and nothing is cut in vain."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_buckets import geometry
from lit_buckets.geometry import Offset, Size, same_ratio
from lit_buckets.placement import crop_offsets, place, resized_sizes

side = st.integers(1, 3000)
size = st.builds(Size, side, side)
unit = st.floats(0, 1, exclude_max=True)
share = st.floats(-0.3, 1.3).map(lambda x: round(x, 4))
box = st.tuples(st.tuples(share, share).map(sorted), st.tuples(share, share).map(sorted)).map(
    lambda b: (b[0][0], b[1][0], b[0][1], b[1][1])
)


# -- resizing ----------------------------------------------------------------------------------


@settings(deadline=None)
@given(size, size)
def test_contain_is_the_largest_that_fits(image, bucket):
    found = Size(*geometry.contain(image, bucket).tolist())
    scale = min(Fraction(b, i) for b, i in zip(bucket, image, strict=True))
    for length, whole, most in zip(found, image, bucket, strict=True):
        assert 1 <= length <= most
        assert abs(length - whole * scale) <= Fraction(1, 2) or length == 1
    assert found.height == bucket.height or found.width == bucket.width
    turned = geometry.contain(image[::-1], bucket[::-1])
    assert tuple(turned[::-1]) == found


def test_what_pictures_are_resized_to():
    images, bucket = [[600, 800], [800, 600]], [512, 512]
    assert resized_sizes(images, bucket, "crop").tolist() == [[512, 683], [683, 512]]
    assert resized_sizes(images, bucket, "pad").tolist() == [[384, 512], [512, 384]]
    assert resized_sizes(images, bucket, "stretch").tolist() == [[512, 512], [512, 512]]
    assert resized_sizes([1, 10_000], [64, 64], "pad").tolist() == [1, 64]
    with pytest.raises(ValueError, match="fit='fill' must be one of crop, pad, stretch"):
        resized_sizes(images, bucket, "fill")


@settings(deadline=None)
@given(size, st.floats(0.05, 20))
def test_a_scaled_size_has_the_same_ratio(image, scale):
    scaled = Size(*(max(1, round(length * scale)) for length in image))
    assert same_ratio(image, scaled)
    assert same_ratio(scaled, image)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ((1000, 1333), (500, 667), True),  # 666.5
        ((1000, 1333), (125, 167), True),  # 166.6
        ((1000, 1333), (500, 668), False),  # a pixel and a half too many
        ((1000, 1333), (1333, 1000), False),
        ((100, 100), (100, 101), True),
        ((100, 100), (100, 102), False),
    ],
)
def test_ratios_agree_to_within_a_pixel_of_the_smaller(first, second, same):
    assert same_ratio(Size(*first), Size(*second)) is same
    assert same_ratio(Size(*second), Size(*first)) is same


# -- cropping ----------------------------------------------------------------------------------


def nearest_to_centred(begin: float, end: float, whole: int, part: int) -> set[int]:
    """All offsets as good as any, by trying each: first those that show all of it."""
    low, high = (min(max(edge, 0), 1) * whole for edge in (begin, end))
    offsets = range(whole - part + 1)
    holding = [o for o in offsets if o <= floor(low + 1e-6) and o + part >= ceil(high - 1e-6)]
    distance = {o: abs(o + part / 2 - (low + high) / 2) for o in (holding or offsets)}
    return {o for o, far in distance.items() if far <= min(distance.values()) + 1e-4}


@settings(deadline=None, max_examples=300)
@given(st.builds(Size, st.integers(1, 60), st.integers(1, 60)), size, box)
def test_a_crop_holds_its_focus_and_is_centred_on_it(image, bucket, focus):
    bucket = Size(*(1 + length % 40 for length in bucket))
    placement = place(image, bucket, crop="focus", focus=focus)
    for axis in (0, 1):
        whole, part = placement.resized[axis], bucket[axis]
        best = nearest_to_centred(focus[axis], focus[axis + 2], whole, part)
        assert placement.offset[axis] in best


def test_focus_by_hand():
    original, bucket = Size(1000, 2000), Size(100, 100)  # resized to 100 x 200
    offsets = {
        (0.5, 0.5): 50,  # as the centre
        (0.5, 0.6): 70,
        (0.5, 0.95): 100,  # at the edge
        (0.5, 0.0): 0,
    }
    for (top, left), expected in offsets.items():
        found = place(original, bucket, crop="focus", focus=(top, left, top, left))
        assert found.offset == (0, expected)
    # a box of 60 to 160 fits exactly; one of 60 to 180 does not, and is cut alike at both sides
    assert place(original, bucket, crop="focus", focus=(0, 0.3, 1, 0.8)).offset == (0, 60)
    assert place(original, bucket, crop="focus", focus=(0, 0.3, 1, 0.9)).offset == (0, 70)
    for missing in (None, (np.nan,) * 4, (0.1, np.nan, 0.2, 0.3)):
        assert place(original, bucket, crop="focus", focus=missing).offset == (0, 50)


@settings(deadline=None)
@given(size, size, st.sampled_from(["center", "random", "top", "bottom", "focus"]), unit, unit, box)
def test_crops_stay_inside(image, bucket, crop, vertical, horizontal, focus):
    found = place(image, bucket, crop=crop, uniforms=(vertical, horizontal), focus=focus)
    spare = Size(*(a - b for a, b in zip(found.resized, bucket, strict=True)))
    assert 0 <= found.offset.top <= spare.height
    assert 0 <= found.offset.left <= spare.width
    assert found.shown == bucket
    assert not found.padded
    if crop in ("top", "bottom"):
        assert found.offset.top == (0 if crop == "top" else spare.height)
    if crop != "random" and crop != "focus":
        assert found.offset.left == spare.width // 2


def test_every_random_place_is_equally_likely():
    places = [
        crop_offsets([8, 5], [8, 2], "random", uniforms=(0.5, k / 4000))[1] for k in range(4000)
    ]
    assert np.bincount(places).tolist() == [1000] * 4


def test_many_crops_at_once_are_those_of_each():
    draw = np.random.default_rng(0)
    sizes, buckets = draw.integers(20, 900, (50, 2)), draw.integers(8, 99, (50, 2))
    focus = np.sort(draw.uniform(0, 1, (50, 2, 2)), axis=1).reshape(50, 4)
    resized = resized_sizes(sizes, buckets)
    found = crop_offsets(resized, buckets, "focus", focus=focus)
    for row in range(50):
        alone = place(Size(*sizes[row]), Size(*buckets[row]), crop="focus", focus=focus[row])
        assert tuple(found[row]) == alone.offset


def test_what_cannot_be_cropped_is_refused():
    with pytest.raises(ValueError, match="8x8 pixels does not cover the bucket of 8x9"):
        crop_offsets([[9, 9], [8, 8]], [[9, 9], [8, 9]])
    with pytest.raises(ValueError, match="crop='middle' must be one of center, random, top"):
        place(Size(8, 8), Size(8, 8), crop="middle")


# -- what the model is told --------------------------------------------------------------------


def test_the_published_example():
    assert place(Size(1000, 2000), Size(1024, 1024)).crop_top_left == (0, 512)


@settings(deadline=None)
@given(size, size, unit)
def test_mirrored_numbers_are_those_of_the_mirrored_picture(image, bucket, horizontal):
    options = {"crop": "random", "uniforms": (0.3, horizontal)}
    plain = place(image, bucket, **options)
    mirrored = place(image, bucket, flip=True, **options)
    assert mirrored[:5] == plain[:5]
    left = plain.resized.width - bucket.width - plain.offset.left
    assert mirrored.crop_top_left == (plain.offset.top, left)


@settings(deadline=None)
@given(size, size, st.booleans())
def test_padding_and_stretching_cut_nothing(image, bucket, flip):
    padded = place(image, bucket, fit="pad", flip=flip)
    stretched = place(image, bucket, fit="stretch", flip=flip)
    for found in (padded, stretched):
        assert found.crop_top_left == (0, 0)
        assert found.offset == (0, 0)
        assert found.shown == found.resized
    assert stretched.resized == bucket
    assert stretched.margin == (0, 0)
    spare = [b - s for b, s in zip(bucket, padded.shown, strict=True)]
    assert padded.margin == tuple(length // 2 for length in spare)
    assert padded.padded is any(spare)


def test_pictures_that_keep_their_pixels():
    found = place(Size(70, 100), Size(64, 96), fit="native", crop="bottom", flip=True)
    assert found.resized == (70, 100)
    assert found.offset == Offset(6, 2)
    assert found.crop_top_left == Offset(6, 2)
