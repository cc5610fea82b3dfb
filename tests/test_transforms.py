"""The crop is where its numbers say, to the pixel; labels and masks are where the picture is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lit_buckets.geometry import Size
from lit_buckets.pixels.transforms import NO_LABEL, labels_to_bucket, mask_of, to_bucket
from lit_buckets.placement import Placement, place


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
WAYS = [
    {"crop": "center"},
    {"crop": "top"},
    {"crop": "bottom"},
    {"crop": "random", "uniforms": (0.8, 0.3)},
    {"crop": "focus", "focus": (0.1, 0.2, 0.5, 0.6)},
    {"fit": "pad"},
    {"fit": "stretch"},
]
NAMES = ["center", "top", "bottom", "random", "focus", "pad", "stretch"]


def shown(image: torch.Tensor, placement: Placement) -> torch.Tensor:
    """The part of a bucket that shows the picture, turned back if it is mirrored."""
    (top, left), (height, width) = placement.margin, placement.shown
    image = image.flip(-1) if placement.flip else image
    return image[..., top : top + height, left : left + width]


@pytest.mark.parametrize(("original", "bucket"), SHAPES)
@pytest.mark.parametrize("way", WAYS, ids=NAMES)
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_the_picture_is_where_its_placement_says(original, bucket, way, flip, interpolation):
    placement = place(original, bucket, flip=flip, **way)
    image = to_bucket(ramps(original), placement, interpolation=interpolation)
    assert tuple(image.shape) == (3, *bucket)
    assert image.dtype == torch.uint8
    top, left = seen_at(shown(image, placement), placement.resized)
    assert abs(top - placement.offset.top) < 0.25
    assert abs(left - placement.offset.left) < 0.25


@pytest.mark.parametrize(("original", "bucket"), SHAPES)
@pytest.mark.parametrize("way", WAYS, ids=NAMES)
@pytest.mark.parametrize("flip", [False, True])
def test_labels_are_where_the_picture_is(original, bucket, way, flip):
    placement = place(original, bucket, flip=flip, **way)
    height, width = original
    for label, length, axis in (("row", height, 0), ("column", width, 1)):
        coordinates = torch.arange(length, dtype=torch.int32)
        coordinates = coordinates[:, None] if label == "row" else coordinates
        labels = labels_to_bucket(coordinates.expand(height, width), placement)
        assert labels.dtype == torch.int64
        assert tuple(labels.shape) == bucket
        part = shown(labels, placement)
        line = part[:, 0] if axis == 0 else part[0]
        # the middle of a place, in pixels of the original, lies in the pixel that it took
        middle = (np.arange(len(line)) + placement.offset[axis] + 0.5) * length
        assert (line.numpy() == np.floor(middle / placement.resized[axis])).all()
        assert (part == (line[:, None] if axis == 0 else line)).all()
    assert ((labels == NO_LABEL) == ~mask_of(placement)[0]).all()


def test_labels_of_the_buckets_size_are_not_touched():
    labels = torch.randint(0, 40_000, (64, 96), dtype=torch.int32)
    assert torch.equal(labels_to_bucket(labels, place(Size(64, 96), Size(64, 96))), labels.long())


def test_padding_is_background_and_the_mask_says_where():
    white = torch.full((3, 100, 400), 255, dtype=torch.uint8)
    for flip in (False, True):
        placement = place(Size(100, 400), Size(65, 64), fit="pad", flip=flip)  # 16 x 64
        image = to_bucket(white, placement, background=(1, 2, 3))
        mask = mask_of(placement)
        assert tuple(mask.shape) == (1, 65, 64)
        assert mask.dtype == torch.bool
        assert (image[:, mask[0]] == 255).all()
        assert (torch.tensor([1, 2, 3]) == image[:, ~mask[0]].T).all()
        assert mask[0].any(1).nonzero().flatten().tolist() == list(range(24, 40))
    placement = place(Size(400, 100), Size(64, 65), fit="pad")  # 64 x 16, 24 left and 25 right
    mirrored = mask_of(placement._replace(flip=True))
    assert mask_of(placement)[0, 0].nonzero().flatten().tolist() == list(range(24, 40))
    assert mirrored[0, 0].nonzero().flatten().tolist() == list(range(25, 41))
    assert mask_of(place(Size(64, 64), Size(64, 64), fit="pad")).all()


def test_a_mirrored_crop_says_where_it_begins_in_the_mirrored_picture():
    original, bucket = Size(100, 400), Size(100, 200)
    options = {"crop": "random", "uniforms": (0.0, 0.1)}
    placement = place(original, bucket, flip=True, **options)
    plain = to_bucket(ramps(original), place(original, bucket, **options))
    mirrored = to_bucket(ramps(original), placement)
    assert placement.crop_top_left == (0, 400 - 200 - 20)
    assert (mirrored.flip(-1) == plain).all()
    whole, left = ramps(original).flip(-1), placement.crop_top_left.left
    assert (mirrored == whole[:, :, left : left + 200]).all()


def test_a_picture_of_the_buckets_size_is_not_touched():
    noise = torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8)
    for way in WAYS:
        placement = place(Size(64, 96), Size(64, 96), **way)
        assert torch.equal(to_bucket(noise, placement), noise)
        mirrored = to_bucket(noise, placement._replace(flip=True))
        assert torch.equal(mirrored, noise.flip(-1))


def test_a_picture_that_only_needs_cropping_is_not_resampled():
    noise = torch.randint(0, 256, (3, 64, 100), dtype=torch.uint8)
    image = to_bucket(noise, place(Size(64, 100), Size(64, 96)))
    assert torch.equal(image, noise[:, :, 2:98])


def test_a_smaller_copy_gives_the_same_crop():
    placement = place(Size(800, 1600), Size(96, 128))
    full = to_bucket(ramps(Size(800, 1600)), placement)
    small = to_bucket(ramps(Size(200, 400)), placement)
    assert (full.int() - small.int()).abs().max() <= 2


def test_shrinking_is_antialiased():
    stripes = torch.zeros(3, 512, 512, dtype=torch.uint8)
    stripes[:, :, ::2] = 255
    placement = place(Size(512, 512), Size(64, 64))
    for interpolation in ("bicubic", "bilinear"):
        image = to_bucket(stripes, placement, interpolation=interpolation)
        assert (image[:, :, 4:-4].int() - 128).abs().max() <= 2
