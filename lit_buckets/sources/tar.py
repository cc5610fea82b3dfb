"""Where the members of a tar archive lie in it."""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple, TypeAlias

from lit_buckets.headers.content import Content, ContentFile

__all__ = ["COMPRESSED", "Member", "TarError", "members"]

#: Suffixes of archives that cannot be read at random.
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tzst", ".tar.lz4", ".tar.br")

_RECORD = 512  # bytes; headers and contents begin at multiples of this
_END, _PADDING = 2 * _RECORD, 2**20  # bytes of zeros: what ends an archive, and may follow that
_MAGIC_NUMBERS = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
}

_Place: TypeAlias = tuple[int, int]  # where a file begins, and how long it is


class TarError(Exception):
    """An archive that cannot be read further; carries the reason."""


class Member(NamedTuple):
    """A member of an archive.

    Attributes:
        name: As the archive has it, but for a leading "./".
        offset: Where its content begins, in bytes.
        bytes: How long it is.
        is_file: Whether it is a regular file, in one piece, or a link to one, of which it has the
            place; a sparse file or a link to anything else is none.
    """

    name: str
    offset: int
    bytes: int
    is_file: bool


def members(archive: Content, *, links: bool = True) -> Iterator[Member]:
    """All members of an archive but its folders, in its order.

    The headers of plain files are read here, which is many times faster; everything else (long
    names, links, old formats) is left to Python's `tarfile`.

    Args:
        archive: The archive, uncompressed.
        links: Whether links are among them.

    Raises:
        TarError: If it is compressed, no archive, damaged or cut short, or goes on behind its end;
            members before that place have come.
        OSError: If it cannot be read.
    """
    at, length = 0, archive.length
    places: dict[str, _Place] | None = None
    while True:
        header = archive.pread(at, _RECORD)
        if not header.strip(b"\0"):  # the end: records of zeros, or none any more
            if at == 0:
                raise TarError("an empty archive" if header else "empty: 0 bytes")
            _check_end(archive, at, length)
            return
        member = _plain(header)
        if member is None:
            found, at = _any(archive, header, at)
            if found.isdir():
                continue
            is_link = found.islnk() or found.issym()
            if is_link and not links:
                continue
            if is_link and places is None:  # few archives have links: the others keep no list
                places = _places(archive)
            member = _linked(found, places or {}) if is_link else _member(found)
        else:
            member = member._replace(offset=at + _RECORD)
            at = member.offset + -(-member.bytes // _RECORD) * _RECORD
        if member.is_file and member.offset + member.bytes > length:
            raise TarError(
                f"cut short: {member.name!r} would end {member.offset + member.bytes:,} bytes from "
                f"its beginning, and it has {length:,}"
            )
        if places is not None and member.is_file:  # a link may lead to a link
            places.setdefault(member.name, (member.offset, member.bytes))
        yield member


def _places(archive: Content) -> dict[str, _Place]:
    """Where the files of an archive lie, as far as it is whole; of two of a name, the first."""
    places: dict[str, _Place] = {}
    with suppress(TarError):  # who reads the archive itself is told
        for member in members(archive, links=False):
            if member.is_file:
                places.setdefault(member.name, (member.offset, member.bytes))
    return places


def _check_end(archive: Content, at: int, length: int) -> None:
    """See that an archive is over where it says so.

    Raises:
        TarError: If it goes on: the room for a download that never came is zeros, too.
    """
    most = _END + _PADDING
    if archive.pread(at, most).strip(b"\0"):
        raise TarError(f"goes on behind its end, {at:,} bytes from its beginning: two archives?")
    if length - at > most:
        raise TarError(f"cut short: {length - at:,} zeros, from {at:,} bytes from its beginning on")


def _plain(header: bytes) -> Member | None:
    """The member of a header that says all but its place; None if it does not, or is damaged."""
    if (
        len(header) < _RECORD
        or header[156] not in b"0\0"
        or header[345]
        or header[257:262] != b"ustar"
    ):
        return None
    try:
        size = int(header[124:136].strip(b" \0") or b"x", 8)
        checksum = int(header[148:156].strip(b" \0") or b"x", 8)
    except ValueError:
        return None
    if size < 0 or sum(header) - sum(header[148:156]) + 8 * 32 != checksum:
        return None
    name = header[:100].partition(b"\0")[0]
    if name.endswith(b"/"):  # how a very old format writes a folder
        return None
    return Member(_text(name), 0, size, True)


def _any(archive: Content, header: bytes, at: int) -> tuple[tarfile.TarInfo, int]:
    """The next member, and where the one after it has its header."""
    file = io.BufferedReader(ContentFile(archive, float("inf")))
    file.seek(at)
    try:
        with tarfile.TarFile(fileobj=file, mode="r", errorlevel=2) as tar:
            found, after, problem = tar.next(), tar.offset, "no header"
    except tarfile.TarError as error:
        found, after, problem = None, at, str(error)
    if found is None:  # tarfile takes damage for the end, but at the beginning
        raise TarError(_damage(header, at, problem))
    return found, after


def _member(found: tarfile.TarInfo) -> Member:
    is_file = found.isreg() and not found.issparse()
    return Member(_stored(found.name), found.offset_data, found.size, is_file)


def _linked(link: tarfile.TarInfo, places: Mapping[str, _Place]) -> Member:
    """A link as the file that it leads to, if that is known."""
    name, target = _stored(link.name), _stored(link.linkname)
    if link.issym():  # from where it lies; a hard link is from the archive's root
        target = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
    offset, length = places.get(target, (link.offset_data, 0))
    return Member(name, offset, length, target in places)


def _damage(header: bytes, at: int, problem: str) -> str:
    if at > 0:
        return f"damaged or cut short {at:,} bytes from its beginning: {problem}"
    kind = next((kind for magic, kind in _MAGIC_NUMBERS.items() if header.startswith(magic)), None)
    if kind is not None:
        return f"compressed with {kind}, so its members cannot be read at random; decompress it"
    return f"no tar archive: {problem}"


def _stored(name: str) -> str:
    """A name or a link's target as tarfile has it, as `_text` has it."""
    return _text(name.encode("utf-8", "surrogateescape"))


def _text(name: bytes) -> str:
    """A name that can be stored; the content is found by its place, whatever its name is."""
    text = name.decode("utf-8", "backslashreplace")
    while text.startswith("./"):
        text = text[2:]
    return text
