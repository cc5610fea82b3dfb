"""Where the members of a tar archive lie in it."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from typing import NamedTuple

from lit_buckets.headers.content import Content, ContentFile

__all__ = ["COMPRESSED", "Member", "TarError", "members"]

#: Suffixes of archives that cannot be read at random.
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tzst", ".tar.lz4", ".tar.br")

_RECORD = 512  # bytes; headers and contents begin at multiples of this
_MAGIC_NUMBERS = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
}


class TarError(Exception):
    """An archive that cannot be read further; carries the reason."""


class Member(NamedTuple):
    """A member of an archive.

    Attributes:
        name: As the archive has it, but for a leading "./".
        offset: Where its content begins, in bytes.
        bytes: How long it is.
        is_file: Whether it is a regular file, in one piece; a link, a folder or a sparse file
            is none.
    """

    name: str
    offset: int
    bytes: int
    is_file: bool


def members(archive: Content) -> Iterator[Member]:
    """All members of an archive, in its order.

    The headers of plain files are read here, which is many times faster; everything else (long
    names, links, old formats) is left to Python's `tarfile`.

    Args:
        archive: The archive, uncompressed.

    Raises:
        TarError: If it is compressed, no archive, damaged or cut short; members before that
            place have come.
        OSError: If it cannot be read.
    """
    at, length = 0, archive.length
    while True:
        header = archive.pread(at, _RECORD)
        if not header.strip(b"\0"):  # the end: records of zeros, or none any more
            if at == 0:
                raise TarError("an empty archive" if header else "empty: 0 bytes")
            return
        member = _plain(header)
        if member is None:
            member, at = _any(archive, header, at)
        else:
            member = member._replace(offset=at + _RECORD)
            at = member.offset + -(-member.bytes // _RECORD) * _RECORD
        if member.is_file and member.offset + member.bytes > length:
            raise TarError(
                f"cut short: {member.name!r} would end {member.offset + member.bytes:,} bytes from "
                f"its beginning, and it has {length:,}"
            )
        yield member


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


def _any(archive: Content, header: bytes, at: int) -> tuple[Member, int]:
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
    name = found.name.encode("utf-8", "surrogateescape")
    is_file = found.isreg() and not found.issparse()
    return Member(_text(name), found.offset_data, found.size, is_file), after


def _damage(header: bytes, at: int, problem: str) -> str:
    if at > 0:
        return f"damaged or cut short {at:,} bytes from its beginning: {problem}"
    kind = next((kind for magic, kind in _MAGIC_NUMBERS.items() if header.startswith(magic)), None)
    if kind is not None:
        return f"compressed with {kind}, so its members cannot be read at random; decompress it"
    return f"no tar archive: {problem}"


def _text(name: bytes) -> str:
    """A name that can be stored; the content is found by its place, whatever its name is."""
    text = name.decode("utf-8", "backslashreplace")
    while text.startswith("./"):
        text = text[2:]
    return text
