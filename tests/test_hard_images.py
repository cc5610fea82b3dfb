"""Files that other programs stumble over come out upright, in the right colours, first frame."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from lit_buckets import headers
from lit_buckets.geometry import Offset, Size
from lit_buckets.pixels import decode as decoding
from lit_buckets.pixels.decode import DecodeError, decode
from lit_buckets.pixels.resize import resize_crop

MAGENTA = (255, 0, 255)

# Displayed size; mean red, green and blue of the first, the middle and the last of 3 x 3 cells,
# over white. They are those of ImageMagick 6.9 (-auto-orient -alpha remove), but for two kinds of
# file that it does not get right: AVIF is avifdec's, and LAB follows from the definitions of CIE
# L*a*b* (white D50) and sRGB, computed in floating point from the file's own bytes.
PICTURES = {
    "16_bit_noise.tif": ((32, 32), (0, 0, 0), (0, 0, 0), (0, 0, 0)),
    "1_trns.png": ((64, 64), (21, 21, 21), (249, 249, 249), (185, 185, 185)),
    "200x32_la.png": ((32, 200), (139, 139, 139), (243, 243, 243), (143, 143, 143)),
    "200x32_p.png": ((32, 200), (85, 121, 19), (183, 75, 81), (125, 180, 163)),
    "chi.gif": ((240, 320), (244, 247, 236), (254, 255, 252), (248, 249, 247)),
    "exif.avif": ((512, 512), (133, 129, 131), (174, 171, 172), (134, 129, 131)),
    "frozenpond.mpo": ((480, 640), (59, 46, 35), (146, 147, 143), (90, 86, 86)),
    "hopper.Lab.tif": ((128, 128), (60, 53, 77), (180, 113, 86), (47, 43, 61)),
    "hopper_16bit.pgm": ((128, 128), (57, 57, 57), (130, 130, 130), (45, 45, 45)),
    "hopper_bad_exif.jpg": ((500, 500), (71, 71, 71), (181, 181, 181), (121, 121, 121)),
    "hopper_gray.jpg": ((128, 128), (58, 58, 58), (130, 130, 130), (46, 46, 46)),
    "i_trns.png": ((64, 64), (0, 0, 0), (233, 233, 233), (2, 2, 2)),
    "icc_profile.avif": ((57, 57), (226, 214, 202), (102, 77, 69), (212, 195, 178)),
    "iss634.webp": ((245, 245), (29, 106, 91), (65, 105, 99), (223, 166, 103)),
    "multipage.tiff": ((10, 10), (0, 128, 0), (0, 128, 0), (0, 128, 0)),
    "pil_sample_cmyk.jpg": ((100, 100), (33, 5, 7), (61, 7, 10), (1, 4, 4)),
    "tiff_16bit_RGBa.tiff": ((40, 100), (245, 243, 241), (201, 195, 191), (173, 157, 145)),
    "transparency.avif": ((64, 64), (239, 168, 7), (255, 255, 255), (207, 9, 220)),
    "transparent.webp": ((150, 200), (171, 171, 223), (170, 67, 66), (255, 255, 255)),
    # a number is written in the middle, which hardly changes the mean
    **{
        f"orientation/Landscape_{n}.jpg": (
            (1200, 1800),
            (165, 195, 234),
            (67, 79, 90),
            (66, 76, 88),
        )
        for n in range(9)
    },
}
WITHIN = 1.6  # rounding, of 16 bits to 8 above all

# What is wrong with the others.
BROKEN = {
    "broken_data_stream.png": "unrecognized data stream",
    "decompression_bomb.gif": "4364696535 pixels",
    "empty.jpg": "empty",
    "png_decompression_dos.png": "too large",
    "shortfile.bmp": "truncated",
    "text.jpg": "not an image",
    "truncated_image.png": "truncated",
    "truncated_jpeg.jpg": "truncated",
}


def existing(folder, name):
    file = folder / name
    if not file.exists():
        pytest.skip(f"no {name}")
    return file


def cells(picture: np.ndarray) -> list[np.ndarray]:
    """Means of the first, the middle and the last of 3 x 3 cells."""
    grid = [
        cell.mean(axis=(0, 1))
        for row in np.array_split(picture, 3, axis=0)
        for cell in np.array_split(row, 3, axis=1)
    ]
    return [grid[0], grid[4], grid[8]]


def thirds(picture) -> np.ndarray:
    """Means of 3 x 3 cells, right to the fraction of a pixel."""
    size = Size(3, 3)
    means = resize_crop(
        picture.stored, resized=size, offset=Offset(0, 0), crop=size, interpolation="area"
    )
    return means.numpy().astype(int)


@pytest.fixture(autouse=True)
def nothing_leaks():
    """Decoding warns of nothing."""
    with warnings.catch_warnings(record=True) as leaked:
        warnings.simplefilter("always")
        yield
    assert not leaked


def test_every_hard_image_is_in_the_tables(hard_images):
    files = {str(p.relative_to(hard_images)) for p in hard_images.rglob("*") if p.is_file()}
    assert files <= PICTURES.keys() | BROKEN.keys()


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture(hard_images, name):
    file = existing(hard_images, name)
    size, *expected = PICTURES[name]
    found = decode(file)
    assert found.original == tuple(found.image.shape[1:]) == size
    header = headers.read_header(file)
    assert (header.height, header.width) == size
    assert np.abs(cells(found.image.permute(1, 2, 0).numpy()) - np.array(expected)).max() <= WITHIN


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_made_small(hard_images, name):
    file = existing(hard_images, name)
    small = decode(file, wanted=Size(30, 30), quality="fast")
    assert small.original == PICTURES[name][0]
    # in its damaged blocks shades lie beyond white, which only full scale cuts one by one
    within = 15 if name == "hopper_bad_exif.jpg" else 2
    assert np.abs(thirds(small) - thirds(decode(file))).max() <= within


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file(hard_images, name):
    file = existing(hard_images, name)
    with pytest.raises(DecodeError, match=BROKEN[name]) as caught:
        decode(file)
    assert caught.value.path == str(file)
    assert caught.value.lasting


def test_alpha_goes_over_the_background(hard_images):
    file = existing(hard_images, "transparent.webp")
    dice = decode(file, background=MAGENTA).image
    assert dice[:, 0, 0].tolist() == list(MAGENTA)


def test_photographs_have_the_same_bytes_by_any_decoder(photos, monkeypatch):
    for number, file in enumerate(sorted(photos.glob("*.jpg"))[::4]):
        size = decode(file).original
        wanted = Size(*(-(-side // (1, 2, 4, 8)[number % 4]) for side in size))
        found = decode(file, wanted=wanted, quality="fast").image
        with monkeypatch.context() as patch:
            patch.setattr(decoding, "_decode_sooner", lambda *_: None)
            assert torch.equal(found, decode(file, wanted=wanted, quality="fast").image), file


def test_photographs_have_the_sizes_of_their_headers(photos):
    for file in sorted(photos.rglob("*.jpg"))[::4]:
        header = headers.read_header(file)
        assert decode(file, wanted=Size(32, 32)).original == (header.height, header.width)
