"""Bytes of images, wherever they lie: in a file of their own, or a stretch of a larger one."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import NamedTuple

__all__ = ["Span", "confined", "is_remote", "read", "stamp"]

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(::[^/]*)?://")


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


def is_remote(path: str) -> bool:
    """Whether a path names a place that is not in this machine's file system.

    Example:
        >>> is_remote("s3://bucket/photos"), is_remote("/data/photos")
        (True, False)
    """
    return _SCHEME.match(path) is not None


def confined(root: str, path: str) -> str:
    """A path below a root, joined to it.

    Args:
        root: A folder; links in it are followed.
        path: Relative to the root, with "/" between its parts.

    Returns:
        The joined path.

    Raises:
        ValueError: If the path is absolute, holds "..", or is a link that leads out of the root.
    """
    if path.startswith("/") or is_remote(path) or ".." in path.split("/"):
        raise ValueError(f"{path!r} may lead out of {root!r}, the root of its source")
    joined = f"{root.rstrip('/')}/{path}"
    if not is_remote(root):
        real_root = os.path.realpath(root).rstrip("/") + "/"
        if not os.path.realpath(joined).startswith(real_root):
            raise ValueError(f"{path!r} is a link that leads out of {root!r}, its source's root")
    return joined


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
