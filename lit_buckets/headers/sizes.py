"""The displayed size of an image, or the reason why it is refused."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeAlias

from lit_buckets.headers.content import Content, FileContent
from lit_buckets.headers.formats import quiet
from lit_buckets.headers.jpeg import jpeg_size
from lit_buckets.headers.png import png_size
from lit_buckets.headers.webp import webp_size

__all__ = [
    "MAX_IMAGE_PIXELS",
    "UNOPENED",
    "Header",
    "read_header",
    "read_header_from",
    "read_quietly",
]

#: Pixels above which an image is refused, unless the caller sets another limit. It is the
#: number at which Pillow, too, begins to suspect a decompression bomb.
MAX_IMAGE_PIXELS = 178_956_970

#: How the reason begins where the file could not be opened or read: another try may succeed.
UNOPENED = "cannot be opened"

_MAX_SIDE = 2**31 - 1  # pixels; the manifest stores 32-bit sides
_HEAD = 4096  # bytes that are read first

_Size: TypeAlias = "tuple[int, int]"  # (height, width)

#: Parsers of our own, by the bytes that files begin with. They leave to Pillow what is unusual.
_PARSERS: tuple[tuple[bytes, Callable[[Content, bytes], _Size]], ...] = (
    (b"\xff\xd8\xff", jpeg_size),
    (b"\x89PNG\r\n\x1a\n", png_size),
    (b"RIFF", webp_size),
)


class Header(NamedTuple):
    """Displayed size of an image file in pixels, or the reason why it is refused.

    Attributes:
        height: Pixels, EXIF orientation applied; 0 if refused.
        width: Pixels, EXIF orientation applied; 0 if refused.
        refused: Why the file cannot be used, as a short sentence; "" if it can.
    """

    height: int
    width: int
    refused: str = ""


def read_header(path: str | Path, *, max_image_pixels: int = MAX_IMAGE_PIXELS) -> Header:
    """Displayed size of an image file, from its headers.

    A file whose pixels are cut short or broken is not noticed here, since none are decoded.

    Args:
        path: The image file; its suffix matters for TGA only.
        max_image_pixels: Largest product of both sides, in pixels.

    Returns:
        The size, or the reason why the file is refused. Nothing is raised or warned about.

    Example:
        >>> read_header("no/such/file.png").refused
        'cannot be opened: No such file or directory'
    """
    with quiet():
        return read_quietly(str(path), max_image_pixels)


def read_header_from(
    content: Content, *, suffix: str = "", max_image_pixels: int = MAX_IMAGE_PIXELS
) -> Header:
    """Displayed size of an image, wherever its bytes lie.

    Args:
        content: The image's bytes, of which a few short pieces are read.
        suffix: Suffix of the image's name, with its dot; it matters for TGA only.
        max_image_pixels: Largest product of both sides, in pixels.

    Returns:
        The size, or the reason why the image is refused. Nothing is raised or warned about.

    Example:
        >>> from lit_buckets.headers import MemoryContent
        >>> read_header_from(MemoryContent(b"")).refused
        'empty: 0 bytes'
    """
    with quiet():
        return _read(content, suffix, max_image_pixels)


def read_quietly(
    file: str, max_image_pixels: int, offset: int = 0, length: int = -1, suffix: str = ""
) -> Header:
    """The same of a local file or a stretch of it, for callers that are within `quiet` already."""
    try:
        content = FileContent(file, offset, length)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        return _unopened(error)
    try:
        return _read(content, suffix or file, max_image_pixels)
    finally:
        content.close()


class _RefusedError(Exception):
    """Carries the reason why a file is refused."""


def _read(content: Content, name: str, max_image_pixels: int) -> Header:
    try:
        return _check(_measure(content, name), max_image_pixels)
    except _RefusedError as refusal:
        return Header(0, 0, str(refusal))
    except OSError as error:
        return _unopened(error)


def _unopened(error: OSError | ValueError) -> Header:
    return Header(0, 0, f"{UNOPENED}: {getattr(error, 'strerror', None) or _one_line(error)}")


def _check(size: _Size, max_image_pixels: int) -> Header:
    height, width = size
    if height * width > max_image_pixels:
        raise _RefusedError(
            f"too many pixels: height {height:,} x width {width:,} = {height * width:,} "
            f"exceed max_image_pixels={max_image_pixels:,}"
        )
    if max(size) > _MAX_SIDE:
        raise _RefusedError(f"too long: a side of {max(size):,} pixels exceeds {_MAX_SIDE:,}")
    return Header(height, width)


def _measure(content: Content, name: str) -> _Size:
    """Displayed size of an image.

    Raises:
        _RefusedError: If it has none, whatever the reason.
        OSError: If the bytes cannot be read.
    """
    head = content.pread(0, _HEAD)
    for magic, parse in _PARSERS:
        if head.startswith(magic):
            with suppress(ValueError, LookupError, struct.error):
                return parse(content, head)
    if not head:
        raise _RefusedError("empty: 0 bytes")
    return _ask_pillow(content, head, name[name.rfind(".") :])


def _ask_pillow(content: Content, head: bytes, suffix: str) -> _Size:
    """Size as Pillow finds it: the judge in all cases that no parser of ours takes on."""
    # here, because most helper processes never need it, and it takes most of their start
    from PIL import Image, UnidentifiedImageError

    from lit_buckets.headers.pillow import identify, pillow_size

    try:
        name = identify(head[:16], suffix)
    except UnidentifiedImageError as error:
        raise _RefusedError(f"{error} ({content.length:,} bytes)") from None
    try:
        return pillow_size(content, name)
    except Image.DecompressionBombError as error:  # a check of Pillow's own within a format
        raise _RefusedError(f"too many pixels: {_one_line(error)}") from None
    except Exception as error:  # parsers of hostile bytes raise anything
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise _RefusedError(
            f"broken or truncated {name} header ({content.length:,} bytes): {_one_line(error)}"
        ) from None


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 120 else text[:117] + "..."
