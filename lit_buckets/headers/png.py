"""What of a PNG file Pillow finds only once it has decoded the pixels: metadata behind them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

from PIL import PngImagePlugin

from lit_buckets.headers.content import Content, MemoryContent
from lit_buckets.headers.exif import Info
from lit_buckets.headers.formats import open_as

__all__ = ["late_metadata"]

_MAX_METADATA = 16 * 2**20  # bytes of one chunk
_MOST_CHUNKS = 2**17
_MAGIC = b"\x89PNG\r\n\x1a\n"
_TAIL = 32 * 2**10  # bytes
_METADATA = frozenset({b"eXIf", b"tEXt", b"zTXt", b"iTXt"})


def late_metadata(content: Content, image: PngImagePlugin.PngImageFile) -> Info:
    """Metadata that follow a PNG's pixels, as Pillow sees them once it has decoded these."""
    start = image.tile[0][2] - 8 if image.tile else content.length
    found: list[tuple[bytes, bytes]] = []
    for kind, at, size in _chunks_after_pixels(content, start, image.is_animated):
        if kind in _METADATA and size <= _MAX_METADATA:
            data = content.pread(at, size)
            found += [(kind, data)] if len(data) == size else []
    if not found:
        return {}
    # Pillow reads them if they stand before the pixels of an image, be it of a single one
    pixel = [(b"IHDR", struct.pack(">2I5B", 1, 1, 8, 0, 0, 0, 0))]
    end = [(b"IDAT", zlib.compress(bytes(2))), (b"IEND", b"")]
    png = _MAGIC + b"".join(_chunk(*chunk) for chunk in pixel + found + end)
    return dict(open_as("PNG", io.BytesIO(png)).info)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _chunks_after_pixels(
    content: Content, start: int, animated: bool
) -> Iterator[tuple[bytes, int, int]]:
    """Chunks from a PNG's pixels on: (kind, position of the data, its length in bytes)."""
    if animated:  # Pillow stops where the second frame begins
        for chunk in _chunks(content, start):
            if chunk[0] == b"fcTL":
                return
            yield chunk
        return
    # Thousands of small chunks of pixels are common. The last of them lies near the file's end,
    # and one read finds it: from there, chunk must follow chunk up to exactly the end.
    tail_start = max(start, content.length - _TAIL)
    tail = content.pread(tail_start, content.length - tail_start)
    at = -1 if _MAGIC in tail else tail.find(b"IDAT")  # not the end of another, appended PNG
    while at >= 0:
        chunks = list(_chunks(MemoryContent(tail), at - 4)) if at >= 4 else []
        if chunks and chunks[-1] == (b"IEND", len(tail) - 4, 0):
            yield from ((kind, tail_start + where, size) for kind, where, size in chunks)
            return
        at = tail.find(b"IDAT", at + 1)
    yield from _chunks(content, start)


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
