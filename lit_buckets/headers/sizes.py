"""The displayed size of an image, or the reason why it is refused."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, TypeAlias

from lit_buckets.headers.content import Content, FileContent
from lit_buckets.headers.formats import quiet
from lit_buckets.headers.jpeg import jpeg_size
from lit_buckets.headers.png import png_size
from lit_buckets.headers.webp import webp_size

__all__ = [
    "MAX_IMAGE_PIXELS",
    "UNOPENED",
    "Demands",
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


class Demands(NamedTuple):
    """What is demanded of an image; one that does not meet it is refused.

    Attributes:
        max_image_pixels: Largest product of both sides, in pixels.
        min_image_side: Shortest side, in pixels.
        max_image_ratio: Longest that an image may be, as longer side over shorter; None for any.
        decodes: Whether its pixels must decode, which takes a hundred times longer to find out.
    """

    max_image_pixels: int = MAX_IMAGE_PIXELS
    min_image_side: int = 1
    max_image_ratio: float | None = None
    decodes: bool = False


_USUAL = Demands()


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


def read_header(path: str | os.PathLike[str], demands: Demands = _USUAL) -> Header:
    """Displayed size of an image file, from its headers.

    A file whose pixels are cut short or broken is noticed only if `demands` ask for that.

    Args:
        path: The image file; its suffix matters for TGA only.
        demands: What the image must be.

    Returns:
        The size, or the reason why the file is refused. Nothing is raised or warned about.

    Example:
        >>> read_header("no/such/file.png").refused
        'cannot be opened: No such file or directory'
    """
    with quiet():
        return read_quietly(os.fspath(path), demands)


def read_header_from(content: Content, demands: Demands = _USUAL, *, suffix: str = "") -> Header:
    """Displayed size of an image, wherever its bytes lie.

    Args:
        content: The image's bytes, of which a few short pieces are read.
        demands: What the image must be.
        suffix: Suffix of the image's name, with its dot; it matters for TGA only.

    Returns:
        The size, or the reason why the image is refused. Nothing is raised or warned about.

    Example:
        >>> from lit_buckets.headers import MemoryContent
        >>> read_header_from(MemoryContent(b"")).refused
        'empty: 0 bytes'
    """
    with quiet():
        return _read(content, suffix, demands)


def read_quietly(
    file: str, demands: Demands, offset: int = 0, length: int = -1, suffix: str = ""
) -> Header:
    """The same of a local file or a stretch of it, for callers that are within `quiet` already."""
    try:
        content = FileContent(file, offset, length)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        return _unopened(error)
    try:
        return _read(content, suffix or file, demands)
    finally:
        content.close()


class _RefusedError(Exception):
    """Carries the reason why a file is refused."""


def _read(content: Content, name: str, demands: Demands) -> Header:
    try:
        height, width = size = _measure(content, name)
        _check(height, width, demands)
        if demands.decodes:
            _decode(content, name, size)
        return Header(height, width)
    except _RefusedError as refusal:
        return Header(0, 0, str(refusal))
    except OSError as error:
        return _unopened(error)


def _unopened(error: OSError | ValueError) -> Header:
    return Header(0, 0, f"{UNOPENED}: {getattr(error, 'strerror', None) or _one_line(error)}")


def _check(height: int, width: int, demands: Demands) -> None:
    short, long = (height, width) if height < width else (width, height)
    if short * long > demands.max_image_pixels:
        raise _RefusedError(
            f"too many pixels: {_told(height, width)} = {height * width:,} "
            f"exceed max_image_pixels={demands.max_image_pixels:,}"
        )
    if short < demands.min_image_side:
        raise _RefusedError(
            f"too small: {_told(height, width)}; min_image_side={demands.min_image_side:,}"
        )
    if demands.max_image_ratio is not None and long > short * demands.max_image_ratio:
        raise _RefusedError(
            f"too long: {_told(height, width)}, a ratio of {long / short:.4g}; "
            f"max_image_ratio={demands.max_image_ratio:g}"
        )
    if long > _MAX_SIDE:
        raise _RefusedError(f"too long: {_told(height, width)}; no side may exceed {_MAX_SIDE:,}")


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
    return _ask_pillow(content, head, _suffix(name))


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


def _decode(content: Content, name: str, size: _Size) -> None:
    """Make sure that the pixels decode, and to this size."""
    from lit_buckets.headers.pillow import decoded_size

    try:
        height, width = decoded_size(content, _suffix(name))
    except Exception as error:  # decoders of hostile bytes raise anything, MemoryError as well
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise _RefusedError(f"does not decode: {_one_line(error)}") from None
    if (height, width) != size:
        raise _RefusedError(
            f"does not decode: to height {height:,} x width {width:,} instead of "
            f"{size[0]:,} x {size[1]:,}"
        )


def _told(height: int, width: int) -> str:
    return f"height {height:,} x width {width:,}"


def _suffix(name: str) -> str:
    return name[name.rfind(".") :]


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 120 else text[:117] + "..."
