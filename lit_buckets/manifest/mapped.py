"""A manifest's file: written in one piece, and mapped into memory."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from lit_buckets.errors import DataError
from lit_buckets.manifest.columns import SCHEMA
from lit_buckets.manifest.files import replace_file

__all__ = ["VERSION", "ManifestError", "map_file", "write_file"]

#: Version of the file's format. A file of another version is made anew.
VERSION = 3

_KEY = b"lit_buckets"


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
        raise ManifestError(
            f"manifest {str(path)!r} is damaged: {error}. Delete it, and scan again."
        ) from error
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
    document = json.dumps({"version": VERSION, **notes}).encode()
    schema = batch.schema.with_metadata({_KEY: document})

    def save(temporary: Path) -> None:
        with temporary.open("xb") as sink:
            with pa.ipc.new_file(sink, schema) as writer:
                writer.write_batch(batch.replace_schema_metadata(schema.metadata))
            sink.flush()
            os.fsync(sink.fileno())

    replace_file(path, save)


def _map(path: Path) -> tuple[pa.RecordBatch, dict[str, Any]]:
    reader = pa.ipc.open_file(pa.memory_map(str(path)))
    notes = dict(json.loads(reader.schema.metadata[_KEY]))
    batch = reader.get_batch(0)
    if notes["version"] == VERSION:
        batch.validate()
        for field in SCHEMA:
            if batch.schema.field(field.name).type != field.type:
                raise ValueError(f"column {field.name!r} is not of type {field.type}")
        if reader.num_record_batches != 1 or len(batch) != notes["images"] + notes["refused"]:
            raise ValueError(f"{len(batch)} rows, not {notes['images']} + {notes['refused']}")
    return batch, notes
