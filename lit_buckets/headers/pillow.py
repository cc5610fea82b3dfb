"""Images as Pillow opens them: the judge in all cases that no parser of ours takes on."""

from __future__ import annotations

import io
import struct
import zlib
from typing import IO, TypeAlias

from PIL import (  # each registers its format
    AvifImagePlugin,  # noqa: F401
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    ImageFile,
    Jpeg2KImagePlugin,  # noqa: F401
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,  # noqa: F401
    TgaImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from lit_buckets.headers.content import Content, ContentFile
from lit_buckets.headers.exif import ORIENTATION, TURNED
from lit_buckets.headers.formats import (
    FORMATS,
    MAX_METADATA,
    TGA_SUFFIXES,
    UNREADABLE_SUFFIXES,
)
from lit_buckets.headers.png import MAGIC, METADATA, chunks_after_pixels

__all__ = ["decoded_size", "identify", "open_image", "pillow_size"]

#: What Pillow keeps of an image beside its pixels: its `info`.
_Info: TypeAlias = "dict[str | tuple[int, int], object]"

_TGA = TgaImagePlugin.TgaImageFile.format
# read from first to last by Pillow, or with tags of any length: no limit on bytes
_READ_WHOLE = frozenset({"WEBP", "AVIF", "TIFF"})


def open_image(file: IO[bytes], suffix: str = "") -> ImageFile.ImageFile:
    """Open an image as ``PIL.Image.open`` does, with two differences.

    Only `FORMATS` are tried (and TGA where the suffix says so), so that no file can reach a
    reader that starts another program. And Pillow's own limit of pixels is left to the caller,
    whose limit it may not be.

    Args:
        file: Binary and seekable; it must stay open until the pixels are loaded.
        suffix: Suffix of the file's name, with its dot.

    Returns:
        The image with its headers read; pixels are not decoded.

    Raises:
        UnidentifiedImageError: If the file is in none of the formats.
        Exception: Whatever Pillow raises on a broken header.
    """
    file.seek(0)
    return _open_as(identify(file.read(16), suffix), file)


def identify(prefix: bytes, suffix: str) -> str:
    """Pillow's name of the format.

    Args:
        prefix: A file's first 16 bytes.
        suffix: Suffix of its name, with its dot; for what has no magic number.

    Raises:
        UnidentifiedImageError: If it is none of `FORMATS`.
    """
    for name in FORMATS:
        accept = Image.OPEN[name][1]
        answer = accept(prefix) if accept is not None else False
        if isinstance(answer, str):
            raise UnidentifiedImageError(f"unsupported: {answer}")
        if answer:
            return name
    if suffix.lower() in TGA_SUFFIXES:
        return _TGA
    if suffix.lower() in UNREADABLE_SUFFIXES:
        raise UnidentifiedImageError(f"unsupported: Pillow does not read {suffix[1:].upper()}")
    raise UnidentifiedImageError("not an image in a format that is read")


def _open_as(name: str, file: IO[bytes]) -> ImageFile.ImageFile:
    file.seek(0)
    return Image.OPEN[name][0](file, "")


def pillow_size(content: Content, name: str) -> tuple[int, int]:
    """Height and width, as displayed.

    Args:
        content: The file.
        name: Pillow's name of its format.

    Raises:
        Exception: Whatever Pillow raises on a broken header.
    """
    limit = float("inf") if name in _READ_WHOLE else MAX_METADATA
    image = _open_as(name, io.BufferedReader(ContentFile(content, limit)))
    width, height = image.size
    if isinstance(image, PngImagePlugin.PngImageFile):
        turned = _turns(image.info | _late_metadata(content, image))
    elif isinstance(image, TiffImagePlugin.TiffImageFile) and ORIENTATION in image.tag_v2:
        turned = False  # Pillow has turned the size already
    else:
        turned = _is_turned(image)
    return (width, height) if turned else (height, width)


def decoded_size(content: Content, suffix: str) -> tuple[int, int]:
    """Height and width of an image once all of its data are decoded.

    Args:
        content: The file.
        suffix: Suffix of its name, with its dot.

    Raises:
        Exception: Whatever Pillow raises where the image does not decode.
    """
    image = open_image(io.BufferedReader(ContentFile(content, float("inf"))), suffix)
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        width, height = image.size
        image.draft(None, (1, 1))  # all data are read, but few pixels made of them
        image.load()
    else:
        image.load()
        width, height = image.size  # a TIFF is turned by now
    return (width, height) if _is_turned(image) else (height, width)


def _is_turned(image: Image.Image) -> bool:
    """Whether the displayed picture has the stored height for its width."""
    try:
        # the base class's method: a PNG's own would decode all pixels first
        return Image.Image.getexif(image).get(ORIENTATION) in TURNED
    except Exception:  # broken EXIF: displayed as stored
        return False


def _turns(info: _Info) -> bool:
    """Whether metadata alone turn the picture; Pillow itself decides what they mean."""
    if not info.keys() & {"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"}:
        return False
    image = Image.new("1", (1, 1))
    image.info = info
    return _is_turned(image)


def _late_metadata(content: Content, image: PngImagePlugin.PngImageFile) -> _Info:
    """Metadata that follow a PNG's pixels, as Pillow sees them once it has decoded these."""
    start = image.tile[0][2] - 8 if image.tile else content.length
    found: list[tuple[bytes, bytes]] = []
    for kind, at, size in chunks_after_pixels(content, start, image.is_animated):
        if kind in METADATA and size <= MAX_METADATA:
            data = content.pread(at, size)
            found += [(kind, data)] if len(data) == size else []
    if not found:
        return {}
    # Pillow reads them if they stand before the pixels of an image, be it of a single one
    pixel = [(b"IHDR", struct.pack(">2I5B", 1, 1, 8, 0, 0, 0, 0))]
    end = [(b"IDAT", zlib.compress(bytes(2))), (b"IEND", b"")]
    png = MAGIC + b"".join(_chunk(*chunk) for chunk in pixel + found + end)
    return dict(_open_as("PNG", io.BytesIO(png)).info)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
