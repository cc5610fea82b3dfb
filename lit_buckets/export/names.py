"""A safe name of its own for each image, as like its old one as may be."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence

__all__ = ["column_names", "safe_name", "unique_stems"]

# what some file system or shell forbids or reads otherwise
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\]')
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")
_LONGEST = 120  # bytes of a part of a path: suffixes and numbers are to fit behind it


def column_names(columns: Iterable[str], own: Iterable[str]) -> dict[str, str]:
    """What further columns are called beside an export's own: as before, unless that is taken.

    Example:
        >>> column_names(["score", "text", "text_"], own=["file_name", "text"])
        {'score': 'score', 'text': 'text__', 'text_': 'text_'}
    """
    own, names = set(own), {}
    taken = own | set(columns := list(columns))
    for column in columns:
        name = column
        while name in own or (name != column and name in taken):
            name += "_"
        names[column] = name
        taken.add(name)
    return names


def unique_stems(paths: Sequence[str], suffixes: Sequence[str]) -> list[str]:
    """Names without suffixes that differ on every file system, whichever suffix they get.

    They also differ where capitals or the way accents are written do not count, and none is
    the name of a folder.

    Args:
        paths: Old paths in order, with "/" between their parts; the same may come repeatedly.
        suffixes: What the files of an image will end with.

    Returns:
        A stem for each path: its own in the same folders, made safe, and numbered where that is
        taken. They depend on the paths and their order alone.

    Example:
        >>> unique_stems(["a/x.jpg", "b/x.jpg", "a/X.png", "../..."], [".png", ".txt"])
        ['a/x', 'b/x', 'a/X-2', '__/__']
    """
    wanted = [_stem(path) for path in paths]
    taken = {_same(folder) for stem in wanted for folder in _folders(stem)}
    numbers: dict[str, int] = {}
    stems = []
    for first in wanted:
        stem, number = first, numbers.get(_same(first), 1)
        while not taken.isdisjoint(names := [_same(stem + suffix) for suffix in suffixes]):
            number += 1
            stem = f"{first}-{number}"
        numbers[_same(first)] = number
        taken.update(names)
        stems.append(stem)
    return stems


def safe_name(name: str) -> str:
    """One part of a path, without what a file system may refuse.

    Example:
        >>> safe_name("what?"), safe_name(".hidden"), safe_name("NUL"), safe_name("")
        ('what_', '_hidden', '_NUL', '_')
    """
    safe = _UNSAFE.sub("_", name)
    # a leading dot hides a file, and Windows drops dots and spaces at the end
    safe = re.sub(r"^\.+|[. ]+$", lambda found: "_" * len(found[0]), safe) or "_"
    safe = f"_{safe}" if _RESERVED.fullmatch(safe) else safe
    if len(safe.encode()) <= _LONGEST:
        return safe
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{safe.encode()[: _LONGEST - 9].decode(errors='ignore')}-{digest}"


def _stem(path: str) -> str:
    """Safe folders and name of a path, without its suffix."""
    *folders, name = path.split("/")
    stem = name[: name.rfind(".")] if name.rfind(".") > 0 else name
    return "/".join([safe_name(part) for part in folders if part] + [safe_name(stem)])


def _folders(stem: str) -> list[str]:
    parts = stem.split("/")[:-1]
    return ["/".join(parts[: depth + 1]) for depth in range(len(parts))]


def _same(name: str) -> str:
    """Equal for names that some file system takes for one."""
    return unicodedata.normalize("NFC", name.casefold())
