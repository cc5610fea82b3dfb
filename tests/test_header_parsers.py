"""Our own parsers of headers, held against Pillow: on whole, damaged and hostile files."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from test_headers import PNGS, WEBPS, broken_exif_jpeg, encoded, exif, picture, xmp

from lit_buckets.headers import MAX_IMAGE_PIXELS, MemoryContent, jpeg, png, read_header_from, webp
from lit_buckets.headers.pillow import pillow_size

Parser = Callable[[MemoryContent, bytes], tuple[int, int]]

PARSERS: dict[str, Parser] = {
    "JPEG": jpeg.jpeg_size,
    "PNG": png.png_size,
    "WEBP": webp.webp_size,
}


def many_tags(**others: object) -> Image.Exif:
    """EXIF with texts before the orientation and a directory behind it, as cameras write it."""
    tags = exif(6)
    tags[0x010E], tags[0x010F], tags[0x8769] = "a description", "a maker", {0x9003: "2020:01:01"}
    return tags


def with_texts() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "a cat " * 100)
    info.add_itxt("XML:com.adobe.xmp", "<x/>")
    info.add_text("Comment", "packed " * 9, zip=True)
    return info


SAMPLES: dict[str, list[bytes]] = {
    "JPEG": [
        encoded(".jpg"),
        encoded(".jpg", exif=exif(6)),
        encoded(".jpg", exif=many_tags(), comment=b"a comment", icc_profile=b"profile" * 700),
        encoded(".jpg", exif=exif(8), progressive=True),
        encoded(".jpg", xmp=xmp(6)),
        encoded(".jpg", exif=many_tags(), xmp=xmp(8)),
        encoded(".jpg", image=picture(mode="L")),
        encoded(".jpg", image=picture(mode="CMYK")),
        encoded(".mpo", save_all=True, append_images=[picture(9, 9)], exif=exif(6)),
        broken_exif_jpeg(),
    ],
    "PNG": [
        *PNGS.values(),
        encoded(".png", exif=exif(5), dpi=(72, 72)),
        encoded(".png", image=picture(mode="P")),
        encoded(".png", image=picture(mode="RGBA"), icc_profile=b"profile" * 99),
        encoded(".png", pnginfo=with_texts(), exif=exif(8)),
        encoded(".png", save_all=True, append_images=[picture().rotate(90)]),
    ],
    "WEBP": [encoded(".webp", **options) for options in WEBPS.values()],
}


class Counted(MemoryContent):
    """Counts what is read."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.reads = self.bytes = 0

    def pread(self, offset: int, length: int) -> bytes:
        assert offset >= 0
        assert length >= 0
        piece = super().pread(offset, length)
        self.reads, self.bytes = self.reads + 1, self.bytes + len(piece)
        return piece


def parsed(kind: str, content: Counted) -> tuple[int, int] | None:
    """What our parser finds; None where it leaves the file to Pillow."""
    try:
        return PARSERS[kind](content, content.pread(0, 4096))
    except (ValueError, LookupError, struct.error):
        return None


def judged(kind: str, content: bytes) -> tuple[int, int] | None:
    """What Pillow finds; None where it refuses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return pillow_size(MemoryContent(content), kind)
        except Exception:
            return None


@pytest.mark.parametrize("kind", SAMPLES)
def test_whole_files_are_as_pillow_finds_them(kind):
    ours = [parsed(kind, Counted(content)) for content in SAMPLES[kind]]
    for size, content in zip(ours, SAMPLES[kind], strict=True):
        assert size in (None, judged(kind, content))
    assert sum(size is not None for size in ours) >= len(ours) / 2  # or there would be no gain


def with_right_checksums(content: bytes) -> bytes:
    """A PNG whose first chunks are as they are, but for their checksums."""
    mended, at = bytearray(content), 8
    for _ in range(20):
        size = int.from_bytes(mended[at : at + 4], "big")
        if at + 12 + size > len(mended) or mended[at + 4 : at + 8] == b"IDAT":
            break
        checksum = zlib.crc32(mended[at + 4 : at + 8 + size])
        mended[at + 8 + size : at + 12 + size] = checksum.to_bytes(4, "big")
        at += 12 + size
    return bytes(mended)


TELLING = [0, 1, 2, 3, 6, 8, 0x12, 0x2A, 0x49, 0x4D, 0xC0, 0xDA, 0xDB, 0xE1, 0xFF]
BYTES = st.lists(st.sampled_from(TELLING) | st.integers(0, 255), max_size=8).map(bytes)


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    """A kind of file, and one with bytes changed, lost, put in, copied, or cut off."""
    kind = draw(st.sampled_from(sorted(SAMPLES)))
    content = bytearray(draw(st.sampled_from(SAMPLES[kind])))
    places = st.integers(0, min(len(content) - 1, 700)) | st.integers(0, len(content) - 1)
    for _ in range(draw(st.integers(0, 4))):
        at, other, lost = draw(places), draw(places), draw(st.integers(0, 12))
        copied = content[other : other + draw(st.sampled_from([0, 0, 4, 40, 200]))]
        content[at : at + lost] = draw(BYTES) + copied
    if draw(st.integers(0, 9)) == 0:
        del content[draw(places) :]
    whole = bytes(content)
    return kind, with_right_checksums(whole) if draw(st.booleans()) and kind == "PNG" else whole


@given(damaged())
@settings(max_examples=600, deadline=None)
def test_a_parser_agrees_with_pillow_or_leaves_the_file_to_it(file):
    kind, content = file
    counted = Counted(content)
    ours, theirs = parsed(kind, counted), judged(kind, content)
    assert ours is None or theirs is None or ours == theirs
    assert counted.reads <= 200
    assert counted.bytes <= 4096 * counted.reads + 3 * len(content)


@given(damaged())
@settings(max_examples=200, deadline=None)
def test_whatever_the_bytes_there_is_a_size_or_a_reason(file):
    header = read_header_from(MemoryContent(file[1]))
    assert (header.height > 0) == (header.width > 0) == (header.refused == "")
    assert header.height * header.width <= MAX_IMAGE_PIXELS
    assert header.refused == " ".join(header.refused.split())  # one line


def segment(marker: int, content: bytes = b"") -> bytes:
    return struct.pack(">2BH", 0xFF, marker, len(content) + 2) + content


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


HEADER = chunk(b"IHDR", struct.pack(">2I5B", 7, 5, 8, 0, 0, 0, 0))
HOSTILE = {
    "a JPEG of empty segments": ("JPEG", b"\xff\xd8" + segment(0xFE) * 2**18),
    "a JPEG of long segments": ("JPEG", b"\xff\xd8" + segment(0xE5, bytes(65_000)) * 300),
    "a JPEG with an endless directory": (
        "JPEG",
        b"\xff\xd8" + segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(60_000)),
    ),
    "a PNG of empty chunks before the pixels": ("PNG", png.MAGIC + HEADER + chunk(b"abCd") * 2**17),
    "a PNG of empty chunks behind the pixels": (
        "PNG",
        png.MAGIC + HEADER + chunk(b"IDAT", b"x") + chunk(b"abCd") * 2**17,
    ),
    "a PNG with a chunk of 4 GB": ("PNG", png.MAGIC + HEADER + b"\xff\xff\xff\xffIDAT" + bytes(99)),
    "a WebP of empty chunks": (
        "WEBP",
        b"RIFF"
        + struct.pack("<I", 2**20 + 22)
        + b"WEBPVP8X\x0a\0\0\0\x08\0\0\0\x06\0\0\x04\0\0"
        + b"ANMF\0\0\0\0" * 2**17,
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_come_to_an_end(name):
    kind, content = HOSTILE[name]
    counted = Counted(content)
    parsed(kind, counted)
    assert counted.reads <= 2**17 + 10
    assert counted.bytes <= 2**21
    whole = Counted(content)
    read_header_from(whole)
    assert whole.bytes <= 17 * 2**20 + counted.bytes


@pytest.mark.parametrize("kind", SAMPLES)
def test_pieces_may_end_anywhere(kind, monkeypatch):
    """Headers that are longer than what is read at once, cut at every place."""
    module = {"JPEG": jpeg, "PNG": png}.get(kind)
    for content in SAMPLES[kind]:
        expected = parsed(kind, Counted(content))
        for at_once in (64, 70, 99, 200):
            if module is not None:
                monkeypatch.setattr(module, "_PIECE", at_once)
            counted = Counted(content)
            try:
                found = PARSERS[kind](counted, counted.pread(0, max(at_once, 64)))
            except (ValueError, LookupError, struct.error):
                found = None
            assert found == expected
