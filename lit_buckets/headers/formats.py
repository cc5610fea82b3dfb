"""The formats that are read."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = [
    "FORMATS",
    "MAX_METADATA",
    "SUFFIXES",
    "TGA_SUFFIXES",
    "UNREADABLE_SUFFIXES",
    "UnusualError",
    "quiet",
]

#: Pillow's names of the formats that are read: those that decode without another program.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM", "JPEG2000")

#: Bytes beyond which metadata are no header but an attack.
MAX_METADATA = 16 * 2**20

#: TGA has no magic number, so its reader would take some files that are no image at all.
TGA_SUFFIXES = frozenset({".tga", ".icb", ".vda", ".vst"})
#: Of widespread formats that Pillow cannot decode: they are refused by name.
UNREADABLE_SUFFIXES = frozenset({".heic", ".heif", ".jxl"})
#: Suffixes, in lower case, of the files that count as images.
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".avif", ".gif", ".bmp"}
    | {".dib", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".jpf"}
    | TGA_SUFFIXES
    | UNREADABLE_SUFFIXES
)


class UnusualError(ValueError):
    """What a parser of ours raises where only Pillow knows what it makes of a header."""


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what Pillow warns about or logs, such as broken EXIF. It changes process globals."""
    import logging  # here, because helper processes are never quiet, and shall be ready at once

    logger = logging.getLogger("PIL")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            logger.setLevel(level)
