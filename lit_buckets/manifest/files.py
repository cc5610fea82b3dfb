"""Files that are safe to write while others read or write them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

__all__ = ["Failure", "read_failures", "replace_file"]

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
