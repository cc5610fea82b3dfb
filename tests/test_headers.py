from __future__ import annotations

import errno
import io
import os
import struct
import subprocess
import sys
import time
import warnings
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps, WebPImagePlugin

from lit_buckets.headers import (
    SUFFIXES,
    Demands,
    FileContent,
    FileRead,
    Header,
    Job,
    MemoryContent,
    read_caption,
    read_files,
    read_header,
    read_header_from,
)
from lit_buckets.headers import png as png_headers
from lit_buckets.scan import helpers

SHARED = Path(__file__).parents[2] / "shared"
PACKAGE = Path(png_headers.__file__).parents[1]
ORIENTATION = 0x0112
ORIENTED = [".jpg", ".png", ".webp", ".tif", ".avif"]
KINDS = [*ORIENTED, ".gif", ".bmp", ".ppm", ".jp2", ".tga", ".mpo"]


def picture(width: int = 40, height: int = 24, mode: str = "RGB") -> Image.Image:
    return Image.linear_gradient("L").resize((width, height)).convert(mode)


def encoded(suffix: str, **options: object) -> bytes:
    content = io.BytesIO()
    formats = {".jpg": "JPEG", ".tif": "TIFF", ".jp2": "JPEG2000", ".avif": "AVIF"}
    image = options.pop("image", None) or picture()
    assert isinstance(image, Image.Image)
    image.save(content, formats.get(suffix, suffix[1:].upper()), **options)
    return content.getvalue()


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags


def xmp(orientation: int) -> bytes:
    return f'<x:xmpmeta><rdf tiff:Orientation="{orientation}"/></x:xmpmeta>'.encode()


def displayed(path: Path) -> Header:
    """The truth: decode everything, turn, and look."""
    with Image.open(path) as image:
        width, height = ImageOps.exif_transpose(image).size
    return Header(height, width)


def stored(tmp_path: Path, name: str, content: bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


# ------------------------------------------------------------------ sizes


@pytest.mark.parametrize("suffix", KINDS)
def test_size_of_every_format_without_decoding(tmp_path, suffix, monkeypatch):
    extra = {"save_all": True, "append_images": [picture()]} if suffix == ".mpo" else {}
    path = stored(tmp_path, f"a{suffix}", encoded(suffix, **extra))
    assert displayed(path) == (24, 40, "")

    def load(self):
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    assert read_header(path) == (24, 40, "")
    assert suffix in SUFFIXES


@pytest.mark.parametrize("suffix", ORIENTED)
@pytest.mark.parametrize("orientation", range(10))
def test_orientation_in_exif(tmp_path, suffix, orientation):
    path = stored(tmp_path, f"a{suffix}", encoded(suffix, exif=exif(orientation)))
    expected = Header(40, 24) if orientation in (5, 6, 7, 8) else Header(24, 40)
    assert read_header(path) == displayed(path) == expected


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_orientation_in_xmp_alone(tmp_path, suffix, orientation):
    if suffix == ".tif":
        content = encoded(suffix, tiffinfo={700: xmp(orientation)})
    else:
        content = encoded(suffix, xmp=xmp(orientation))
    path = stored(tmp_path, f"a{suffix}", content)
    assert read_header(path) == displayed(path)
    assert read_header(path).height == (40 if orientation > 4 else 24)


@pytest.mark.parametrize("in_exif", [1, 6])
@pytest.mark.parametrize("in_xmp", [1, 6])
@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_exif_outweighs_xmp_as_in_pillow(tmp_path, suffix, in_exif, in_xmp):
    path = stored(tmp_path, f"a{suffix}", encoded(suffix, exif=exif(in_exif), xmp=xmp(in_xmp)))
    assert read_header(path) == displayed(path)


def test_multi_picture_file_counts_its_first(tmp_path):
    content = encoded(".mpo", save_all=True, append_images=[picture(9, 9)], exif=exif(6))
    path = stored(tmp_path, "a.mpo", content)
    assert read_header(path) == displayed(path) == (40, 24, "")


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".tif", ".avif"])
def test_first_frame_or_page_counts(tmp_path, suffix):
    other = picture(20, 10) if suffix == ".tif" else picture()
    path = stored(tmp_path, f"a{suffix}", encoded(suffix, save_all=True, append_images=[other] * 2))
    assert read_header(path) == displayed(path) == (24, 40, "")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK", "LAB", "F"])
def test_modes(tmp_path, mode):
    suffix = ".tif" if mode in ("CMYK", "LAB", "F") else ".png"
    image = Image.new(mode, (40, 24))
    path = stored(tmp_path, f"a{suffix}", encoded(suffix, image=image))
    assert read_header(path) == displayed(path) == (24, 40, "")


def test_content_counts_and_not_the_suffix(tmp_path):
    assert read_header(stored(tmp_path, "a.jpg", encoded(".png"))) == (24, 40, "")
    assert read_header(stored(tmp_path, "b.tga", encoded(".png"))) == (24, 40, "")


# ------------------------------------------------------------------ PNG: metadata after the pixels


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*late: bytes, cut_at: int = 8192, early: bytes = b"", end: bytes = b"") -> bytes:
    """A PNG of noise, its pixels cut into chunks; `late` chunks stand between them and the end."""
    image = Image.effect_noise((160, 120), 80)
    rows = b"".join(b"\0" + image.crop((0, y, 160, y + 1)).tobytes() for y in range(120))
    pixels = zlib.compress(rows)
    pieces = [pixels[at : at + cut_at] for at in range(0, len(pixels), cut_at)]
    header = chunk(b"IHDR", struct.pack(">2I5B", 160, 120, 8, 0, 0, 0, 0))
    body = b"".join(chunk(b"IDAT", piece) for piece in pieces)
    return b"\x89PNG\r\n\x1a\n" + header + early + body + b"".join(late) + chunk(b"IEND") + end


EXIF_6 = chunk(b"eXIf", exif(6).tobytes()[6:])
EXIF_1 = chunk(b"eXIf", exif(1).tobytes()[6:])
XMP_8 = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(8))
RAW_5 = chunk(
    b"tEXt",
    b"Raw profile type exif\0\nexif\n%8d\n%s\n"
    % (len(exif(5).tobytes()), exif(5).tobytes().hex().encode()),
)
PNGS = {
    "none": png(),
    "exif": png(EXIF_6),
    "xmp": png(XMP_8),
    "raw profile": png(RAW_5),
    "late exif against early": png(EXIF_6, early=EXIF_1),
    "early exif against late": png(EXIF_1, early=EXIF_6),
    "late xmp against early exif": png(XMP_8, early=EXIF_1),
    "many small chunks": png(EXIF_6, cut_at=100),
    "one large chunk": png(EXIF_6, cut_at=10**6),
    "behind much else": png(chunk(b"tEXt", b"Comment\0" + b"x" * 100_000), EXIF_6),
    "before much else": png(EXIF_6, chunk(b"tEXt", b"Comment\0" + b"x" * 100_000)),
    "unknown chunk": png(chunk(b"abCd", b"IDAT" * 99), EXIF_6),
    "bytes after the end": png(EXIF_6, end=b"more" * 50),
    "another after the end": png(end=png(EXIF_6)),
    "broken exif": png(chunk(b"eXIf", b"nonsense")),
    "cut short": png(EXIF_6)[:-20],
}


@pytest.mark.parametrize("name", PNGS)
def test_png_metadata_after_the_pixels(tmp_path, name):
    path = stored(tmp_path, "a.png", PNGS[name])
    try:
        expected = displayed(path)
    except (OSError, SyntaxError):  # of exif_transpose, at broken EXIF; a decoder goes on
        expected = Header(120, 160)
    assert read_header(path) == expected
    assert read_header(path).refused == ""


def test_animated_png_with_late_metadata_as_pillow_sees_it(tmp_path):
    frames = {"save_all": True, "append_images": [picture().rotate(90), picture().rotate(180)]}
    content = encoded(".png", **frames)
    path = stored(tmp_path, "a.png", content[:-12] + EXIF_6 + content[-12:])
    assert read_header(path) == displayed(path) == (24, 40, "")


def test_a_large_png_needs_few_reads(tmp_path, monkeypatch):
    path = stored(tmp_path, "a.png", png(EXIF_6, cut_at=20))
    reads = []
    real = png_headers._chunks
    monkeypatch.setattr(png_headers, "_chunks", lambda *a: reads.append(a) or real(*a))
    assert read_header(path) == (160, 120, "")
    assert len(reads) == 1  # the tail alone


# ------------------------------------------------------------------ WebP: without reading it all


WEBPS = {
    "lossy": {"quality": 80},
    "lossless": {"lossless": True},
    "alpha": {"image": picture(mode="RGBA")},
    "exif": {"exif": exif(8)},
    "exif and xmp": {"exif": exif(1), "xmp": xmp(6)},
    "xmp": {"xmp": xmp(6), "lossless": True},
    "profile": {"icc_profile": b"profile" * 1001},
    "animated": {"save_all": True, "append_images": [picture().rotate(9)], "exif": exif(5)},
}


@pytest.mark.parametrize("name", WEBPS)
def test_webp_is_not_given_to_pillow(tmp_path, name, monkeypatch):
    path = stored(tmp_path, "a.webp", encoded(".webp", **WEBPS[name]))
    expected = displayed(path)
    monkeypatch.setattr(WebPImagePlugin.WebPImageFile, "_open", lambda self: 1 / 0)
    assert read_header(path) == expected


def test_cut_webp_is_judged_by_pillow(tmp_path):
    content = encoded(".webp")
    assert "broken or truncated WEBP" in read_header(stored(tmp_path, "a", content[:-9])).refused
    assert read_header(stored(tmp_path, "b", content + b"more")) == (24, 40, "")


# ------------------------------------------------------------------ refusals


def test_refusals_of_files_that_are_no_image(tmp_path):
    def refused(name: str, content: bytes) -> str:
        header = read_header(stored(tmp_path, name, content))
        assert header[:2] == (0, 0)
        return header.refused

    assert refused("a.jpg", b"") == "empty: 0 bytes"
    assert refused("a.jpg", b"hello") == "not an image in a format that is read (5 bytes)"
    assert refused("a.jpg", b"%!PS-Adobe-3.0 EPSF\n").startswith("not an image in a format")
    assert refused("a.heic", b"\0\0\0\x18ftypheic" + bytes(40)) == (
        "unsupported: Pillow does not read HEIC (52 bytes)"
    )
    tga = encoded(".tga")
    assert refused("a.jpg", tga).startswith("not an image")  # no magic number: by suffix alone


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif", ".gif", ".bmp"])
def test_header_that_is_cut_short(tmp_path, suffix):
    path = stored(tmp_path, f"a{suffix}", encoded(suffix)[:21])
    assert read_header(path).refused.startswith("broken or truncated ")
    assert "(21 bytes)" in read_header(path).refused


def test_body_that_is_cut_short_is_no_matter_of_headers(tmp_path):
    assert read_header(stored(tmp_path, "a.jpg", encoded(".jpg")[:-100])) == (24, 40, "")


def test_what_the_file_system_says(tmp_path):
    assert read_header(tmp_path / "gone.png").refused.startswith("cannot be opened: No such file")
    assert read_header(tmp_path).refused.startswith("cannot be opened: ")
    assert read_header("nul\0.png").refused.startswith("cannot be opened: ")
    assert read_header(tmp_path / ("long" * 99)).refused.startswith("cannot be opened: ")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_permission_denied(tmp_path):
    path = stored(tmp_path, "a.png", encoded(".png"))
    path.chmod(0)
    assert read_header(path).refused == "cannot be opened: Permission denied"


def test_limit_of_pixels_is_ours_and_not_pillows(tmp_path, monkeypatch):
    header = chunk(b"IHDR", struct.pack(">2I5B", 30_000, 20_000, 1, 0, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", bytes(9)) + chunk(b"IEND")
    path = stored(tmp_path, "a.png", content)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert read_header(path, Demands(600_000_000)) == (20_000, 30_000, "")
    assert read_header(path, Demands(599_999_999)) == (
        *(0, 0),
        "too many pixels: height 20,000 x width 30,000 = 600,000,000 "
        "exceed max_image_pixels=599,999,999",
    )
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_no_side_beyond_32_bits(tmp_path):
    header = chunk(b"IHDR", struct.pack(">2I5B", 2**31, 1, 1, 0, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", bytes(9)) + chunk(b"IEND")
    path = stored(tmp_path, "a.png", content)
    assert read_header(path, Demands(2**40)).refused


def broken_exif_jpeg() -> bytes:
    content = encoded(".jpg")
    garbage = b"Exif\0\0" + b"MM\0*\0\0\0\x08\0\x05\x01\x12\0\x03\0\0\xff\xff"
    return content[:2] + b"\xff\xe1" + struct.pack(">H", len(garbage) + 2) + garbage + content[2:]


def test_broken_exif_neither_warns_nor_refuses(tmp_path):
    path = stored(tmp_path, "a.jpg", broken_exif_jpeg())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_header(path) == (24, 40, "")
        nonsense = encoded(".jpg", exif=b"Exif\0\0nonsense")
        assert read_header(stored(tmp_path, "b.jpg", nonsense)) == (24, 40, "")


@pytest.mark.slow
@pytest.mark.parametrize(
    "endless",
    [
        b"\xff\xd8\xff\xe0" + bytes(2**25),  # a JPEG of nothing
        b"P6 #" + b"x" * 2**25,  # a comment without end
        b"\x89PNG\r\n\x1a\n" + chunk(b"tIME", bytes(7)) * 2**20,  # no pixels, ever
    ],
    ids=["jpeg", "ppm", "png"],
)
def test_headers_without_end_are_given_up(tmp_path, endless):
    path = stored(tmp_path, "a.jpg", endless)
    begun = time.monotonic()
    assert read_header(path).refused.startswith("broken or truncated ")
    assert time.monotonic() - begun < 60  # far less on an idle machine


# ------------------------------------------------------------------ wherever the bytes lie


@pytest.mark.parametrize("suffix", KINDS)
def test_stretch_of_a_larger_file(tmp_path, suffix):
    content = encoded(suffix)
    before, after = encoded(".png", image=picture(7, 7)), b"\0" * 5000
    path = stored(tmp_path, "shard.tar", before + content + after)
    job = Job(str(path), "", len(before), len(content), suffix)
    assert read_files([job], Demands()) == [FileRead(24, 40, "", "")]
    assert read_header_from(MemoryContent(content), suffix=suffix) == (24, 40, "")
    assert read_files([job._replace(length=0)], Demands())[0].refused == "empty: 0 bytes"


def test_stretch_that_ends_behind_its_file(tmp_path):
    path = stored(tmp_path, "shard.tar", bytes(3) + encoded(".webp"))
    stretch = FileContent(str(path), 3, 10**6)
    assert stretch.length == path.stat().st_size - 3
    assert stretch.pread(stretch.length - 2, 9) == path.read_bytes()[-2:]
    assert stretch.pread(10**5, 9) == b""
    assert read_header_from(stretch) == (24, 40, "")
    stretch.close()


class Broken(MemoryContent):
    def pread(self, offset, length):
        if offset + length > 4096:
            raise OSError(errno.EIO, "Input/output error")
        return super().pread(offset, length)


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_bytes_that_cannot_be_read_may_be_tried_again(suffix):
    image = Image.effect_noise((99, 99), 80)
    header = read_header_from(Broken(encoded(suffix, image=image)))
    assert header.refused == "cannot be opened: Input/output error"


# ------------------------------------------------------------------ captions, batches, helpers


def test_captions(tmp_path):
    def caption(content: bytes) -> str | None:
        return read_caption(stored(tmp_path, "a.txt", content))

    assert caption("\n a cat,\nasleep ü \n".encode()) == "a cat,\nasleep ü"
    assert caption(b"\xef\xbb\xbfa cat\r\n") == "a cat"
    assert caption(b"caf\xe9") == "caf\ufffd"
    assert caption(b"") == ""
    assert read_caption(tmp_path / "none.txt") == ""
    assert read_caption(tmp_path) is None


def test_files_in_order_of_the_jobs(tmp_path):
    image = str(stored(tmp_path, "a.png", encoded(".png")))
    text = str(stored(tmp_path, "a.txt", b"a cat"))
    jobs = [Job(image, text), Job("", text), Job(image, ""), Job(text, "")]
    assert read_files(jobs, Demands()) == [
        FileRead(24, 40, "", "a cat"),
        FileRead(0, 0, "", "a cat"),
        FileRead(24, 40, "", ""),
        FileRead(0, 0, "not an image in a format that is read (5 bytes)", ""),
    ]


def test_helper_processes_load_nothing_but_pillow():
    program = helpers._PROGRAM + (
        "loaded = {name.split('.')[0] for name in sys.modules}\n"
        "assert not {'numpy', 'torch', 'pyarrow', 'lightning'} & loaded, loaded\n"
    )
    command = [sys.executable, "-c", program, str(PACKAGE), *sys.path]
    subprocess.run(command, stdin=subprocess.DEVNULL, check=True)


# ------------------------------------------------------------------ damaged files


SAMPLES = [
    *(encoded(suffix, image=picture(20, 12)) for suffix in KINDS if suffix != ".mpo"),
    *(encoded(suffix, image=picture(20, 12), exif=exif(6)) for suffix in ORIENTED),
    encoded(".mpo", save_all=True, append_images=[picture(9, 9)], exif=exif(6)),
    encoded(".webp", image=picture(20, 12, "RGBA"), exif=exif(6), xmp=xmp(6)),
    encoded(".png", save_all=True, append_images=[picture().rotate(90)]),
    png(EXIF_6),
    broken_exif_jpeg(),
]


@given(data=st.data())
@settings(
    max_examples=300, deadline=20_000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_damage_is_too_much(tmp_path, data):
    content = bytearray(data.draw(st.sampled_from(SAMPLES)))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, min(len(content), 400)))
        content[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=6))
    del content[data.draw(st.integers(len(content) // 4, len(content))) :]
    path = stored(tmp_path, "a.tga", bytes(content))
    header = read_header(path, Demands(10**6))
    assert header.refused == " ".join(header.refused.split())  # one line
    assert (header.height > 0) == (header.width > 0) == (not header.refused)
    if not header.refused:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                expected = displayed(path)
            except Exception:  # does not decode: nothing to agree with
                return
        assert header == expected


# ------------------------------------------------------------------ real files


HARD: dict[str, tuple[int, int] | str] = {
    "16_bit_noise.tif": (32, 32),
    "1_trns.png": (64, 64),
    "200x32_la.png": (32, 200),
    "200x32_p.png": (32, 200),
    "broken_data_stream.png": (128, 128),
    "chi.gif": (240, 320),
    "decompression_bomb.gif": "too many pixels: ",
    "empty.jpg": "empty: 0 bytes",
    "exif.avif": (512, 512),
    "frozenpond.mpo": (480, 640),
    "hopper.Lab.tif": (128, 128),
    "hopper_16bit.pgm": (128, 128),
    "hopper_bad_exif.jpg": (500, 500),
    "hopper_gray.jpg": (128, 128),
    "i_trns.png": (64, 64),
    "icc_profile.avif": (57, 57),
    "iss634.webp": (245, 245),
    "multipage.tiff": (10, 10),
    "pil_sample_cmyk.jpg": (100, 100),
    "png_decompression_dos.png": "broken or truncated PNG header (6,289 bytes): ",
    "shortfile.bmp": (64, 127),
    "text.jpg": "not an image in a format that is read (21 bytes)",
    "tiff_16bit_RGBa.tiff": (40, 100),
    "transparency.avif": (64, 64),
    "transparent.webp": (150, 200),
    "truncated_image.png": (480, 640),
    "truncated_jpeg.jpg": (100, 100),
    **{f"orientation/Landscape_{n}.jpg": (1200, 1800) for n in range(9)},
}
UNDECODABLE = {
    "broken_data_stream.png",
    "shortfile.bmp",
    "truncated_image.png",
    "truncated_jpeg.jpg",
}


@pytest.mark.skipif(not (SHARED / "hard_images").is_dir(), reason="the files are not here")
@pytest.mark.parametrize("name", HARD)
def test_hard_images(name):
    path, expected = SHARED / "hard_images" / name, HARD[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        header = read_header(path)
    if isinstance(expected, str):
        assert header.refused.startswith(expected)
        return
    assert header == (*expected, "")
    if name not in UNDECODABLE:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert header == displayed(path)


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "photos").is_dir(), reason="the files are not here")
def test_photographs_agree_with_a_full_decode():
    paths = sorted((SHARED / "photos").rglob("*.jpg"))
    assert paths
    for path in paths:
        assert read_header(path) == displayed(path), path.name
