"""Where bytes lie, and how they are read."""

from __future__ import annotations

import io
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from lit_buckets.errors import ConfigError
from lit_buckets.storage import remote

__all__ = [
    "Span",
    "absolute",
    "change_of",
    "confined",
    "is_file",
    "is_remote",
    "joined",
    "read",
    "stamp",
    "without_query",
]

_END_OF_TIME = 2**63 - 1  # the last nanosecond that 64 bits reach, in the year 2262
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


def absolute(path: str | os.PathLike[str]) -> str:
    """A path that means the same in every working directory; links in it are kept as they are.

    Raises:
        ConfigError: If no file can have such a name.

    Example:
        >>> absolute("s3://bucket/photos/"), absolute("file:///data/photos")
        ('s3://bucket/photos', '/data/photos')
    """
    text = os.fspath(path)
    if "\0" in text:
        raise ConfigError(f"path={text!r} must be a path; no name holds a NUL. Remove it.")
    for scheme in ("file://", "local://"):
        text = text.removeprefix(scheme)
    if is_remote(text):
        _check_chain(text)
        return text.rstrip("/")
    with suppress(RuntimeError):  # "~somebody" who does not exist: a name like any other
        text = str(Path(text).expanduser())
    return os.path.abspath(text)  # noqa: PTH100 - not resolved


def _check_chain(url: str) -> None:
    """Refuse to look into a file: names of images would belong in the middle of such a URL."""
    *outer, _ = url.split("::")
    for part in outer:
        if "://" in part:
            raise ConfigError(
                f"path={url!r} must not lead into a file; {part!r} stands before '::', where only "
                f"a cache may, as in simplecache::s3://bucket/photos. Unpack the file, or write "
                f"its images into tar shards."
            )


def joined(root: str, path: str) -> str:
    """A path as seen from a root; one that is absolute, or a URL, stays as it is.

    Example:
        >>> joined("/data", "cats/tom.jpg"), joined("/data", "/else/where.jpg")
        ('/data/cats/tom.jpg', '/else/where.jpg')
        >>> joined("", "cats/tom.jpg")  # the working directory
        'cats/tom.jpg'
    """
    if not root or path.startswith("/") or (":" in path and is_remote(path)):
        return path
    return root + path if root.endswith("/") else f"{root}/{path}"


def without_query(path: str) -> str:
    """The URL of a file on a web server without what follows "?", such as a signature.

    Example:
        >>> without_query("https://host/a/t.csv?key=x/y"), without_query("/data/what?.csv")
        ('https://host/a/t.csv', '/data/what?.csv')
    """
    return path.partition("?")[0] if path.startswith(("http://", "https://")) else path


def is_file(path: str) -> bool:
    """Whether this machine has such a file, and may look at it; a remote one is none.

    Example:
        >>> is_file("/dev/null"), is_file("https://host/a.csv")
        (False, False)
    """
    return not is_remote(path) and os.path.isfile(path)  # noqa: PTH113 - pathlib raises


def confined(root: str, path: str) -> str:
    """A path below a root, joined to it.

    Args:
        root: A folder, or its URL; links in it are followed.
        path: Relative to the root, with "/" between its parts.

    Returns:
        The joined path.

    Raises:
        ValueError: If the path is absolute, holds "..", or is a link that leads out of the root.
    """
    if path.startswith("/") or is_remote(path) or ".." in path.split("/"):
        raise ValueError(f"{path!r} may lead out of {root!r}, the root of its source")
    whole = joined(root, path)
    if not is_remote(root):
        real_root = os.path.realpath(root).rstrip("/") + "/"
        if not os.path.realpath(whole).startswith(real_root):
            raise ValueError(f"{path!r} is a link that leads out of {root!r}, its source's root")
    return whole


def read(span: Span) -> bytes:
    """The bytes of a span.

    Raises:
        OSError: If the file cannot be opened or read, or ends before the span does.
        ValueError: If its name is none that a file can have.
    """
    if is_remote(span.file):
        return remote.read(*span)
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


def change_of(status: os.stat_result) -> int:
    """The time of a file's last change, in nanoseconds; at most what 64 bits reach.

    Asked of every file of every listing, it does as little as it can.
    """
    change = status.st_mtime_ns
    return change if change < _END_OF_TIME else _END_OF_TIME


def stamp(span: Span) -> tuple[int, int]:
    """What tells whether bytes have changed: their length, and a number that changes with the file.

    For a file of this machine the number is the time of its last change in nanoseconds; for
    a remote one it follows from what its server says (see `lit_buckets.storage.remote.stamp`).

    Raises:
        OSError: If the file cannot be found.
    """
    if is_remote(span.file):
        length, change = remote.stamp(span.file)
    else:
        status = Path(span.file).stat()
        length, change = status.st_size, change_of(status)
    return length if span.length < 0 else span.length, change
