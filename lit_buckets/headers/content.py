"""The bytes of one image, read at any place, wherever they lie."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Protocol

__all__ = ["Content", "ContentFile", "FileContent", "MemoryContent"]

_pread: Callable[[int, int, int], bytes]
if hasattr(os, "pread"):
    _pread = os.pread
else:  # Windows

    def _pread(fd: int, length: int, offset: int) -> bytes:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, length)


_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0)  # the latter on Windows alone


class Content(Protocol):
    """What a header is read from: a file, a stretch of a larger one, something far away.

    Headers are read in few and small pieces; who pays for each of them reads ahead on its own.
    """

    @property
    def length(self) -> int:
        """How many bytes there are."""

    def pread(self, offset: int, length: int) -> bytes:
        """Bytes from a position on: fewer than asked for at the end, none behind it.

        Raises:
            OSError: With an `errno`, if they cannot be read.
        """


class FileContent:
    """A local file, or a stretch of it.

    Args:
        file: Path of the file. It is open until `close`.
        offset: Where the stretch begins, in bytes.
        length: How long it is, in bytes; -1 for all up to the file's end.

    Raises:
        OSError: If the file cannot be opened.
        ValueError: If its name is none that a file can have.
    """

    __slots__ = ("_fd", "_length", "_offset")

    def __init__(self, file: str, offset: int = 0, length: int = -1) -> None:
        self._offset, self._length = offset, length
        self._fd = os.open(file, _FLAGS)

    @property
    def length(self) -> int:
        """How many bytes there are: no more than the file really holds."""
        there = max(0, os.fstat(self._fd).st_size - self._offset)
        return there if self._length < 0 else min(there, self._length)

    def pread(self, offset: int, length: int) -> bytes:
        """Bytes from a position on: fewer than asked for at the end, none behind it."""
        if self._length >= 0:
            length = max(0, min(length, self._length - offset))
        return _pread(self._fd, length, self._offset + offset)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


class MemoryContent:
    """Bytes in memory."""

    __slots__ = ("_content",)

    def __init__(self, content: bytes) -> None:
        self._content = content

    @property
    def length(self) -> int:
        """How many bytes there are."""
        return len(self._content)

    def pread(self, offset: int, length: int) -> bytes:
        """Bytes from a position on: fewer than asked for at the end, none behind it."""
        return self._content[offset : offset + length]


class ContentFile(io.RawIOBase):
    """A content as an unbuffered file, which stops a reader that never comes to an end.

    Args:
        content: What it reads.
        limit: Bytes that may be read in all.
    """

    def __init__(self, content: Content, limit: float) -> None:
        self._content = content
        self._at = 0
        self._limit, self._left = limit, limit

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a position, as every file does."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at}
        self._at = (self._content.length if whence == io.SEEK_END else start[whence]) + offset
        if self._at < 0:
            raise ValueError(f"negative seek position {self._at}")
        return self._at

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        """Fill a buffer as far as there are bytes.

        Raises:
            OSError: If more is asked for than the limit allows.
        """
        piece = self._content.pread(self._at, len(buffer))
        buffer[: len(piece)] = piece
        self._at += len(piece)
        self._left -= len(piece)
        if self._left < 0:
            raise OSError(f"no end of the header within {self._limit:,} bytes")
        return len(piece)
