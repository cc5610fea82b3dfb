"""How a manifest remembers the files that hold many images, so that they are not indexed again."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from lit_buckets.sources import Container

__all__ = ["from_notes", "to_notes"]


def to_notes(containers: Sequence[Sequence[Container]]) -> dict[str, Any]:
    """What JSON can hold of the containers of each source."""
    flat = [one for each in containers for one in each]
    schemas = {one.columns.serialize().to_pybytes(): None for one in flat}  # few, for many files
    place = {schema: number for number, schema in enumerate(schemas)}
    return {
        "schemas": [base64.b64encode(schema).decode() for schema in schemas],
        "files": [
            [
                [one.name, one.bytes, one.change, place[one.columns.serialize().to_pybytes()]]
                for one in each
            ]
            for each in containers
        ],
    }


def from_notes(notes: dict[str, Any], source: int) -> dict[str, Container]:
    """The containers of one source by name, from `to_notes`."""
    schemas = [
        pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text))) for text in notes["schemas"]
    ]
    return {
        name: Container(name, length, change, schemas[schema])
        for name, length, change, schema in notes["files"][source]
    }
