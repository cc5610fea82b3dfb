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


def tiff(values: np.ndarray, **tags: int) -> bytes:
    """A TIFF whose tags Pillow does not write so."""
    numbers = {"bits": 8 * values.itemsize, "photometric": 1, "format": 1, "order": 1} | tags
    height, width = values.shape
    width = 8 * values.itemsize * width // numbers["bits"]
    entries = [(256, 3, width), (257, 3, height), (258, 3, numbers["bits"]), (259, 3, 1)]
    entries += [(262, 3, numbers["photometric"]), (266, 3, numbers["order"]), (273, 4, 8)]
    entries += [(277, 3, 1), (278, 3, height), (279, 4, values.nbytes), (339, 3, numbers["format"])]
    data = values.tobytes() + b"\0" * (values.nbytes % 2)
    directory = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    count = struct.pack("<H", len(entries))
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + count + directory + b"\0" * 4


@pytest.mark.parametrize("most", [1, 5, 254, 255, 300, 65534, 65535])
def test_grey_values_of_a_pgm_of_any_range(most):
    values = np.unique(np.linspace(0, most, 2000).round().astype(int))[None]
    data = values.astype(np.uint8 if most < 256 else ">u2").tobytes()
    head = f"{values.size} 1\n{most}\n"
    text = " ".join(map(str, values[0]))
    for content in (f"P5\n{head}".encode() + data, f"P2\n{head}{text}\n".encode()):
        assert np.array_equal(decode_labels(content), values)


@pytest.mark.parametrize(
    ("stored", "tags", "expected"),
    [
        (np.array([[0, -1, -100, 127]], np.int8), {"format": 2}, [0, -1, -100, 127]),
        (np.array([[0, -1, -300, 300]], np.int16), {"format": 2}, [0, -1, -300, 300]),
        (np.array([[0, 7, 3_000_000_000]], np.uint32), {}, [0, 7, 3_000_000_000]),
        (np.array([[0, -7, 70_000]], np.int32), {"format": 2}, [0, -7, 70_000]),
        (np.array([[0b00011011]], np.uint8), {"bits": 2}, [0, 1, 2, 3]),
        (np.array([[0b11011000]], np.uint8), {"bits": 2, "order": 2}, [0, 1, 2, 3]),
    ],
)
def test_integers_of_a_tiff_keep_their_sign_and_size(stored, tags, expected):
    assert decode_labels(tiff(stored, **tags)).tolist() == [expected]


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
        (content(Image.new("L", (4, 4)), format="JPEG2000"), "JPEG2000 does not keep values"),
        (
            content(Image.new("L", (16, 16)), format="TIFF", compression="jpeg"),
            "a TIFF compressed as jpeg does not keep values",
        ),
        (b"P4\n8 1\n\x55", "labels must be as stored; in a PBM black is 1"),
        (tiff(LABELS, photometric=0), "labels must be as stored; its white is 0"),
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
