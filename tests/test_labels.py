"""Label maps come as they are in the file: no colours, no rounding, upright."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from lit_buckets.pixels.decode import DecodeError
from lit_buckets.pixels.labels import decode_labels

LABELS = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)


def content(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, **({"format": "PNG"} | options))
    return file.getvalue()


def grey_png(values: np.ndarray, bits: int) -> bytes:
    """A grey PNG of few bits, which Pillow does not write."""
    height, width = values.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    rows = b""
    for row in values:
        digits = "".join(f"{value:0{bits}b}" for value in row)
        digits += "0" * (-len(digits) % 8)
        rows += b"\0" + int(digits, 2).to_bytes(len(digits) // 8, "big")
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_indices_of_a_palette_whatever_its_colours():
    image = Image.fromarray(LABELS, "P")
    image.putpalette(np.random.default_rng(1).integers(0, 256, 768, dtype=np.uint8).tobytes())
    for options in ({}, {"transparency": 3}, {"format": "BMP"}):
        found = decode_labels(content(image, **options))
        assert found.dtype == torch.uint8
        assert np.array_equal(found, LABELS)


def test_grey_values_of_all_depths():
    assert np.array_equal(decode_labels(content(Image.fromarray(LABELS))), LABELS)
    deep = LABELS.astype(np.uint16) * 257
    for options in ({}, {"format": "TIFF"}):
        found = decode_labels(content(Image.fromarray(deep), **options))
        assert found.dtype == torch.int32
        assert np.array_equal(found, deep)
    huge = LABELS.astype(np.int32) * 100_000
    assert np.array_equal(decode_labels(content(Image.fromarray(huge), format="TIFF")), huge)
    for bits in (1, 2, 4):
        few = LABELS % 2**bits
        assert np.array_equal(decode_labels(grey_png(few, bits)), few)


def test_labels_stand_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn to the right shows it upright
    found = decode_labels(content(Image.fromarray(LABELS), exif=exif))
    assert np.array_equal(found, np.rot90(LABELS, -1))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (content(Image.new("RGB", (4, 4))), "labels must have one channel; its mode is RGB"),
        (content(Image.new("LA", (4, 4))), "labels must have one channel; its mode is LA"),
        (content(Image.new("L", (4, 4)), format="JPEG"), "JPEG does not keep values"),
        (content(Image.fromarray(LABELS))[:200], "truncated"),
        (b"", "not an image in a format that is read"),
        (b"not an image", "not an image in a format that is read"),
    ],
)
def test_what_gives_no_labels_is_refused(data, reason):
    with pytest.raises(DecodeError, match=reason) as error:
        decode_labels(data, name="map.png")
    assert error.value.path == "map.png"


def test_too_many_pixels_are_refused():
    with pytest.raises(DecodeError, match="20 x width 30 = 600 exceed max_image_pixels=599"):
        decode_labels(content(Image.fromarray(LABELS)), max_image_pixels=599)
