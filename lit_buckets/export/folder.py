"""What an export consists of on disk, and what of it is there already.

export.json          what the images were made of, and how; another export is not mixed with it
config.yaml          trains on them
train/               the images with their captions, for each stage that there is
train/metadata.jsonl one row an image, as it is finished; in the plan's order at the end
train/images.parquet the same
train/left_out.csv   images that are not there, with reasons; none if there are none
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from lit_buckets.errors import ConfigError, DataError
from lit_buckets.manifest import replace_file, replace_text, write_reasons

__all__ = ["Journal", "claim", "write_left_out"]

_NOTE = "export.json"
_LEFTOVER = re.compile(r"\..*\.[0-9a-f]{16}\.tmp")  # of a process that was killed


def claim(directory: Path, identity: Mapping[str, Any]) -> None:
    """Make a folder the place of an export, or find that it is that already.

    Args:
        directory: The folder; made if missing.
        identity: What the images are made of, and how, in plain values.

    Raises:
        ConfigError: If it holds other files.
        DataError: If it holds another export.
        OSError: If it cannot be made.
    """
    directory.mkdir(parents=True, exist_ok=True)
    note = directory / _NOTE
    if not note.exists():
        if not all(_LEFTOVER.fullmatch(file.name) for file in directory.iterdir()):
            raise ConfigError(
                f"{str(directory)!r} holds other files, and no export. Name an empty folder."
            )
        replace_text(note, json.dumps(identity, indent=2) + "\n")
    there = _read_note(note)
    differing = [key for key in sorted({*there, *identity}) if there.get(key) != identity.get(key)]
    if differing:
        raise DataError(
            f"{str(directory)!r} holds another export: its {' and '.join(differing)} differ. "
            "Name another folder, or delete this one."
        )
    for file in directory.rglob(".*.tmp"):
        if _LEFTOVER.fullmatch(file.name):
            file.unlink(missing_ok=True)


class Journal:
    """The rows of images in a folder, kept as they are finished.

    Args:
        folder: Where the images are.
        names: Of the images, in the order of the plan.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder, self.names = folder, names
        self.file = folder / "metadata.jsonl"
        known = {row["file_name"]: row for row in _read_lines(self.file)}
        self.rows = {
            name: known[name] for name in names if name in known and (folder / name).is_file()
        }
        self._save()  # without half a line at the end

    def add(self, row: Mapping[str, Any]) -> None:
        """Note that an image is finished."""
        self.rows[row["file_name"]] = dict(row)
        with self.file.open("a", encoding="utf-8") as file:
            file.write(_line(row))

    def close(self) -> None:
        """Write the tables in the order of the plan."""
        self._save()
        rows = [self.rows[name] for name in self.names if name in self.rows]
        table = pa.Table.from_pylist([json.loads(_line(row)) for row in rows])
        file = self.folder / "images.parquet"
        replace_file(file, lambda path: parquet.write_table(table, path))

    def _save(self) -> None:
        lines = [_line(self.rows[name]) for name in self.names if name in self.rows]
        replace_text(self.file, "".join(lines))


def write_left_out(folder: Path, reasons: Mapping[str, str]) -> None:
    """Name the images of a stage that are not there."""
    write_reasons(folder / "left_out.csv", reasons.items())


def _read_note(file: Path) -> dict[str, Any]:
    with suppress(ValueError):
        note = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(note, dict):
            return note
    return {}


def _read_lines(file: Path) -> list[dict[str, Any]]:
    """The rows of a journal; one that a killed process left half written is passed over."""
    rows = []
    with suppress(FileNotFoundError):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError, TypeError):
                rows.append(json.loads(line))
    return [row for row in rows if isinstance(row, dict) and "file_name" in row]


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, default=str) + "\n"
