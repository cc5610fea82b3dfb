"""Bytes of images, wherever they lie: in a file of their own, or a stretch of a larger one."""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

__all__ = ["Span", "read", "stamp"]


class Span(NamedTuple):
    """Where bytes lie.

    Attributes:
        file: The file that holds them, such that it can be opened.
        offset: Where they begin in it.
        length: How many they are; -1 for all up to the file's end.
    """

    file: str
    offset: int = 0
    length: int = -1


def read(span: Span) -> bytes:
    """The bytes of a span.

    Raises:
        OSError: If the file cannot be opened or read, or ends before the span does.
        ValueError: If its name is none that a file can have.
    """
    if span.length < 0 and not span.offset:
        return Path(span.file).read_bytes()
    with io.FileIO(span.file) as file:
        file.seek(span.offset)
        content = io.BufferedReader(file).read(span.length)
    if len(content) < span.length:
        raise OSError(
            f"{span.file!r} ends {span.length - len(content):,} bytes before what was to be read"
        )
    return content


def stamp(span: Span) -> tuple[int, int]:
    """Length in bytes, and time of the file's last change in nanoseconds.

    Raises:
        OSError: If the file cannot be found.
    """
    status = Path(span.file).stat()
    return status.st_size if span.length < 0 else span.length, status.st_mtime_ns
