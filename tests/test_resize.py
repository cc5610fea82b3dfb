"""Parts of resized pictures are what resizing the whole gives, in the right place to the pixel."""

from __future__ import annotations

from fractions import Fraction
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.profiler import profile
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from lit_buckets.geometry import Offset, Size
from lit_buckets.pixels import resample
from lit_buckets.pixels.resize import Interpolation, resize_crop
from lit_buckets.pixels.stored import Stored

INTERPOLATIONS = get_args(Interpolation)
WHOLE = Offset(0, 0)


def noise(*shape: int) -> torch.Tensor:
    """Every pixel another, so that none can be missing without being seen."""
    values = np.random.default_rng(shape).integers(0, 256, shape, dtype=np.uint8)
    return torch.from_numpy(values)


def channels_last(image: torch.Tensor) -> torch.Tensor:
    """The same picture as decoders lay it in memory."""
    return image.permute(1, 2, 0).contiguous().permute(2, 0, 1)


def resized(image, size, interpolation="bicubic") -> torch.Tensor:
    return resize_crop(image, resized=size, offset=WHOLE, crop=size, interpolation=interpolation)


def apart(a: torch.Tensor, b: torch.Tensor) -> int:
    assert a.shape == b.shape
    return int((a.int() - b.int()).abs().max())


# -- parts ---------------------------------------------------------------------------------------

sides = st.integers(1, 90)
# older releases round floats, and go wrong at one pixel
EXACT = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 14)
theirs = sides if EXACT else st.integers(2, 90)


@st.composite
def parts(draw):
    """A size, what it is resized to, and a part of that; round ratios come often."""
    size, target, offset, crop = [], [], [], []
    for _ in range(2):
        length = draw(sides)
        if draw(st.booleans()):
            up, down = draw(st.sampled_from([(1, 2), (1, 3), (2, 3), (1, 1), (3, 2), (1, 4)]))
            length = -(-length // down) * down
            whole = length * up // down
        else:
            whole = draw(st.integers(1, 130))
        count = draw(st.integers(1, whole))
        size.append(length)
        target.append(whole)
        crop.append(count)
        offset.append(draw(st.integers(0, whole - count)))
    return Size(*size), Size(*target), Offset(*offset), Size(*crop)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@settings(max_examples=100, deadline=None)
@given(parts(), st.sampled_from([1, 2, 3, 4]), st.booleans())
def test_a_part_is_a_part_of_the_whole(interpolation, case, channels, last):
    size, target, offset, crop = case
    image = noise(channels, *size)
    image = channels_last(image) if last else image
    found = resize_crop(
        image, resized=target, offset=offset, crop=crop, interpolation=interpolation
    )
    (top, left), (height, width) = offset, crop
    whole = resized(image, target, interpolation)
    assert found.dtype == torch.uint8
    assert apart(found, whole[:, top : top + height, left : left + width]) <= 1


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@settings(max_examples=60, deadline=None)
@given(st.tuples(theirs, theirs), st.tuples(theirs, theirs))
def test_the_whole_is_what_torchvision_makes_of_it(interpolation, size, target):
    assume(target != (1, 1))  # which torch cannot make
    image = noise(3, *size)
    mode = InterpolationMode(interpolation)
    expected = transforms.resize(image, list(target), mode, antialias=True)
    found = resized(image, Size(*target), interpolation)
    assert torch.equal(found, expected) if EXACT else apart(found, expected) <= 1


@settings(max_examples=60, deadline=None)
@given(st.tuples(sides, sides), st.tuples(sides, sides))
def test_lanczos_is_what_pillow_makes_of_it(size, target):
    image = noise(3, *size)
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    for length in ((target[1], size[0]), (target[1], target[0])):  # columns first
        picture = picture.resize(length, Image.Resampling.LANCZOS)
    expected = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    assert apart(resized(image, Size(*target), "lanczos"), expected) <= 2


@settings(max_examples=60, deadline=None)
@given(parts(), st.sampled_from([1, 3, 4]))
def test_lanczos_without_torchs_kernel(case, channels):
    size, target, offset, crop = case
    image = noise(channels, *size)
    part = {"resized": target, "offset": offset, "crop": crop, "interpolation": "lanczos"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(resample._KERNELS, "lanczos", None)
        found, whole = resize_crop(image, **part), resized(image, target, "lanczos")
    (top, left), (height, width) = offset, crop
    assert apart(found, whole[:, top : top + height, left : left + width]) <= 1
    if resample._KERNELS["lanczos"] is not None:
        assert apart(found, resize_crop(image, **part)) <= 2


@settings(max_examples=60, deadline=None)
@given(st.tuples(st.integers(1, 12), st.integers(1, 12)), st.tuples(sides, sides))
def test_area_is_the_mean_of_what_a_pixel_covers(size, target):
    size, target = target, size  # from any size to a small one, computed in fractions
    image = noise(2, *size)
    weights = []
    for length, whole in zip(size, target, strict=True):
        step = Fraction(length, whole)
        weights.append(
            [
                [
                    max(min(step * (i + 1), j + 1) - max(step * i, j), Fraction(0)) / step
                    for j in range(length)
                ]
                for i in range(whole)
            ]
        )
    rows, columns = (np.array(w, dtype=float) for w in weights)
    exact = torch.from_numpy(rows @ image.numpy().astype(float) @ columns.T)
    assert float((resized(image, Size(*target), "area") - exact).abs().max()) <= 0.5 + 1e-6


def test_nearest_takes_the_pixel_at_the_middle():
    row = torch.tensor([[[0, 10, 20, 30, 40, 50]]], dtype=torch.uint8)
    assert resized(row, Size(1, 2), "nearest").tolist() == [[[10, 40]]]  # middles at 1.5 and 4.5
    assert resized(row, Size(1, 3), "nearest").tolist() == [[[10, 30, 50]]]  # at 1, 3 and 5
    assert resized(row[..., :2], Size(2, 4), "nearest").tolist() == [[[0, 0, 10, 10]] * 2]
    assert set(resized(noise(1, 40, 40) // 128, Size(17, 33), "nearest").unique().tolist()) == {
        0,
        1,
    }


def test_resizing_is_antialiased():
    stripes = torch.zeros(3, 64, 64, dtype=torch.uint8)
    stripes[:, :, ::2] = 255
    for interpolation in set(INTERPOLATIONS) - {"nearest"}:
        assert (
            apart(
                resized(stripes, Size(16, 16), interpolation)[:, :, 2:-2],
                torch.full((3, 16, 12), 128, dtype=torch.uint8),
            )
            <= 2
        ), interpolation


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_a_picture_of_the_size_is_not_touched(interpolation):
    image = noise(3, 20, 30)
    part = resize_crop(
        image,
        resized=Size(20, 30),
        offset=Offset(2, 3),
        crop=Size(10, 20),
        interpolation=interpolation,
    )
    assert torch.equal(part, image[:, 2:12, 3:23])
    assert part.untyped_storage().data_ptr() == image.untyped_storage().data_ptr()


def test_only_what_matters_is_resized(monkeypatch):
    seen = []
    kernel = resample._KERNELS["bicubic"]

    def spy(image, *args):
        seen.append(tuple(image.shape[-2:]))
        return kernel(image, *args)

    monkeypatch.setitem(resample._KERNELS, "bicubic", spy)
    image = noise(3, 400, 4000)
    for left in (0, 450, 900):  # of a panorama's 1,000 columns, 100
        resize_crop(image, resized=Size(100, 1000), offset=Offset(0, left), crop=Size(100, 100))
    assert all(height == 400 and width < 440 for height, width in seen)


STRIPS = [  # steps of large fractions: no whole number of resized pixels is one of stored ones
    (Size(7, 1999), Size(64, 18277), Size(64, 64)),
    (Size(1999, 7), Size(18277, 64), Size(64, 64)),
    (Size(207, 5003), Size(40, 967), Size(40, 40)),
    (Size(300, 2003), Size(299, 1999), Size(299, 100)),
]


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize(("size", "target", "crop"), STRIPS)
def test_a_part_of_a_strip_is_a_part_of_the_whole(interpolation, size, target, crop):
    for values in (noise(3, *size), noise(3, *size) // 128 * 255):
        whole = resized(values, target, interpolation)
        for share in (0, 0.3, 0.5, 0.81, 1):
            top, left = (int(share * (t - c)) for t, c in zip(target, crop, strict=True))
            found = resize_crop(
                values,
                resized=target,
                offset=Offset(top, left),
                crop=crop,
                interpolation=interpolation,
            )
            cut = whole[:, top : top + crop.height, left : left + crop.width]
            # bytes are rounded twice, rows after columns: where both fall to the other side, 2
            assert apart(found, cut) <= 2
            assert ((found.int() - cut.int()).abs() > 1).double().mean() < 1e-3
            assert (found != cut).double().mean() < 0.05


def test_a_part_of_a_strip_is_in_its_place():
    """Against sums in floats: half a level for rounding, and hardly any for the place."""
    length, whole, first, count = 4001, 36571, 20123, 640
    image = noise(1, 32, length)
    part = {"resized": Size(32, whole), "offset": Offset(0, first), "crop": Size(32, count)}
    middles = (np.arange(first, first + count) + 0.5) * length / whole
    away = np.abs(np.arange(length) + 0.5 - middles[:, None])
    weights = np.maximum(1 - away, 0)
    exact = image.numpy() @ (weights / weights.sum(axis=1, keepdims=True)).T
    found = resize_crop(image, **part, interpolation="bilinear").numpy()
    assert np.abs(found - exact).max() < 0.5 + 0.05
    # half a pixel further along, as if it began at another pixel's middle, would be seen
    assert np.abs(found[..., 1:] - exact[..., :-1]).max() > 20


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "lanczos"])
@pytest.mark.parametrize(("size", "target", "crop"), STRIPS)
def test_no_strip_is_resized_whole(monkeypatch, interpolation, size, target, crop):
    seen = []
    kernel = resample._KERNELS[interpolation]

    def spy(image, sides, *args):
        seen.append(image.shape[-2] * image.shape[-1] + sides[0] * sides[1])
        return kernel(image, sides, *args)

    monkeypatch.setitem(resample._KERNELS, interpolation, kernel and spy)
    for share in (0, 0.1, 0.5, 1):
        offset = Offset(*(int(share * (t - c)) for t, c in zip(target, crop, strict=True)))
        part = {"resized": target, "offset": offset, "crop": crop}
        resize_crop(noise(3, *size), **part, interpolation=interpolation)
    assert all(pixels < size.height * size.width / 2 or pixels <= 2**18 for pixels in seen)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_a_thin_strip_takes_little_memory(interpolation):
    """Resized whole, it would take gigabytes."""
    image = torch.full((3, 3, 20011), 9, dtype=torch.uint8)
    part = {"offset": Offset(0, 1_707_349), "crop": Size(512, 512)}
    with profile(profile_memory=True) as memory:
        found = resize_crop(
            image, resized=Size(512, 3_415_211), **part, interpolation=interpolation
        )
    assert (found == 9).all()
    largest = max((event.cpu_memory_usage for event in memory.events()), default=0)
    assert largest < 40e6


def test_what_lies_outside_is_refused():
    image = noise(3, 20, 30)
    with pytest.raises(
        ValueError, match=r"a part of 10x20 pixels at \(0, 11\) does not lie inside"
    ):
        resize_crop(image, resized=Size(20, 30), offset=Offset(0, 11), crop=Size(10, 20))
    with pytest.raises(ValueError, match="interpolation='cubic' must be one of bicubic, bilinear"):
        resized(image, Size(10, 10), "cubic")


# -- stored pictures -----------------------------------------------------------------------------

TURN = {  # from stored to displayed, as EXIF defines it
    1: lambda a: a,
    2: lambda a: a.flip(-1),
    3: lambda a: a.rot90(2, (-2, -1)),
    4: lambda a: a.flip(-2),
    5: lambda a: a.transpose(-2, -1),
    6: lambda a: a.rot90(-1, (-2, -1)),
    7: lambda a: a.rot90(2, (-2, -1)).transpose(-2, -1),
    8: lambda a: a.rot90(1, (-2, -1)),
}


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@settings(max_examples=60, deadline=None)
@given(parts(), st.sampled_from(list(TURN)))
def test_turning_after_resizing_is_turning_before_it(interpolation, case, orientation):
    size, target, offset, crop = case
    # no value so near to black or white that a filter would pass it in between
    image = noise(3, *(size if orientation < 5 else size[::-1])) // 2 + 64
    stored = Stored(image, tuple(image.shape[1:]), orientation)
    upright = TURN[orientation](image)
    part = {"resized": target, "offset": offset, "crop": crop, "interpolation": interpolation}
    assert torch.equal(stored.upright(), upright)
    # rows and columns come in another order, with rounding in between; and a middle between two
    # pixels falls to the other one
    within = 2 if interpolation != "nearest" else 255
    found, expected = resize_crop(stored, **part), resize_crop(upright, **part)
    assert apart(found, expected) <= within
    if interpolation == "nearest":
        assert set(found.unique().tolist()) <= set(image.unique().tolist())


@pytest.mark.parametrize("orientation", TURN)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_a_last_pixel_taken_in_part_moves_nothing(orientation, interpolation):
    # a ramp of 60.125 x 80.5 pixels, whose place can be read off its shades
    extent = (60.125, 80.5)
    y, x = torch.meshgrid(torch.arange(61) + 0.5, torch.arange(81) + 0.5, indexing="ij")
    ramp = torch.stack([255 * y / extent[0], 255 * x / extent[1]]).clamp(max=255)
    stored = Stored(ramp.round().to(torch.uint8), extent, orientation)
    target = Size(37, 61) if orientation < 5 else Size(61, 37)
    found = resize_crop(
        stored,
        resized=target,
        offset=Offset(5, 6),
        crop=Size(target.height - 10, target.width - 12),
        interpolation=interpolation,
    )
    y, x = torch.meshgrid(torch.arange(37) + 0.5, torch.arange(61) + 0.5, indexing="ij")
    ideal = TURN[orientation](torch.stack([255 * y / 37, 255 * x / 61]))[:, 5:-5, 6:-6]
    pixel = 255 / min(extent)  # what the shade changes by in one stored pixel
    within = {"nearest": 0.5 * pixel + 1, "area": 0.25 * pixel + 1}.get(interpolation, 1.0)
    assert float((found - ideal).abs().max()) <= within


def test_a_side_that_hardly_changes_is_resized_all_the_same():
    # 100.125 columns in 101, resized to 101: torch would leave the side as it is
    image = noise(3, 30, 101)
    stored = Stored(image, (30, 100.125))
    found = resized(stored, Size(30, 101))
    assert not torch.equal(found, image)
    x = torch.arange(101) + 0.5
    ramp = (255 * x / 100.125).clamp(max=255).round().to(torch.uint8).expand(3, 30, 101)
    found = resized(Stored(ramp, (30, 100.125)), Size(30, 101))
    assert float((found - 255 * x / 101).abs()[..., 2:-2].max()) <= 1


def test_colours_are_made_of_the_small_picture():
    asked = []

    def colours(pixels):
        asked.append(tuple(pixels.shape))
        return 255 - pixels

    image = noise(3, 40, 60)
    stored = Stored(image, (40, 60), 6, colours)
    part = {"resized": Size(30, 20), "offset": Offset(0, 2), "crop": Size(30, 15)}
    expected = resize_crop(image.rot90(-1, (-2, -1)), **part)
    assert apart(resize_crop(stored, **part), 255 - expected) <= 1
    assert asked == [(3, 30, 15)]
    assert torch.equal(stored.upright(), 255 - image.rot90(-1, (-2, -1)))
