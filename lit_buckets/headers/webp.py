"""The displayed size of a WebP file from a few short reads; Pillow would read all of it."""

from __future__ import annotations

import struct

from lit_buckets.headers.content import Content
from lit_buckets.headers.exif import ABSENT, TURNED, find_in_xmp, find_orientation
from lit_buckets.headers.formats import MAX_METADATA, UnusualError

__all__ = ["webp_size"]

_MOST_CHUNKS = 2**17
_EXIF = b"Exif\0\0"  # some writers put it before the data


def webp_size(content: Content, head: bytes) -> tuple[int, int]:
    """Height and width, as displayed.

    Args:
        content: The file.
        head: Its first bytes.

    Raises:
        UnusualError: If Pillow shall say what the size is.
        OSError: If the file cannot be read.
    """
    if len(head) < 30 or struct.unpack_from("<I", head, 4)[0] + 8 > content.length:
        raise UnusualError("cut short")
    kind = head[12:16]
    if kind == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<2H", head, 26))
        if not height * width:
            raise UnusualError("no size")
        return height, width
    if kind == b"VP8L" and head[20] == 0x2F:
        bits = int.from_bytes(head[21:25], "little")
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    if kind != b"VP8X":
        raise UnusualError("begins with another chunk")
    width, height = (int.from_bytes(head[at : at + 3], "little") + 1 for at in (24, 27))
    return (width, height) if _is_turned(content, head) else (height, width)


def _is_turned(content: Content, head: bytes) -> bool:
    """Whether the first EXIF or XMP chunk turns the picture, if flags announce one."""
    flags, end = head[20], struct.unpack_from("<I", head, 4)[0] + 8
    wanted = {b"EXIF"} if flags & 0x08 else set()
    wanted |= {b"XMP "} if flags & 0x04 else set()
    found: dict[bytes, bytes] = {}
    at = 12
    for _ in range(_MOST_CHUNKS):
        if found.keys() == wanted or at + 8 > end:
            break
        kind, size = struct.unpack("<4sI", content.pread(at, 8))
        if kind in wanted - found.keys() and size <= MAX_METADATA:
            found[kind] = content.pread(at + 8, size)
        at += 8 + size + size % 2
    if found.keys() != wanted:
        raise UnusualError("metadata that are announced and not there")
    exif = found.get(b"EXIF", b"").removeprefix(_EXIF)
    orientation = find_orientation(exif, len(exif)) if exif else ABSENT
    if orientation == ABSENT:
        orientation = find_in_xmp(found.get(b"XMP ", b""))
    return orientation in TURNED
