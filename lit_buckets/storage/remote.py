"""Files of other machines, read in ranges. The only place that knows fsspec.

Each call asks fsspec for its file system anew: its instances and their event loops belong to one
process, and a loader's workers are others. fsspec keeps them, so that costs next to nothing.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from html.parser import HTMLParser
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote, urljoin, urlsplit

import fsspec

from lit_buckets.errors import DataError

__all__ = ["Found", "RemoteContent", "found_in", "matching", "read", "stamp", "stamps"]

_AT_ONCE = 32  # requests
_RANGE, _LARGEST, _KEPT = 2**16, 2**22, 8  # bytes of a range, and how many are kept
_PAUSES = (0.1, 0.5)  # seconds before a request that failed is tried again

_T = TypeVar("_T")


class Found(NamedTuple):
    """What a remote folder holds at one name.

    Attributes:
        name: Its last part, as the server writes it.
        is_folder: Whether it is a folder.
        bytes: Its length; -1 where the listing does not tell.
        change: As in `stamp`; 0 where the listing does not tell.
    """

    name: str
    is_folder: bool
    bytes: int
    change: int


def read(url: str, offset: int = 0, length: int = -1) -> bytes:
    """Bytes of a remote file.

    Args:
        url: The file.
        offset: Where they begin.
        length: How many; -1 for all up to the end.

    Raises:
        OSError: If they cannot be had, after three tries, or are fewer.
        DataError: If no file system is known, or installed, for such a URL.
    """
    if length == 0:
        return b""
    if length < 0:
        return _tried(url, lambda system, path: system.cat_file(path))[offset:]
    end = offset + length
    content = _tried(url, lambda system, path: system.cat_file(path, start=offset, end=end))
    if len(content) > length:  # the server knows no ranges, and sent the whole file
        content = content[offset:end]
    if len(content) < length:
        raise OSError(
            errno.EIO, f"ends {length - len(content):,} bytes before what was to be read", url
        )
    return content


def stamp(url: str) -> tuple[int, int]:
    """Length of a remote file in bytes, and a number that changes when the file does.

    The number is a hash of its ETag or checksum; without one, its time of last change in
    nanoseconds; without that, 0, and a change of the same length goes unnoticed. A length of -1
    means that the server does not tell.

    Raises:
        OSError: If there is no such file, or the server does not answer.
        DataError: If no file system is known, or installed, for such a URL.
    """
    return _stamped(_tried(url, lambda system, path: system.info(path)))


def stamps(urls: Iterable[str]) -> list[tuple[int, int] | OSError]:
    """Stamps of many files, asked for at once, in the order of the URLs; errors in their place."""

    def one(url: str) -> tuple[int, int] | OSError:
        try:
            return stamp(url)
        except OSError as error:
            return error

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="lit_buckets_stamps") as pool:
        return list(pool.map(one, urls))


def found_in(url: str) -> list[Found]:
    """What a remote folder holds, in no particular order.

    Raises:
        OSError: If it cannot be listed.
        DataError: If no file system is known, or installed, for such a URL.
    """

    def ask(system: Any, path: str) -> list[Found]:
        if path.startswith(("http://", "https://")):
            # a file system round that of the web would keep the page
            return _linked(getattr(system, "fs", system), path.rstrip("/") + "/")
        return list(_listed(system, path, url.rstrip("/")))

    return _tried(url, ask)


def _listed(system: Any, path: str, url: str) -> Iterator[Found]:
    """What a store lists in a folder, as far as URLs below the folder's can name it."""
    system.invalidate_cache()
    prefix = system._strip_protocol(f"{url}/").rstrip("/") + "/"
    for info in system.ls(path, detail=True):
        name = str(info["name"]).rstrip("/")
        inside = name.removeprefix(prefix)
        # a store may list the folder itself; for some protocols "?" ends the path in a URL, and
        # what is in "why?" would be asked for in "why"
        if inside and "/" not in inside and system._strip_protocol(f"{url}/{inside}") == name:
            yield Found(inside, info["type"] == "directory", *_stamped(info))


def _linked(system: Any, folder: str) -> list[Found]:
    """What the page of a web server's folder links to in it, each once.

    fsspec reads such pages, too, but takes a link to ``http.jpg`` for a whole URL, and does not
    know ``./a.jpg``.
    """
    links = _Links()
    links.feed(system.cat_file(folder).decode(errors="replace"))
    links.close()
    whole = urljoin(folder, ".")  # without ".." in it, as what links lead to
    names = [name for link in links.found if (name := _name_in(whole, link))]
    return [Found(name.rstrip("/"), name.endswith("/"), -1, 0) for name in dict.fromkeys(names)]


class _Links(HTMLParser):
    """Where the links of a web page lead, as the page writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a link."""
        if tag == "a":
            self.found += [value for name, value in attrs if name == "href" and value]

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        """Pass over what begins with ``<![``, which older versions of Python may fail at."""
        return self.parse_bogus_comment(i, report)


def _name_in(folder: str, link: str) -> str:
    """Last part of what a link on a folder's page leads to; "" unless it is in the folder itself.

    Example:
        >>> links = "./b.jpg", "http.jpg", "/cats/a%23b/", "?C=N", "../", "tom/c.jpg"
        >>> [_name_in("https://example.org/cats/", link) for link in links]
        ['b.jpg', 'http.jpg', 'a%23b/', '', '', '']
    """
    try:
        base, whole = urlsplit(folder), urlsplit(urljoin(folder, link.strip()))
    except ValueError:  # no URL at all
        return ""
    if whole[:2] != base[:2] or whole.query or whole.fragment:
        return ""
    above, slash, _ = whole.path.rstrip("/").rpartition("/")
    # the server may write the folder's own name in other characters than the user
    is_inside = unquote(above + slash) == unquote(base.path)
    return whole.path.removeprefix(above + slash) if is_inside else ""


def matching(pattern: str, root: str) -> list[str]:
    """Files that match a pattern with ``*`` and ``[...]``, relative to the folder it begins with.

    Raises:
        OSError: If the server does not answer.
        DataError: If no file system is known, or installed, for such a URL.
    """

    def ask(system: Any, path: str) -> list[str]:
        system.invalidate_cache()
        prefix = system._strip_protocol(root).rstrip("/") + "/"
        return [name.removeprefix(prefix) for name in system.glob(path)]

    return _tried(pattern, ask)


class RemoteContent:
    """A remote file or a stretch of it, of which only what is asked for is fetched.

    Reads are answered from the last few ranges that were fetched. A range holds 64 KiB, enough for
    most headers; where reads go on from there, ranges grow twofold, up to 4 MiB.

    Args:
        url: The file.
        offset: Where the stretch begins, in bytes.
        length: How long it is; -1 if that is not known: then the whole file is fetched.
    """

    def __init__(self, url: str, offset: int = 0, length: int = -1) -> None:
        self._url, self._offset = url, offset
        self._length = length
        self._ranges: deque[tuple[int, bytes]] = deque(maxlen=_KEPT)

    @property
    def length(self) -> int:
        """How many bytes there are.

        Raises:
            OSError: If that was not known, and the file cannot be fetched.
        """
        if self._length < 0:
            content = read(self._url, self._offset)
            self._ranges.append((0, content))
            self._length = len(content)
        return self._length

    def pread(self, offset: int, length: int) -> bytes:
        """Bytes from a position on: fewer than asked for at the end, none behind it.

        Raises:
            OSError: If they cannot be fetched.
        """
        end = min(offset + length, self.length)
        content = b""
        while offset < end:
            piece = self._fetched(offset, end)
            content, offset = content + piece, offset + len(piece)
        return content

    def _fetched(self, offset: int, end: int) -> bytes:
        """At least one byte from an offset on, and no more than up to the end."""
        for start, content in reversed(self._ranges):
            if start <= offset < start + len(content):
                return content[offset - start : end - start]
        content = read(self._url, self._offset + offset, self._reach(offset, end) - offset)
        self._ranges.append((offset, content))
        return content[: end - offset]

    def _reach(self, offset: int, end: int) -> int:
        """Where a range shall end that begins at an offset."""
        size = _RANGE
        if self._ranges:
            start, content = self._ranges[-1]
            if 0 <= offset - (start + len(content)) <= len(content):
                size = max(size, min(2 * len(content), _LARGEST))
        return min(max(offset + size, end), self._length)


def _tried(url: str, ask: Callable[[Any, str], _T], pauses: Sequence[float] = _PAUSES) -> _T:
    """The answer of a file system; a failure that may pass is tried again."""
    system, path = _file_system(url)
    try:
        return ask(system, path)
    except Exception as caught:  # each file system has errors of its own
        error = _cause(caught)
        final = isinstance(error, (FileNotFoundError, NotADirectoryError, PermissionError))
        if final or not pauses:
            raise _told(error, url) from caught
    time.sleep(pauses[0])
    return _tried(url, ask, pauses[1:])


def _file_system(url: str) -> tuple[Any, str]:
    try:
        system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise DataError(
            f"path={url!r} cannot be opened: {error}. Install that package beside fsspec."
        ) from None
    except ValueError as error:
        raise DataError(
            f"path={url!r} cannot be opened: {error}. Use a protocol of fsspec, such as s3."
        ) from None
    return system, path


def _cause(error: Exception) -> Exception:
    """What lies behind an error: fsspec takes every failure of a web server for a missing file."""
    cause = error.__cause__
    if not isinstance(error, FileNotFoundError) or not isinstance(cause, Exception):
        return error
    is_lost = isinstance(cause, (OSError, asyncio.TimeoutError))
    return cause if is_lost or getattr(cause, "status", 404) != 404 else error


def _told(error: Exception, url: str) -> OSError:
    """An error with a number and a sentence, whatever the file system has raised."""
    if isinstance(error, OSError) and error.errno is not None:
        return error
    for kind, number in ((FileNotFoundError, errno.ENOENT), (PermissionError, errno.EACCES)):
        if isinstance(error, kind):
            return kind(number, os.strerror(number), url)
    text = " ".join(str(error).split()) or type(error).__name__
    return OSError(errno.EIO, text[:200], url)


_DIGESTS = ("ETag", "etag", "md5Hash", "content_md5", "Content-MD5", "Digest")
_TIMES = ("mtime", "LastModified", "last_modified", "Last-Modified", "updated", "created")


def _stamped(info: Mapping[str, Any]) -> tuple[int, int]:
    size = info.get("size")
    digest = next((str(info[name]) for name in _DIGESTS if info.get(name)), "")
    changed = next((info[name] for name in _TIMES if info.get(name)), 0)
    if isinstance(changed, datetime):
        changed = changed.replace(tzinfo=changed.tzinfo or timezone.utc).timestamp()
    if digest or isinstance(changed, str):
        text = hashlib.sha256((digest or str(changed)).encode()).digest()
        change = int.from_bytes(text[:8], "big") >> 1
    else:
        change = round(changed * 10**9)
    return -1 if size is None else int(size), change
