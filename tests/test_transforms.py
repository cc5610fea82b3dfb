"""The crop is where its numbers say, to the pixel; bytes become floats exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_buckets import geometry
from lit_buckets.geometry import Offset, Size
from lit_buckets.pixels.transforms import crop_offset, normalize, to_bucket

sides = st.integers(1, 3000)
unit = st.floats(0, 1, exclude_max=True)


def ramps(size: Size) -> torch.Tensor:
    """A picture whose red says how far right a pixel lies, and whose green how far down."""
    height, width = size
    right = 255 * (np.arange(width) + 0.5) / width
    down = 255 * (np.arange(height) + 0.5) / height
    picture = np.zeros((3, height, width))
    picture[0], picture[1] = right[None, :], down[:, None]
    return torch.from_numpy(picture.round().astype(np.uint8))


def seen_at(image: torch.Tensor, resized: Size) -> tuple[float, float]:
    """Where a crop of `ramps` begins in the resized picture, in pixels: read off its colours."""
    red, green = image[0].double().mean(0).numpy(), image[1].double().mean(1).numpy()
    across = resized.width * red / 255 - np.arange(len(red)) - 0.5
    down = resized.height * green / 255 - np.arange(len(green)) - 0.5
    return float(np.median(down)), float(np.median(across))


SHAPES = [
    (Size(1000, 2000), Size(1024, 1024)),
    (Size(2000, 1000), Size(256, 256)),
    (Size(600, 800), Size(448, 576)),
    (Size(333, 517), Size(128, 320)),
    (Size(97, 61), Size(256, 128)),
    (Size(50, 400), Size(64, 192)),
]


@pytest.mark.parametrize(("original", "bucket"), SHAPES)
@pytest.mark.parametrize("crop", ["center", "top", "random"])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_the_crop_is_where_its_offset_says(original, bucket, crop, flip, interpolation):
    resized = Size(*geometry.cover(original, bucket).tolist())
    image, offset = to_bucket(
        ramps(original),
        original=original,
        bucket=bucket,
        crop=crop,
        flip=flip,
        interpolation=interpolation,
        uniforms=(0.8, 0.3),
    )
    assert tuple(image.shape) == (3, *bucket)
    assert image.dtype == torch.uint8
    if flip:  # mirror both the picture and the numbers: then they are those of a plain crop
        image = image.flip(-1)
        offset = Offset(offset.top, resized.width - bucket.width - offset.left)
    top, left = seen_at(image, resized)
    assert abs(top - offset.top) < 0.25
    assert abs(left - offset.left) < 0.25


def test_a_mirrored_crop_says_where_it_begins_in_the_mirrored_picture():
    original, bucket = Size(100, 400), Size(100, 200)
    uniforms = (0.0, 0.1)
    plain, offset = to_bucket(
        ramps(original), original=original, bucket=bucket, crop="random", uniforms=uniforms
    )
    mirrored, other = to_bucket(
        ramps(original),
        original=original,
        bucket=bucket,
        crop="random",
        uniforms=uniforms,
        flip=True,
    )
    assert offset == (0, 20)
    assert other == (0, 400 - 200 - 20)
    assert (mirrored.flip(-1) == plain).all()
    whole = ramps(original).flip(-1)
    assert (mirrored == whole[:, :, other.left : other.left + 200]).all()


def test_the_published_example():
    image, offset = to_bucket(
        torch.zeros(3, 1000, 2000, dtype=torch.uint8),
        original=Size(1000, 2000),
        bucket=Size(1024, 1024),
    )
    assert tuple(image.shape) == (3, 1024, 1024)
    assert offset == (0, 512)


def test_a_picture_of_the_buckets_size_is_not_touched():
    noise = torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8)
    image, offset = to_bucket(noise, original=Size(64, 96), bucket=Size(64, 96), crop="random")
    assert torch.equal(image, noise)
    assert offset == (0, 0)
    mirrored, offset = to_bucket(noise, original=Size(64, 96), bucket=Size(64, 96), flip=True)
    assert torch.equal(mirrored, noise.flip(-1))
    assert offset == (0, 0)


def test_a_picture_that_only_needs_cropping_is_not_resampled():
    noise = torch.randint(0, 256, (3, 64, 100), dtype=torch.uint8)
    image, offset = to_bucket(noise, original=Size(64, 100), bucket=Size(64, 96))
    assert torch.equal(image, noise[:, :, 2:98])
    assert offset == (0, 2)


def test_a_smaller_copy_gives_the_same_crop():
    original, bucket = Size(800, 1600), Size(96, 128)
    full, offset = to_bucket(ramps(original), original=original, bucket=bucket)
    small, same = to_bucket(ramps(Size(200, 400)), original=original, bucket=bucket)
    assert offset == same
    assert (full.int() - small.int()).abs().max() <= 2


def test_shrinking_is_antialiased():
    stripes = torch.zeros(3, 512, 512, dtype=torch.uint8)
    stripes[:, :, ::2] = 255
    for interpolation in ("bicubic", "bilinear"):
        image, _ = to_bucket(
            stripes, original=Size(512, 512), bucket=Size(64, 64), interpolation=interpolation
        )
        assert (image[:, :, 4:-4].int() - 128).abs().max() <= 2


@settings(deadline=None)
@given(sides, sides, sides, sides, st.sampled_from(["center", "random", "top"]), unit, unit)
def test_offsets_stay_inside(
    height, width, bucket_height, bucket_width, crop, vertical, horizontal
):
    bucket = Size(bucket_height, bucket_width)
    resized = Size(*geometry.cover(Size(height, width), bucket).tolist())
    top, left = crop_offset(resized, bucket, crop, (vertical, horizontal))
    assert 0 <= top <= resized.height - bucket.height
    assert 0 <= left <= resized.width - bucket.width
    if crop == "top":
        assert top == 0


def test_every_random_place_is_equally_likely():
    places = [
        crop_offset(Size(8, 5), Size(8, 2), "random", (0.5, k / 4000)).left for k in range(4000)
    ]
    assert np.bincount(places).tolist() == [1000] * 4


def test_arguments_out_of_range_are_refused():
    image = torch.zeros(3, 8, 8, dtype=torch.uint8)
    size = Size(8, 8)
    with pytest.raises(ValueError, match="crop='middle' must be one of center, random, top"):
        to_bucket(image, original=size, bucket=size, crop="middle")
    with pytest.raises(ValueError, match="interpolation='area' must be one of bicubic, bilinear"):
        to_bucket(image, original=size, bucket=size, interpolation="area")
    with pytest.raises(ValueError, match="8x8 pixels does not cover the bucket of 8x9"):
        crop_offset(size, Size(8, 9))
    with pytest.raises(ValueError, match="normalize='zscore' must be one of minus_one_one"):
        normalize(image, "zscore")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_normalize(dtype):
    shades = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(2, 3, 16, 16)
    kept = shades.clone()
    exact = shades.double() / 255
    mean = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64)[:, None, None]
    deviation = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64)[:, None, None]
    expected = {
        "minus_one_one": 2 * exact - 1,
        "zero_one": exact,
        "imagenet": (exact - mean) / deviation,
    }
    for how, values in expected.items():
        found = normalize(shades, how, dtype)
        assert found.dtype == dtype
        assert found.shape == shades.shape
        error = (found.double() - values).abs().max()
        assert error <= 3 * torch.finfo(dtype).eps
    assert torch.equal(shades, kept)
    assert normalize(shades, None) is shades
    ends = normalize(torch.tensor([0, 255, 0], dtype=torch.uint8).reshape(3, 1, 1), "minus_one_one")
    assert ends.ravel().tolist() == [-1, 1, -1]
