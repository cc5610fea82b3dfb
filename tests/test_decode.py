"""Every kind of file becomes the same upright sRGB picture, or an error that names it."""

from __future__ import annotations

import io
import math
import pickle
import struct
import warnings
import zlib
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageCms, ImageFile, TiffImagePlugin

from lit_buckets import headers
from lit_buckets.errors import DataError
from lit_buckets.geometry import Offset, Size
from lit_buckets.pixels import decode as decoding
from lit_buckets.pixels.decode import DecodeError, decode
from lit_buckets.pixels.jpeg import decode_jpeg
from lit_buckets.pixels.resize import resize_crop

ORIENTATION = 0x0112
MAGENTA = (255, 0, 255)


def encode(image: Image.Image, format_: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def pixels(content: bytes, **options) -> np.ndarray:
    """(H, W, 3) int, so that differences do not wrap."""
    return decode(content, **options).image.permute(1, 2, 0).numpy().astype(int)


def close(found: np.ndarray, expected, within: float) -> bool:
    return bool(np.abs(found - np.asarray(expected)).mean() <= within)


def scene(height=48, width=64) -> Image.Image:
    """A smooth picture, different at each corner."""
    y, x = np.mgrid[:height, :width]
    red, green = 255 * x // (width - 1), 255 * y // (height - 1)
    blue = (red + green) // 4 + 32
    return Image.fromarray(np.stack([red, green, blue], axis=-1).astype(np.uint8))


def grey_scene() -> Image.Image:
    return scene().convert("L")


def as_rgb(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB")).astype(int)


def png(height, width, depth, kind, rows, transparent=None) -> bytes:
    """A PNG of depths that Pillow does not write."""

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    content = b"\x89PNG\r\n\x1a\n"
    content += chunk(b"IHDR", struct.pack(">2I5B", width, height, depth, kind, 0, 0, 0))
    if transparent is not None:
        content += chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent))
    content += chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return content + chunk(b"IEND", b"")


# -- formats and modes ---------------------------------------------------------------------------

LOSSLESS = {
    "png": ("PNG", {}),
    "bmp": ("BMP", {}),
    "ppm": ("PPM", {}),
    "tiff": ("TIFF", {}),
    "tiff, lzw": ("TIFF", {"compression": "tiff_lzw"}),
    "webp": ("WEBP", {"lossless": True}),
    "jpeg 2000": ("JPEG2000", {}),
}


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_formats_come_out_as_they_went_in(kind):
    format_, options = LOSSLESS[kind]
    found = decode(encode(scene(), format_, **options))
    assert found.original == (48, 64)
    assert tuple(found.image.shape) == (3, 48, 64)
    assert (found.image.permute(1, 2, 0).numpy() == as_rgb(scene())).all()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg(mode, progressive):
    source = scene().convert(mode)
    found = pixels(encode(source, "JPEG", quality=95, progressive=progressive))
    assert close(found, as_rgb(source), 3)


def test_tga_goes_by_its_suffix():
    content = encode(scene(), "TGA")
    assert (pixels(content, name="a.tga") == as_rgb(scene())).all()
    with pytest.raises(DecodeError, match="not an image"):
        decode(content, name="a.dat")


def test_avif():
    assert close(pixels(encode(scene(), "AVIF", quality=95)), as_rgb(scene()), 4)


def test_ycck_jpeg():
    # Pillow writes inks inverted and unconverted: let these be luma and chroma of ink, no black
    ycc = 255 - np.asarray(ImageChops.invert(scene()).convert("YCbCr"))
    inks = np.concatenate([ycc, np.zeros_like(ycc[..., :1])], axis=-1)
    content = bytearray(encode(Image.fromarray(inks, "CMYK"), "JPEG", quality=95))
    content[content.index(b"Adobe") + 11] = 2  # Adobe's note that they are YCCK
    assert close(pixels(bytes(content)), as_rgb(scene()), 3)


def test_cmyk_jpeg_without_adobes_marker_is_not_inverted():
    # Adobe stores ink inverted; without its marker the shades are those of the file
    content = encode(scene().convert("CMYK"), "JPEG", quality=95)
    at = content.index(b"\xff\xee")
    length = struct.unpack(">H", content[at + 2 : at + 4])[0]
    plain = content[:at] + content[at + 2 + length :]
    inks = 255 - np.asarray(scene().convert("CMYK")).astype(int)
    expected = as_rgb(Image.frombytes("CMYK", (64, 48), inks.astype(np.uint8).tobytes()))
    assert close(pixels(plain), expected, 3)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LAB", "CMYK", "RGBX"])
def test_modes_in_tiff(mode):
    if mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(scene(), srgb, lab, outputMode="LAB")
        expected, within = as_rgb(scene()), 3
    else:
        image = scene().convert(mode)
        expected, within = as_rgb(image), 1
    assert close(pixels(encode(image, "TIFF")), expected, within)


@pytest.mark.parametrize("format_", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_goes_over_the_background(format_, mode):
    if (format_, mode) == ("WEBP", "LA"):
        pytest.skip("WebP has no grey")
    image = scene().convert(mode)
    alpha = np.zeros((48, 64), dtype=np.uint8)
    alpha[:, 16:32], alpha[:, 32:] = 128, 255
    image.putalpha(Image.fromarray(alpha))
    options = {"lossless": True, "exact": True} if format_ == "WEBP" else {}
    found = pixels(encode(image, format_, **options), background=MAGENTA)
    opaque = as_rgb(scene().convert(mode))
    assert (found[:, :16] == MAGENTA).all()
    assert (found[:, 32:] == opaque[:, 32:]).all()
    half = np.abs(found[:, 16:32] - (opaque[:, 16:32] + MAGENTA) / 2)
    assert half.max() <= 2


@pytest.mark.parametrize("transparency", [3, bytes([255, 255, 255, 0]), bytes([255, 128, 255, 0])])
@pytest.mark.parametrize("format_", ["PNG", "GIF"])
def test_transparent_palette(format_, transparency):
    if format_ == "GIF" and isinstance(transparency, bytes):
        pytest.skip("GIF has one transparent colour")
    image = Image.frombytes("P", (8, 4), np.arange(4, dtype=np.uint8).repeat(8).tobytes())
    image.putpalette([10, 20, 30, 200, 100, 0, 0, 0, 255, 9, 9, 9])
    found = pixels(encode(image, format_, transparency=transparency), background=MAGENTA)
    assert (found[0] == (10, 20, 30)).all()
    half = isinstance(transparency, bytes) and transparency[1] == 128
    assert np.abs(found[1] - ((228, 50, 127) if half else (200, 100, 0))).max() <= 1
    assert (found[2] == (0, 0, 255)).all()
    assert (found[3] == MAGENTA).all()


# kind, depth, colour type, one row of two pixels, transparent colour of the second
TRANSPARENT_COLOURS = [
    ("1 bit", 1, 0, b"\x40", (1,), 0),
    ("2 bits", 2, 0, b"\x60", (2,), 85),
    ("4 bits", 4, 0, b"\x5a", (10,), 85),
    ("8 bits", 8, 0, b"\x05\xaa", (0xAA,), 5),
    ("16 bits", 16, 0, b"\x80\x80\xaa\xaa", (0xAAAA,), 128),
    ("RGB", 8, 2, b"\x05\x05\x05\x01\x02\x03", (1, 2, 3), 5),
    ("RGB of 16 bits", 16, 2, b"\x80" * 6 + b"\x01\x02\x03\x04\x05\x06", (258, 772, 1286), 128),
]


@pytest.mark.parametrize("case", TRANSPARENT_COLOURS, ids=lambda case: case[0])
def test_transparent_colour_of_any_depth(case):
    _, depth, kind, row, transparent, first = case
    found = pixels(png(1, 2, depth, kind, [row], transparent), background=MAGENTA)
    assert found.tolist() == [[[first] * 3, list(MAGENTA)]]


@pytest.mark.parametrize("kind", [2, 6])
def test_transparent_colour_is_told_by_all_its_bits(kind):
    """Colours that differ in their lower bytes alone look the same, and are not."""
    if kind == 6:  # has alpha: no colour is transparent
        found = pixels(png(1, 1, 16, kind, [bytes.fromhex("1234 2000 3000 ffff")]))
        assert found.tolist() == [[[0x12, 0x20, 0x30]]]
        return
    row = bytes.fromhex("1234 2000 3000  1235 2000 3000  1235 2001 3000")
    content = png(1, 3, 16, kind, [row], (0x1235, 0x2000, 0x3000))
    found = pixels(content, background=MAGENTA)
    assert found.tolist() == [[[0x12, 0x20, 0x30], list(MAGENTA), [0x12, 0x20, 0x30]]]


def test_grey_of_sixteen_bits_is_scaled():
    values = np.array([[0, 128, 129, 257, 32768, 65535 - 129, 65535]], dtype=np.uint16)
    expected = [[0, 0, 1, 1, 128, 254, 255]]
    for content in (
        encode(Image.fromarray(values), "PNG"),
        encode(Image.fromarray(values), "TIFF"),
        b"P5 7 1 65535\n" + values.astype(">u2").tobytes(),
    ):
        assert pixels(content)[..., 0].tolist() == expected


def test_pgm_has_a_range_of_its_own():
    values = np.array([[0, 500, 1000]], dtype=">u2")
    assert pixels(b"P5 3 1 1000\n" + values.tobytes())[0, :, 0].tolist() == [0, 128, 255]


def test_tiff_whose_zero_is_white():
    image = Image.fromarray(np.array([[0, 65535]], dtype=np.uint16))
    content = encode(image, "TIFF")
    tag = struct.pack("<HHIH", TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, 3, 1, 1)
    assert content.count(tag) == 1
    negative = content.replace(tag, tag[:-2] + b"\0\0")
    assert pixels(content)[0, :, 0].tolist() == [0, 255]
    assert pixels(negative)[0, :, 0].tolist() == [255, 0]


def tiff(values: np.ndarray, photometric: int, format_: int = 1) -> bytes:
    """A TIFF as few programs write it: an uncompressed plane (H, W) for each channel."""
    order = ">" if values.dtype.str[0] == ">" else "<"
    planes, height, width = values.shape
    bits, plane = 8 * values.dtype.itemsize, values[0].nbytes
    lists = {  # what is too long to stand in an entry
        258: (3, [bits] * planes),
        273: (4, [8 + plane * i for i in range(planes)]),
        279: (4, [plane] * planes),
        339: (3, [format_] * planes),
    }
    tags = {
        256: (3, [width]),
        257: (3, [height]),
        259: (3, [1]),
        262: (3, [photometric]),
        277: (3, [planes]),
        278: (3, [height]),
        284: (3, [2 if planes > 1 else 1]),
    } | lists
    start = 8 + values.nbytes
    entries, extra, at = b"", b"", start + 2 + 12 * len(tags) + 4
    for tag, (type_, items) in sorted(tags.items()):
        data = struct.pack(f"{order}{len(items)}{'H' if type_ == 3 else 'I'}", *items)
        if len(data) > 4:
            extra, data = extra + data, struct.pack(f"{order}I", at + len(extra))
        entries += struct.pack(f"{order}HHI", tag, type_, len(items)) + data.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    count = struct.pack(f"{order}H", len(tags))
    return head + values.tobytes() + count + entries + bytes(4) + extra


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("photometric", [2, 5], ids=["RGB", "CMYK"])
def test_planes_of_sixteen_bits_in_tiff(order, photometric):
    shades = np.asarray(scene()).transpose(2, 0, 1)
    if photometric == 5:
        inks = np.concatenate([shades, shades[:1]]).astype(f"{order}u2")
        with pytest.raises(DecodeError, match="CMYK of 16 bits in uncompressed planes"):
            decode(tiff(inks * 256 + 77, photometric))
        return
    content = tiff((shades.astype(np.uint16) * 256 + 77).astype(f"{order}u2"), photometric)
    assert (pixels(content) == np.asarray(scene())).all()


def test_integers_of_32_bits_have_a_sign_only_where_the_tiff_says_so():
    values = np.array([[[0, 2**30, 2**31, 3 * 2**30, 2**32 - 1]]], dtype="<u4")
    assert pixels(tiff(values, 1))[0, :, 0].tolist() == [0, 64, 128, 191, 255]
    assert pixels(tiff(values % 2**31, 1))[0, :, 0].tolist() == [0, 128, 0, 128, 255]
    signed = pixels(tiff(values, 1, format_=2))[0, :, 0].tolist()
    assert signed[2] == 0
    assert signed[1] == 255


@pytest.mark.parametrize("order", ["<", ">"])
def test_floats_of_a_tiff_whose_zero_is_white(order):
    values = np.array([[[0, 0.25, 1, np.nan, np.inf, -np.inf]]], dtype=f"{order}f4")
    assert pixels(tiff(values[..., :3], 0, format_=3))[0, :, 0].tolist() == [255, 191, 0]
    assert pixels(tiff(values, 0, format_=3))[0, :, 0].tolist() == [255, 191, 0, 0, 0, 255]
    assert pixels(tiff(values, 1, format_=3))[0, :, 0].tolist() == [0, 64, 255, 0, 255, 0]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([0, 0.5, 1], dtype=np.float32), [0, 128, 255]),
        (np.array([0, 128, 255], dtype=np.float32), [0, 128, 255]),
        (np.array([0, 100, 1000], dtype=np.float32), [0, 0, 4]),
        (np.array([-1, 0, 1], dtype=np.float32), [0, 128, 255]),
        (np.array([0, np.nan, np.inf, 1], dtype=np.float32), [0, 0, 255, 255]),
        (np.array([np.nan, np.nan], dtype=np.float32), [0, 0]),
        (np.array([0, 1, 255], dtype=np.int32), [0, 1, 255]),
        (np.array([0, 257, 65535], dtype=np.int32), [0, 1, 255]),
        (np.array([0, 2**30, 2**31 - 1], dtype=np.int32), [0, 128, 255]),
        (np.array([-(2**31), 2**31 - 1], dtype=np.int32), [0, 255]),
        (np.array([0, 0], dtype=np.int32), [0, 0]),
    ],
)
def test_types_without_a_range_are_scaled_by_their_values(values, expected):
    assert pixels(encode(Image.fromarray(values[None]), "TIFF"))[0, :, 0].tolist() == expected


def test_first_frame_of_many():
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "lime", "blue")]
    for format_, options in (
        ("GIF", {}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("MPO", {"quality": 95}),
    ):
        content = encode(frames[0], format_, save_all=True, append_images=frames[1:], **options)
        found = decode(content)
        assert found.original == (6, 8)
        assert close(pixels(content), (255, 0, 0), 2), format_


# -- colour profiles -------------------------------------------------------------------------------


def fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def profile(kind: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile, version 2, of a display."""
    body, table, at = b"", struct.pack(">I", len(tags)), 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">2I", at + len(body), len(data))
        body += data
    head = struct.pack(">I4sI4s4s4s", at + len(body), b"", 0x02100000, b"mntr", kind, b"XYZ ")
    head = head.ljust(36, b"\0") + b"acsp" + bytes(28) + fixed(0.9642, 1.0, 0.8249)
    return head.ljust(128, b"\0") + table + body


def gamma(value: float) -> bytes:
    return b"curv" + struct.pack(">2IH", 0, 1, round(value * 256))


def xyz(*values: float) -> bytes:
    return b"XYZ " + bytes(4) + fixed(*values)


WIDE = profile(  # Adobe RGB (1998): its published primaries, adapted to D50
    b"RGB ",
    {
        b"wtpt": xyz(0.9505, 1.0, 1.0891),
        b"rXYZ": xyz(0.60974, 0.31111, 0.01947),
        b"gXYZ": xyz(0.20528, 0.62567, 0.06087),
        b"bXYZ": xyz(0.14919, 0.06322, 0.74457),
        b"rTRC": gamma(2.19921875),
        b"gTRC": gamma(2.19921875),
        b"bTRC": gamma(2.19921875),
    },
)
LINEAR_GREY = profile(b"GRAY", {b"wtpt": xyz(0.9642, 1.0, 0.8249), b"kTRC": gamma(1.0)})
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def srgb_of_wide(colour) -> np.ndarray:
    """The definition of both spaces, in floating point."""
    to_xyz = np.array(
        [[0.57667, 0.18556, 0.18823], [0.29734, 0.62736, 0.07529], [0.02703, 0.07069, 0.99134]]
    )
    from_xyz = np.array(
        [[3.24045, -1.53714, -0.49853], [-0.96927, 1.87601, 0.04156], [0.05564, -0.20403, 1.05723]]
    )
    light = from_xyz @ to_xyz @ (np.array(colour) / 255) ** 2.19921875
    light = light.clip(0, 1)
    curve = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return (255 * curve).round()


@pytest.mark.parametrize("colour", [(100, 150, 100), (200, 120, 90), (128, 128, 128), (9, 9, 9)])
@pytest.mark.parametrize("format_", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_a_wide_profile_is_converted(colour, format_):
    options = {"PNG": {}, "TIFF": {}, "JPEG": {"quality": 100}, "WEBP": {"lossless": True}}
    content = encode(
        Image.new("RGB", (16, 16), colour), format_, icc_profile=WIDE, **options[format_]
    )
    assert np.abs(pixels(content) - srgb_of_wide(colour)).max() <= 3


def test_a_profile_of_grey_is_converted():
    content = encode(Image.new("L", (4, 4), 128), "PNG", icc_profile=LINEAR_GREY)
    assert np.abs(pixels(content) - 188).max() <= 1


def test_profiles_leave_alpha_alone():
    image = Image.new("RGBA", (4, 4), (200, 120, 90, 0))
    image.paste((200, 120, 90, 255), (0, 0, 2, 4))
    found = pixels(encode(image, "PNG", icc_profile=WIDE), background=MAGENTA)
    assert (found[:, 2:] == MAGENTA).all()
    assert np.abs(found[:, :2] - srgb_of_wide((200, 120, 90))).max() <= 3


def test_profiles_are_left_alone_where_asked():
    content = encode(Image.new("RGB", (4, 4), (200, 120, 90)), "PNG", icc_profile=WIDE)
    assert (pixels(content, icc=False) == (200, 120, 90)).all()


@pytest.mark.parametrize(("mode", "useful"), [("RGB", WIDE), ("L", LINEAR_GREY)])
def test_profiles_wait_for_the_small_picture(mode, useful):
    content = encode(scene().convert(mode), "PNG", icc_profile=useful)
    part = {"resized": Size(24, 32), "offset": Offset(0, 4), "crop": Size(24, 24)}
    found = resize_crop(decode(content).stored, **part)
    assert decode(content).stored.pixels.shape[0] == len(mode)
    expected = resize_crop(decode(content).image, **part)
    assert np.abs(found.numpy().astype(int) - expected.numpy()).mean() <= 1.5


@pytest.mark.parametrize(
    "useless", [SRGB, b"no profile", WIDE[:150], LINEAR_GREY], ids=["sRGB", "junk", "cut", "grey"]
)
def test_srgb_and_broken_profiles_change_no_byte(useless):
    assert (pixels(encode(scene(), "PNG", icc_profile=useless)) == as_rgb(scene())).all()


# -- orientation and scale -------------------------------------------------------------------------

TURN = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


def stored(orientation: int, height=48, width=64) -> tuple[Image.Image, Image.Exif]:
    """What a camera stores so that the scene is displayed upright."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    turned = TURN[orientation](np.asarray(scene(height, width)))
    return Image.fromarray(np.ascontiguousarray(turned)), exif


@pytest.mark.parametrize("orientation", TURN)
@pytest.mark.parametrize("format_", ["PNG", "WEBP", "TIFF", "JPEG", "AVIF"])
def test_orientation(orientation, format_):
    image, exif = stored(orientation)
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 98}, "AVIF": {"quality": 98}}
    content = encode(image, format_, exif=exif, **options.get(format_, {}))
    found = decode(content)
    assert found.original == (48, 64)
    assert close(pixels(content), as_rgb(scene()), 0 if format_ not in ("JPEG", "AVIF") else 3)


@pytest.mark.parametrize("orientation", [0, 9, 999])
def test_orientations_that_mean_nothing(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    assert (pixels(encode(scene(), "PNG", exif=exif)) == as_rgb(scene())).all()


def test_broken_exif_is_no_failure_and_no_warning():
    content = encode(scene(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x09\x01\x12")
    with warnings.catch_warnings(record=True) as leaked:
        warnings.simplefilter("always")
        assert decode(content).original == (48, 64)
    assert not leaked


SPARE = {"fast": 1, "balanced": Fraction(5, 4), "exact": math.inf}  # times the wanted size


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 200), st.integers(1, 200)),
    st.tuples(st.integers(1, 80), st.integers(1, 80)),
    st.sampled_from(list(TURN)),
    st.sampled_from(list(SPARE)),
    st.sampled_from(["RGB", "L", "CMYK"]),
)
def test_scale_of_a_jpeg(size, wanted, orientation, quality, mode):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    height, width = size if orientation < 5 else size[::-1]
    content = encode(Image.new(mode, (width, height)), "JPEG", exif=exif)
    found = decode(content, wanted=Size(*wanted), quality=quality)
    assert found.original == size
    scalable = mode != "CMYK" and min(size) >= 8
    scale = next(
        scale
        for scale in ((8, 4, 2, 1) if scalable else (1,))
        if scale == 1
        or all(w * SPARE[quality] * scale <= s for w, s in zip(wanted, size, strict=True))
    )
    assert tuple(found.image.shape[1:]) == tuple(-(-side // scale) for side in size)
    assert found.stored.extent == (height / scale, width / scale)


@pytest.mark.parametrize("orientation", TURN)
def test_a_scaled_jpeg_shows_the_same_picture(orientation):
    image, exif = stored(orientation, 192, 256)
    content = encode(image, "JPEG", exif=exif, quality=95)
    found = decode(content, wanted=Size(24, 32))
    assert (tuple(found.image.shape), found.original) == ((3, 48, 64), (192, 256))
    assert close(found.image.permute(1, 2, 0).numpy().astype(int), as_rgb(scene()), 4)


@pytest.mark.parametrize("orientation", TURN)
@pytest.mark.parametrize("quality", SPARE)
@pytest.mark.parametrize("size", [(203, 157), (131, 210), (97, 95)])
def test_a_scaled_jpeg_lies_where_the_whole_would(size, quality, orientation):
    # shades tell the place, and no side is a multiple of 8
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    turned = TURN[orientation](np.asarray(scene(*size)))
    image = Image.fromarray(np.ascontiguousarray(turned))
    content = encode(image, "JPEG", quality=97, exif=exif)
    for wanted in (Size(*(side // 2 for side in size)), Size(*(side // 5 for side in size))):
        found = resize_crop(
            decode(content, wanted=wanted, quality=quality).stored,
            resized=wanted,
            offset=Offset(1, 2),
            crop=Size(wanted.height - 2, wanted.width - 3),
        )
        blue, pixel = 1.5, 255 / max(wanted)
        y, x = np.mgrid[1 : wanted.height - 1, 2 : wanted.width - 1] + 0.5
        red = 255 * (x / wanted.width * size[1] - 0.5) / (size[1] - 1)
        green = 255 * (y / wanted.height * size[0] - 0.5) / (size[0] - 1)
        for channel, expected in ((0, red), (1, green)):
            shift = (found[channel].numpy() - expected)[1:-1, 1:-1]
            assert np.abs(shift).mean() <= 0.25 * pixel + blue


# -- decoders ------------------------------------------------------------------------------------


def by_pillow(content: bytes, **options) -> np.ndarray:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "_decode_sooner", lambda *_: None)
        return pixels(content, **options)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_jpegs_have_the_same_bytes_by_any_decoder(mode, progressive, subsampling):
    noise = np.random.default_rng(0).integers(0, 256, (101, 67, 3), dtype=np.uint8)
    content = encode(
        Image.fromarray(noise).convert(mode),
        "JPEG",
        quality=85,
        progressive=progressive,
        subsampling=subsampling,
    )
    for side in (100, 40, 20, 10):
        options = {"wanted": Size(side, side // 2), "quality": "fast"}
        found, expected = pixels(content, **options), by_pillow(content, **options)
        assert found.shape == expected.shape
        assert (found == expected).all(), side


def test_webps_have_the_same_bytes_by_any_decoder():
    noise = np.random.default_rng(0).integers(0, 256, (101, 67, 3), dtype=np.uint8)
    for options in ({"quality": 80}, {"lossless": True}):
        content = encode(Image.fromarray(noise), "WEBP", **options)
        assert (pixels(content) == by_pillow(content)).all()


def test_what_a_strict_decoder_refuses_pillow_may_forgive():
    content = encode(scene(), "JPEG", quality=95)
    littered = content[:-2] + bytes(9) + content[-2:]
    assert decode_jpeg(content, "RGB", Size(48, 64), 8) is not None
    assert decode_jpeg(littered, "RGB", Size(48, 64), 8) is None
    assert (pixels(littered) == pixels(content)).all()


# -- failures --------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "AVIF"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_a_truncated_file_fails(format_, share):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = encode(Image.fromarray(noise), format_)
    with pytest.raises(DecodeError):
        decode(content[: int(share * len(content))], name="cut")
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_errors_name_the_file_and_the_reason(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("no image at all")
    for name, reason, lasting in (
        ("empty.jpg", "empty: 0 bytes", True),
        ("text.jpg", "not an image", True),
        ("none.jpg", f"{headers.UNOPENED}: No such file", False),
        ("", f"{headers.UNOPENED}: Is a directory", False),
        ("a\0b", f"{headers.UNOPENED}: ", False),
    ):
        path = str(tmp_path / name)
        with pytest.raises(DecodeError) as caught:
            decode(path)
        error = caught.value
        assert error.path == path
        assert error.reason.startswith(reason)
        assert error.lasting == lasting
        assert repr(path) in str(error)
        assert error.reason in str(error)


def test_an_unknown_quality_is_no_fault_of_the_file():
    with pytest.raises(ValueError, match="quality='best' must be one of fast, balanced, exact"):
        decode(encode(scene(), "JPEG"), quality="best")


def test_errors_cross_processes():
    error = DecodeError.of("a.jpg", "empty", lasting=False)
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.path, copy.reason, copy.lasting) == (
        str(error),
        "a.jpg",
        "empty",
        False,
    )
    # as torch hands on the error of a worker
    assert isinstance(DecodeError(str(error)), DataError)


def test_the_limit_of_pixels_is_our_own(monkeypatch):
    content = encode(scene(), "PNG")
    with pytest.raises(DecodeError, match=r"48 x width 64 = 3,072 exceed max_image_pixels=3,071"):
        decode(content, max_image_pixels=3071)
    before = Image.MAX_IMAGE_PIXELS
    assert decode(content, max_image_pixels=3072).original == (48, 64)
    assert before == Image.MAX_IMAGE_PIXELS
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert decode(content).original == (48, 64)


def test_a_bomb_is_refused_before_it_goes_off():
    with pytest.raises(DecodeError, match="too many pixels"):
        decode(png(60_000, 60_000, 8, 2, [b""]))
