"""Files that are safe to write while others read or write them."""

from __future__ import annotations

import csv
import json
import secrets
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from lit_buckets.errors import DataError

__all__ = ["Failure", "read_failures", "replace_file", "replace_text", "write_reasons", "writing"]

_FAILURES = "failed.jsonl"


class Failure(NamedTuple):
    """An image that failed in decoding: as it was then, by length and time of last change."""

    path: str
    bytes: int
    mtime_ns: int
    reason: str


def read_failures(directory: Path) -> dict[str, Failure]:
    """What loaders have noted in a folder's ``failed.jsonl``, the latest for each path.

    Each line is a `Failure` as a JSON list. Lines that are damaged (a killed process, a shared
    file system) are passed over.
    """
    try:
        lines = (directory / _FAILURES).read_bytes().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    failures = {}
    for line in lines:
        with suppress(ValueError, TypeError):
            path, length, mtime_ns, reason = json.loads(line)
            text = " ".join(str(reason).split())[:200]
            failures[str(path)] = Failure(str(path), int(length), int(mtime_ns), text)
    return failures


def replace_file(path: Path, save: Callable[[Path], None]) -> None:
    """Write a file so that its name stands for the old or the new one, never for a part.

    Args:
        path: The file; its folder is made.
        save: Writes the path it is given, which does not exist.

    Raises:
        OSError: If the disk is full or the folder may not be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        save(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def replace_text(path: Path, text: str) -> None:
    """Write a text as UTF-8 with `replace_file`, its lines ending as they do.

    Raises:
        OSError: If the disk is full or the folder may not be written.
    """

    def save(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8", newline="\n")

    replace_file(path, save)


@contextmanager
def writing(cache: Path) -> Iterator[None]:
    """Say of what the system refuses within that it is the cache that cannot be written.

    Raises:
        DataError: In place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise DataError(
            f"cache_dir={str(cache)!r} cannot be written: {error.strerror or error}. "
            f"Name a folder with free space that this user may write."
        ) from error


def write_reasons(path: Path, reasons: Collection[tuple[str, str]]) -> None:
    """Write files and why each is not there as a table for people; no table where there are none.

    Raises:
        OSError: If the disk is full or the folder may not be written.
    """
    if not reasons:
        if path.exists():  # where nothing may be written, nothing is asked for
            path.unlink(missing_ok=True)
        return

    def save(temporary: Path) -> None:
        with temporary.open("x", encoding="utf-8", errors="backslashreplace", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "reason"])
            writer.writerows(reasons)

    replace_file(path, save)
