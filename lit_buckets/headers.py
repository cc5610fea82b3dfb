"""What the setup pass reads of a file: an image's displayed size from its headers, and a caption.

Pixels are never decoded. Sizes are exactly those that a later decode and
``PIL.ImageOps.exif_transpose`` give, with orientations from EXIF and XMP, from metadata that
follows the pixels (PNG), and from formats that Pillow turns by itself (TIFF, AVIF).

The module imports nothing of this package: helper processes load it from its file and are
ready in the time that Pillow takes. Functions named ``read_...`` never raise for what a file
holds, and Pillow's ``MAX_IMAGE_PIXELS`` is neither asked nor changed.
"""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import struct
import sys
import warnings
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple, TypeAlias

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

__all__ = [
    "FORMATS",
    "MAX_IMAGE_PIXELS",
    "SUFFIXES",
    "UNOPENED",
    "FileRead",
    "Header",
    "Job",
    "open_image",
    "quiet",
    "read_caption",
    "read_files",
    "read_header",
]

#: Pixels above which an image is refused, unless the caller sets another limit. It is the
#: number at which Pillow, too, begins to suspect a decompression bomb.
MAX_IMAGE_PIXELS = 178_956_970

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

#: How the reason begins where the file could not be opened or read: another try may succeed.
UNOPENED = "cannot be opened"

_MAX_SIDE = 2**31 - 1  # pixels; the manifest stores 32-bit sides
_MAX_HEADER = 16 * 2**20  # bytes; metadata beyond this is no header but an attack
_MAX_CAPTION = 2**20  # bytes
_MAX_CHUNKS = 2**17  # chunks of one PNG
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PNG_TAIL = 32 * 2**10  # bytes
_PNG_METADATA = frozenset({b"eXIf", b"tEXt", b"zTXt", b"iTXt"})
# read from first to last by Pillow, or with tags of any length: no limit on bytes
_READ_WHOLE = frozenset({"WEBP", "AVIF", "TIFF"})

_Size: TypeAlias = "tuple[int, int]"  # (height, width)
#: An image file and a caption file to read; "" where one of them is not wanted.
Job: TypeAlias = "tuple[str, str]"


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


class FileRead(NamedTuple):
    """What `read_files` found for one job.

    Attributes:
        height: Pixels, as displayed; 0 if refused or not wanted.
        width: Pixels, as displayed; 0 if refused or not wanted.
        refused: Why the image cannot be used; "" if it can, or was not wanted.
        caption: Text of the caption file; None if it could not be read.
    """

    height: int
    width: int
    refused: str
    caption: str | None


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
        return _read_header(str(path), max_image_pixels)


def read_caption(path: str | Path) -> str | None:
    """Text of a caption file: UTF-8, a byte order mark dropped, invalid bytes replaced, stripped.

    Args:
        path: The caption file. Beyond the first 2**20 bytes nothing is read.

    Returns:
        The text; "" if there is no such file; None if it cannot be read.
    """
    try:
        with io.FileIO(path) as file:
            text = file.read(_MAX_CAPTION) or b""
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, ValueError):
        return None
    return text.decode("utf-8-sig", errors="replace").strip()


def read_files(jobs: Iterable[Job], max_image_pixels: int) -> list[FileRead]:
    """Headers and captions of many files, in the order of the jobs.

    Call it within `quiet`, and with threads within one that is around them all.
    """
    nothing = Header(0, 0)
    return [
        FileRead(
            *(_read_header(image, max_image_pixels) if image else nothing),
            caption=read_caption(caption) if caption else "",
        )
        for image, caption in jobs
    ]


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
    name = _identify(file.read(16), suffix)
    return _open_as(name, file)


def serve() -> None:
    """Answer batches of jobs on standard input, one JSON document per line, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted, and closes the pipe
    with quiet():
        for line in sys.stdin.buffer:
            jobs, max_image_pixels = json.loads(line)
            answer = json.dumps(read_files(jobs, max_image_pixels))
            sys.stdout.buffer.write(answer.encode() + b"\n")
            sys.stdout.buffer.flush()


class _HeaderFile(io.FileIO):
    """An unbuffered file that stops a reader which never comes to an end."""

    left: float = _MAX_HEADER

    def readinto(self, buffer: memoryview, /) -> int | None:  # type: ignore[override]
        count = super().readinto(buffer)
        self.left -= count or 0
        if self.left < 0:
            raise OSError(f"no end of the header within {_MAX_HEADER:,} bytes")
        return count


def _read_header(path: str, max_image_pixels: int) -> Header:
    try:
        with _HeaderFile(path) as raw:
            return _check(_measure(raw, path), max_image_pixels)
    except _RefusedError as refusal:
        return Header(0, 0, str(refusal))
    except OSError as error:
        return Header(0, 0, f"{UNOPENED}: {error.strerror or _one_line(error)}")
    except ValueError as error:  # a NUL in the name
        return Header(0, 0, f"{UNOPENED}: {_one_line(error)}")


class _RefusedError(Exception):
    """Carries the reason why a file is refused."""


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


def _measure(raw: _HeaderFile, path: str) -> _Size:
    """Displayed size of an open file.

    Raises:
        _RefusedError: If it has none, whatever the reason.
        OSError: If the file system fails.
    """
    prefix = raw.read(32) or b""
    length = os.fstat(raw.fileno()).st_size
    suffix = os.path.splitext(path)[1].lower()  # noqa: PTH122 - many times faster than pathlib
    if not length:
        raise _RefusedError("empty: 0 bytes")
    try:
        name = _identify(prefix[:16], suffix)
    except UnidentifiedImageError as error:
        raise _RefusedError(f"{error} ({length:,} bytes)") from None
    if name in _READ_WHOLE:
        raw.left = float("inf")
    try:
        size = _webp_size(raw, prefix, length) if name == "WEBP" else None
        return size or _pillow_size(raw, name, length)
    except Image.DecompressionBombError as error:  # a check of Pillow's own within a format
        raise _RefusedError(f"too many pixels: {_one_line(error)}") from None
    except Exception as error:  # parsers of hostile bytes raise anything
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise _RefusedError(
            f"broken or truncated {name} header ({length:,} bytes): {_one_line(error)}"
        ) from None


def _identify(prefix: bytes, suffix: str) -> str:
    """Pillow's name of the format, from a file's first 16 bytes."""
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


def _open_as(name: str, file: IO[bytes]) -> ImageFile.ImageFile:
    file.seek(0)
    return Image.OPEN[name][0](file, "")


def _pillow_size(raw: _HeaderFile, name: str, length: int) -> _Size:
    file = io.BufferedReader(raw)
    try:
        image = _open_as(name, file)
        width, height = image.size
        if isinstance(image, PngImagePlugin.PngImageFile):
            turned = _turned(image.info | _late_png_info(raw, image, length))
        elif isinstance(image, TiffImagePlugin.TiffImageFile) and _ORIENTATION in image.tag_v2:
            turned = False  # Pillow has turned the size already
        else:
            turned = _is_turned(image)
        return (width, height) if turned else (height, width)
    finally:
        file.detach()  # or it would close the raw file before its owner does


_ORIENTATION = 0x0112


def _is_turned(image: Image.Image) -> bool:
    """Whether the displayed picture has the stored height for its width."""
    try:
        # the base class's method: a PNG's own would decode all pixels first
        return Image.Image.getexif(image).get(_ORIENTATION) in (5, 6, 7, 8)
    except Exception:  # broken EXIF: displayed as stored
        return False


def _turned(info: dict[str | tuple[int, int], object]) -> bool:
    """The same from metadata alone; Pillow itself decides what they mean."""
    if not info.keys() & {"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"}:
        return False
    image = Image.new("1", (1, 1))
    image.info = info
    return _is_turned(image)


def _late_png_info(
    raw: _HeaderFile, image: PngImagePlugin.PngImageFile, length: int
) -> dict[str | tuple[int, int], object]:
    """Metadata that follow a PNG's pixels, as Pillow sees them once it has decoded these."""
    start = image.tile[0][2] - 8 if image.tile else length
    found: list[tuple[bytes, bytes]] = []
    for kind, at, size in _chunks_after_pixels(raw, start, length, image.is_animated):
        if kind in _PNG_METADATA and size <= _MAX_HEADER:
            raw.seek(at)
            data = raw.read(size) or b""
            found += [(kind, data)] if len(data) == size else []
    if not found:
        return {}
    # Pillow reads them if they stand before the pixels of an image, be it of a single one
    pixel = [(b"IHDR", struct.pack(">2I5B", 1, 1, 8, 0, 0, 0, 0))]
    end = [(b"IDAT", zlib.compress(bytes(2))), (b"IEND", b"")]
    png = _PNG_MAGIC + b"".join(_png_chunk(*chunk) for chunk in pixel + found + end)
    return dict(_open_as("PNG", io.BytesIO(png)).info)


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _chunks_after_pixels(
    raw: _HeaderFile, start: int, length: int, animated: bool
) -> Iterator[tuple[bytes, int, int]]:
    """Chunks from a PNG's pixels on: (kind, position of the data, its length in bytes)."""
    if animated:  # Pillow stops where the second frame begins
        for chunk in _png_chunks(raw, start):
            if chunk[0] == b"fcTL":
                return
            yield chunk
        return
    # Thousands of small chunks of pixels are common. The last of them lies near the file's end,
    # and one read finds it: from there, chunk must follow chunk up to exactly the end.
    tail_start = max(start, length - _PNG_TAIL)
    raw.seek(tail_start)
    tail = raw.read(length - tail_start) or b""
    at = -1 if _PNG_MAGIC in tail else tail.find(b"IDAT")  # not the end of another, appended PNG
    while at >= 0:
        chunks = list(_png_chunks(io.BytesIO(tail), at - 4)) if at >= 4 else []
        if chunks and chunks[-1] == (b"IEND", len(tail) - 4, 0):
            yield from ((kind, tail_start + where, size) for kind, where, size in chunks)
            return
        at = tail.find(b"IDAT", at + 1)
    yield from _png_chunks(raw, start)


def _png_chunks(file: io.RawIOBase | io.BytesIO, at: int) -> Iterator[tuple[bytes, int, int]]:
    """Chunks from a position on, up to IEND or the end of the file."""
    for _ in range(_MAX_CHUNKS):
        file.seek(at)
        head = file.read(8) or b""
        if len(head) < 8:
            return
        size, kind = struct.unpack(">I4s", head)
        yield kind, at + 8, size
        if kind == b"IEND":
            return
        at += size + 12


def _webp_size(raw: _HeaderFile, head: bytes, length: int) -> _Size | None:
    """Size of a WebP file from a few reads; Pillow would read all of it.

    Args:
        raw: The open file.
        head: Its first 32 bytes.
        length: Its length in bytes.

    Returns:
        None where anything is unusual: Pillow shall say what is wrong with it.
    """
    if len(head) < 30 or struct.unpack("<I", head[4:8])[0] + 8 > length:
        return None
    kind = head[12:16]
    if kind == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        width, height = (side & 0x3FFF for side in struct.unpack("<2H", head[26:30]))
        return (height, width) if height and width else None
    if kind == b"VP8L" and head[20] == 0x2F:
        bits = int.from_bytes(head[21:25], "little")
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    if kind != b"VP8X":
        return None
    width, height = (int.from_bytes(head[at : at + 3], "little") + 1 for at in (24, 27))
    return (width, height) if _turned(_webp_info(raw, head)) else (height, width)


def _webp_info(raw: _HeaderFile, head: bytes) -> dict[str | tuple[int, int], object]:
    """The first EXIF and XMP chunk of an extended WebP file, if its flags announce them."""
    flags, end = head[20], struct.unpack("<I", head[4:8])[0] + 8
    wanted = {b"EXIF": "exif"} if flags & 0x08 else {}
    wanted |= {b"XMP ": "xmp"} if flags & 0x04 else {}
    info: dict[str | tuple[int, int], object] = {}
    at = 12
    for _ in range(_MAX_CHUNKS):
        if not wanted or at + 8 > end:
            break
        raw.seek(at)
        kind, size = struct.unpack("<4sI", raw.read(8) or b"")
        if kind in wanted and size <= _MAX_HEADER:
            info[wanted.pop(kind)] = raw.read(size) or b""
        at += 8 + size + size % 2
    return info


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 120 else text[:117] + "..."
