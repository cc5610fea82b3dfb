"""The displayed size of a JPEG file, from a few short reads.

A JPEG begins with segments: FF, a marker, a length in two bytes, and what is in it. They are
walked as far as the first scan, since that is how far Pillow reads.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TypeAlias

from lit_buckets.headers.content import Content
from lit_buckets.headers.exif import ABSENT, TURNED, find_in_xmp, find_orientation
from lit_buckets.headers.formats import UnusualError

__all__ = ["jpeg_size"]

#: Marker, position of the content, its length in bytes, and as much of it as is at hand.
_Segment: TypeAlias = "tuple[int, int, int, bytes]"

_PIECE = 4096  # bytes that are read at once
_AT_HAND = 64  # bytes of every segment that are seen, or all of them
_MOST_SEGMENTS = 1000

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN, _TABLES, _APP1 = 0xDA, 0xDB, 0xE1
_LOOKED_INTO = _FRAMES | {_SCAN, _APP1}
#: Every marker that has a length, and the least at which Pillow can read the segment.
_SHORTEST = dict.fromkeys([*range(0xC0, 0xD0), *range(0xDA, 0xDE), *range(0xE0, 0xF0), 0xFE], 2)
_SHORTEST |= {0xE0: 9, 0xE2: 16, 0xEE: 9}
_TABLE = 65  # bytes of a quantisation table of 8 bits
_LAYERS = (1, 3, 4)
_EXIF = b"Exif\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_head_of_segment = struct.Struct(">BBH").unpack_from


def jpeg_size(content: Content, head: bytes) -> tuple[int, int]:
    """Height and width, as displayed.

    Args:
        content: The file.
        head: Its first bytes.

    Raises:
        UnusualError: If Pillow shall say what the size is.
        OSError: If the file cannot be read.
    """
    frame = exif = xmp = None
    for segment in _segments(content, head):
        marker, _, _, begin = segment
        if marker in _FRAMES:
            if frame is not None:
                raise UnusualError("a second frame")
            frame = segment
        elif marker == _APP1 and begin.startswith(_EXIF):
            if exif is not None:
                raise UnusualError("EXIF in several segments")
            exif = segment
        elif marker == _APP1 and begin.startswith(_XMP):
            xmp = segment  # the last one counts
    if frame is None:
        raise UnusualError("a scan without a frame")
    height, width = _frame_size(frame)
    return (width, height) if _is_turned(content, exif, xmp) else (height, width)


def _segments(content: Content, head: bytes) -> Iterator[_Segment]:
    """Those of a file's segments that matter; its first scan is the last of them."""
    piece, start, at = head, 0, 2  # a piece of the file, where it begins, where a segment begins
    for _ in range(_MOST_SEGMENTS):
        here = at - start
        if here + _AT_HAND > len(piece):
            piece, start, here = content.pread(at, _PIECE), at, 0
        sign, marker, length = _head_of_segment(piece, here)
        if sign != 0xFF or length < _SHORTEST[marker]:
            raise UnusualError(f"byte {at} of the file")
        if marker in _LOOKED_INTO:
            begin = piece[here + 4 : here + 2 + length]
            yield marker, at + 4, length - 2, begin
            if marker == _SCAN:
                if len(begin) < length - 2:
                    break
                return
        elif marker == _TABLES and (length - 2) % _TABLE:
            raise UnusualError("tables of more than 8 bits, or broken ones")
        at += 2 + length
    raise UnusualError("no scan")


def _frame_size(frame: _Segment) -> tuple[int, int]:
    _, _, length, begin = frame
    bits, height, width, layers = struct.unpack_from(">B2HB", begin)
    if bits != 8 or layers not in _LAYERS or length != 6 + 3 * layers or not height * width:
        raise UnusualError("a frame that Pillow does not decode, or without a size")
    return height, width


def _is_turned(content: Content, exif: _Segment | None, xmp: _Segment | None) -> bool:
    orientation = ABSENT if exif is None else _orientation(content, exif)
    if orientation != ABSENT or xmp is None:
        return orientation in TURNED
    _, at, length, _ = xmp
    return find_in_xmp(content.pread(at + len(_XMP), length - len(_XMP))) in TURNED


def _orientation(content: Content, exif: _Segment) -> int:
    _, at, length, begin = exif
    try:
        return find_orientation(begin[6:], length - 6)
    except UnusualError:
        if len(begin) == length:
            raise
    return find_orientation(content.pread(at + 6, length - 6), length - 6)
