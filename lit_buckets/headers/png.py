"""The displayed size of a PNG file, from its beginning and its end.

A PNG is a sequence of chunks: a length, a kind, what is in it, a checksum. Metadata may stand
before the pixels or behind them, and Pillow sees the latter only once it has decoded these.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress

from lit_buckets.headers.content import Content, MemoryContent
from lit_buckets.headers.exif import TURNED, find_orientation
from lit_buckets.headers.formats import UnusualError

__all__ = ["MAGIC", "METADATA", "chunks_after_pixels", "png_size"]

MAGIC = b"\x89PNG\r\n\x1a\n"
_PIECE = 4096  # bytes that are read at once
_MOST_EARLY = 500  # chunks before the pixels
_LONGEST = 2**16  # bytes of a chunk that is looked into
_MOST_CHUNKS = 2**17
_MAX_PROFILE = 2**20  # bytes of a profile, unpacked
_FEW_CHUNKS = 32  # so many are walked through, one read for each
_TAIL = 2**14  # bytes

_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # by colour
_TRANSPARENCY = {0: 2, 2: 6}  # bytes of tRNS, by colour
_SHORTEST = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"pHYs": 9}  # Pillow reads none that is shorter
METADATA = frozenset({b"eXIf", b"tEXt", b"zTXt", b"iTXt"})
_XMP = b"XML:com.adobe.xmp"
_EXIF_AS_TEXT = frozenset({b"exif", b"xmp", b"Raw profile type exif"})
_LEFT_TO_PILLOW = frozenset({b"IHDR", b"IEND", b"zTXt", b"acTL", b"fcTL", b"fdAT"})


def png_size(content: Content, head: bytes) -> tuple[int, int]:
    """Height and width, as displayed.

    Args:
        content: The file.
        head: Its first bytes.

    Raises:
        UnusualError: If Pillow shall say what the size is.
        OSError: If the file cannot be read.
    """
    height, width = _stored_size(head)
    colour, exif = head[25], b""
    for kind, at, data in _chunks_before_pixels(content, head):
        if kind == b"IDAT":
            exif = _late_exif(content, at - 8) or exif
        elif kind == b"eXIf":
            exif = data
        else:
            _check_early(kind, data, colour)
    turned = exif and find_orientation(exif, len(exif)) in TURNED
    return (width, height) if turned else (height, width)


# -- before the pixels -------------------------------------------------------------------------


def _stored_size(head: bytes) -> tuple[int, int]:
    length, kind, width, height, depth, colour, filters = struct.unpack_from(">I4s2I2BxB", head, 8)
    if (length, kind, filters) != (13, b"IHDR", 0) or depth not in _DEPTHS[colour]:
        raise UnusualError("a header that Pillow does not read")
    if not height * width:
        raise UnusualError("no size")
    return height, width


def _chunks_before_pixels(content: Content, head: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    """Kind, position and data of the chunks behind IHDR, as far as the first IDAT, without data.

    Raises:
        UnusualError: If a checksum is wrong, or a chunk is long.
    """
    if zlib.crc32(head[12:29]) != int.from_bytes(head[29:33], "big"):
        raise UnusualError("a wrong checksum")
    piece, start, at = head, 0, 33
    for _ in range(_MOST_EARLY):
        here = at + 8 - start
        if here > len(piece):
            piece, start, here = content.pread(at, _PIECE), at, 8
        length, kind = struct.unpack_from(">I4s", piece, here - 8)
        if kind == b"IDAT":
            yield kind, at + 8, b""
            return
        if length > _LONGEST or not kind.isalpha() or kind in _LEFT_TO_PILLOW:
            raise UnusualError(f"chunk {kind!r} of {length} bytes")
        end = here + length
        if end + 4 > len(piece):
            piece, start, here, end = content.pread(at, length + _PIECE), at, 8, 8 + length
        if zlib.crc32(piece[here - 4 : end]) != int.from_bytes(piece[end : end + 4], "big"):
            raise UnusualError("a wrong checksum")
        yield kind, at + 8, piece[here:end]
        at += length + 12
    raise UnusualError("no pixels")


def _check_early(kind: bytes, data: bytes, colour: int) -> None:
    """Make sure that a chunk turns nothing, and that Pillow can read it.

    Raises:
        UnusualError: If that is not sure.
    """
    shortest = _TRANSPARENCY.get(colour, 0) if kind == b"tRNS" else _SHORTEST.get(kind, 0)
    if len(data) < shortest or (kind == b"iCCP" and not _is_profile(data)):
        raise UnusualError(f"chunk {kind!r} of {len(data)} bytes")
    if kind in METADATA and _may_turn(kind, data):
        raise UnusualError("metadata that may turn the picture")


def _is_profile(data: bytes) -> bool:
    """Whether Pillow takes a profile, or passes it over: it stops at one that is a bomb."""
    _, name_ends, packed = data.partition(b"\0")
    unpacking = zlib.decompressobj()
    with suppress(zlib.error):
        unpacking.decompress(packed[1:], _MAX_PROFILE)
    return bool(name_ends) and packed[:1] == b"\0" and not unpacking.unconsumed_tail


def _may_turn(kind: bytes, data: bytes) -> bool:
    """Whether metadata may turn the picture, as far as can be seen without unpacking them."""
    key, _, text = data.partition(b"\0")
    if kind == b"tEXt":
        return key in _EXIF_AS_TEXT or key == _XMP
    if kind == b"iTXt" and text[:1] == b"\0":
        return key in _EXIF_AS_TEXT or (key == _XMP and b"tiff:Orientation" in text)
    return True


# -- behind the pixels -------------------------------------------------------------------------


def _late_exif(content: Content, start: int) -> bytes:
    """EXIF data behind the pixels, the last there are; b"" for none.

    Raises:
        UnusualError: If other metadata there may turn the picture.
    """
    exif = b""
    for kind, at, size in chunks_after_pixels(content, start, animated=False):
        if kind not in METADATA:
            continue
        data = content.pread(at, size) if size <= _LONGEST else b""
        if not data or len(data) < size or (kind != b"eXIf" and _may_turn(kind, data)):
            raise UnusualError("metadata that may turn the picture")
        exif = data if kind == b"eXIf" else exif
    return exif


def chunks_after_pixels(
    content: Content, start: int, animated: bool
) -> Iterator[tuple[bytes, int, int]]:
    """Chunks from a PNG's pixels on: (kind, position of the data, its length in bytes)."""
    if animated:  # Pillow stops where the second frame begins
        for chunk in _chunks(content, start):
            if chunk[0] == b"fcTL":
                return
            yield chunk
        return
    # Thousands of small chunks of pixels are common. The last lies near the file's end, and is
    # hardly longer than the first.
    length, first = content.length, int.from_bytes(content.pread(start, 4), "big")
    chunks = []
    if length - start > _FEW_CHUNKS * first:
        chunks = _last_chunks(content, max(start, length - first - _TAIL))
    yield from chunks or _chunks(content, start)


def _last_chunks(content: Content, start: int) -> list[tuple[bytes, int, int]]:
    """The last chunk of pixels and what follows it; nothing if that is not sure.

    From it on, chunk must follow chunk up to exactly the end.
    """
    tail = content.pread(start, content.length - start)
    at = -1 if MAGIC in tail else tail.find(b"IDAT")  # not the end of another, appended PNG
    while at >= 0:
        chunks = list(_chunks(MemoryContent(tail), at - 4)) if at >= 4 else []
        if chunks and chunks[-1] == (b"IEND", len(tail) - 4, 0):
            return [(kind, start + where, size) for kind, where, size in chunks]
        at = tail.find(b"IDAT", at + 1)
    return []


def _chunks(content: Content, at: int) -> Iterator[tuple[bytes, int, int]]:
    """Chunks from a position on, up to IEND or the end of the file."""
    for _ in range(_MOST_CHUNKS):
        head = content.pread(at, 8)
        if len(head) < 8:
            return
        size, kind = struct.unpack(">I4s", head)
        yield kind, at + 8, size
        if kind == b"IEND":
            return
        at += size + 12
