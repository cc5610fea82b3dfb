"""A manifest's file: written in one piece, and mapped into memory."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from lit_buckets.errors import DataError
from lit_buckets.manifest.columns import SCHEMA, checksum
from lit_buckets.manifest.files import replace_file

__all__ = ["VERSION", "ManifestError", "check_file", "map_file", "write_file"]

#: Version of the file's format. A file of another version is made anew.
VERSION = 6

_KEY, _CHECKSUM = b"lit_buckets", "checksum"
_NOTES = {
    *("version", "images", "refused", "sources", "settings", "containers", "fingerprint", "id"),
    _CHECKSUM,
}


class ManifestError(DataError):
    """A manifest that is damaged, of another version, or not the one it was."""


def map_file(path: Path) -> tuple[pa.RecordBatch, dict[str, Any]]:
    """The rows of a file, mapped, and the notes in its metadata; only its ends are read.

    Raises:
        FileNotFoundError: If there is no such file.
        ManifestError: If it is damaged, or of another version of the format.
    """
    try:
        batch, notes = _map(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"manifest {str(path)!r} does not exist.") from None
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise ManifestError(
                f"manifest {str(path)!r} cannot be opened: {os.strerror(error.errno)}. Make it "
                f"readable to this user, or name another cache_dir."
            ) from error
        raise _damaged(path, error) from error
    if notes["version"] != VERSION:
        raise ManifestError(
            f"manifest {str(path)!r} has version {notes['version']}; this release reads "
            f"version {VERSION}. Delete it, and scan again."
        )
    return batch, notes


def write_file(path: Path, batch: pa.RecordBatch, notes: Mapping[str, Any]) -> None:
    """Write rows and notes under a temporary name, and rename it.

    Raises:
        OSError: If the disk is full or the folder may not be written.
    """
    told = {"version": VERSION, **notes}
    document = json.dumps({**told, _CHECKSUM: _checksum(batch, told)}).encode()
    schema = batch.schema.with_metadata({_KEY: document})

    def save(temporary: Path) -> None:
        with temporary.open("xb") as sink:
            with pa.ipc.new_file(sink, schema) as writer:
                writer.write_batch(batch.replace_schema_metadata(schema.metadata))
            sink.flush()
            os.fsync(sink.fileno())

    replace_file(path, save)


def check_file(path: Path) -> None:
    """Read all of a file, and make sure that it holds what was written.

    Raises:
        FileNotFoundError: If there is no such file.
        ManifestError: If it is damaged, or of another version of the format.
    """
    batch, notes = map_file(path)
    told = {name: note for name, note in notes.items() if name != _CHECKSUM}
    try:
        batch.validate(full=True)
        if _checksum(batch, told) != notes[_CHECKSUM]:
            raise ValueError("its checksum is not that of what it holds")
    except (pa.ArrowException, ValueError) as error:
        raise _damaged(path, error) from error


def _checksum(batch: pa.RecordBatch, notes: Mapping[str, Any]) -> int:
    return checksum(batch, zlib.crc32(json.dumps(notes, sort_keys=True).encode()))


def _damaged(path: Path, error: Exception) -> ManifestError:
    return ManifestError(f"manifest {str(path)!r} is damaged: {error}. Delete it, and scan again.")


def _map(path: Path) -> tuple[pa.RecordBatch, dict[str, Any]]:
    reader = pa.ipc.open_file(pa.memory_map(str(path)))
    notes = dict(json.loads(reader.schema.metadata[_KEY]))
    batch = reader.get_batch(0)
    if notes["version"] == VERSION:
        batch.validate()
        if missing := _NOTES - notes.keys():
            raise ValueError(f"{sorted(missing)} are missing in its metadata")
        if not all(isinstance(source["root"], str) for source in notes["sources"]):
            raise ValueError("a source has no root")
        for field in SCHEMA:
            if batch.schema.field(field.name).type != field.type:
                raise ValueError(f"column {field.name!r} is not of type {field.type}")
        if reader.num_record_batches != 1 or len(batch) != notes["images"] + notes["refused"]:
            raise ValueError(f"{len(batch)} rows, not {notes['images']} + {notes['refused']}")
    return batch, notes
