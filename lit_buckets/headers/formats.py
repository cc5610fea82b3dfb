"""The formats that are read, and how Pillow opens them."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from PIL import (  # each registers its format
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TgaImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

__all__ = ["FORMATS", "SUFFIXES", "UnusualError", "identify", "open_as", "open_image", "quiet"]

#: Pillow's names of the formats that are read: those that decode without another program.
FORMATS: tuple[str, ...] = (
    JpegImagePlugin.JpegImageFile.format,
    PngImagePlugin.PngImageFile.format,
    WebPImagePlugin.WebPImageFile.format,
    AvifImagePlugin.AvifImageFile.format,
    GifImagePlugin.GifImageFile.format,
    BmpImagePlugin.BmpImageFile.format,
    TiffImagePlugin.TiffImageFile.format,
    PpmImagePlugin.PpmImageFile.format,
    Jpeg2KImagePlugin.Jpeg2KImageFile.format,
)
_TGA = TgaImagePlugin.TgaImageFile.format
# TGA has no magic number, so its reader would take some files that are no image at all
_TGA_SUFFIXES = frozenset({".tga", ".icb", ".vda", ".vst"})
_UNREADABLE_SUFFIXES = frozenset({".heic", ".heif", ".jxl"})

#: Suffixes, in lower case, of the files that count as images. It includes widespread formats
#: that Pillow cannot decode: their files are refused by name instead of being passed over.
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".avif", ".gif", ".bmp"}
    | {".dib", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".jpf"}
    | _TGA_SUFFIXES
    | _UNREADABLE_SUFFIXES
)


class UnusualError(ValueError):
    """What a parser of ours raises where only Pillow knows what it makes of a header."""


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
    return open_as(identify(file.read(16), suffix), file)


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
    if suffix.lower() in _TGA_SUFFIXES:
        return _TGA
    if suffix.lower() in _UNREADABLE_SUFFIXES:
        raise UnidentifiedImageError(f"unsupported: Pillow does not read {suffix[1:].upper()}")
    raise UnidentifiedImageError("not an image in a format that is read")


def open_as(name: str, file: IO[bytes]) -> ImageFile.ImageFile:
    """Open an image in a format that is known.

    Args:
        name: Pillow's name of the format.
        file: Binary and seekable.

    Raises:
        Exception: Whatever Pillow raises on a broken header.
    """
    file.seek(0)
    return Image.OPEN[name][0](file, "")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what Pillow warns about or logs, such as broken EXIF. It changes process globals."""
    logger = logging.getLogger("PIL")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            logger.setLevel(level)
