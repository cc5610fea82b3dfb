"""The columns of a manifest: their types, their order, and hashes over them."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = [
    "BATCH_FIELDS",
    "SCHEMA",
    "as_batch",
    "checksum",
    "fingerprint",
    "hash_strings",
    "is_same",
]

IntArray = npt.NDArray[np.int64]

#: Columns of every manifest, in this order.
SCHEMA = pa.schema(
    [
        pa.field("path", pa.large_string(), nullable=False),
        pa.field("source", pa.int16(), nullable=False),
        pa.field("container", pa.large_string(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("measured", pa.bool_(), nullable=False),
        pa.field("verified", pa.bool_(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("mtime_ns", pa.int64(), nullable=False),
        pa.field("repeats", pa.int32(), nullable=False),
        pa.field("caption", pa.large_string(), nullable=False),
        pa.field("caption_bytes", pa.int64(), nullable=False),
        pa.field("caption_mtime_ns", pa.int64(), nullable=False),
        pa.field("reason", pa.large_string(), nullable=False),
    ]
)
#: What batches hold whatever the further columns: none of these may take such a name.
BATCH_FIELDS = (
    *("image", "mask", "caption", "index", "path", "valid"),
    *("original_size", "crop_top_left", "target_size"),
)
_DEFAULTS: Mapping[str, Any] = {
    "source": 0,
    "container": "",
    "offset": 0,
    "measured": True,
    "verified": False,
    "bytes": 0,
    "mtime_ns": 0,
    "repeats": 1,
    "caption": "",
    "caption_bytes": 0,
    "caption_mtime_ns": -1,
    "reason": "",
}


def as_batch(table: pa.Table, sources: int) -> tuple[pa.RecordBatch, int]:
    """One record batch in the order of the schema, refused rows last, and the number of images."""
    columns = {name: table.column(name) for name in table.column_names}
    for field in SCHEMA:
        if field.name not in columns and field.name not in _DEFAULTS:
            raise ValueError(f"column {field.name!r} is missing; there are {table.column_names}.")
        if field.name not in columns:
            value = pa.scalar(_DEFAULTS[field.name], field.type)
            columns[field.name] = pa.chunked_array([pa.repeat(value, table.num_rows)])
        columns[field.name] = columns[field.name].cast(field.type)
        if columns[field.name].null_count:
            raise ValueError(f"column {field.name!r} holds {columns[field.name].null_count} nulls.")
    extra = [table.schema.field(name) for name in table.column_names if name not in SCHEMA.names]
    schema = pa.schema([*SCHEMA, *extra])
    ordered = pa.table([columns[name] for name in schema.names], schema=schema)
    _check_sources(ordered, sources)
    refused = pc.not_equal(ordered.column("reason"), "").to_numpy()
    images = len(refused) - int(np.count_nonzero(refused))
    if refused[:images].any():
        ordered = ordered.take(pa.array(np.argsort(refused, kind="stable")))
    arrays = [_one_piece(column) for column in ordered.columns]
    return pa.RecordBatch.from_arrays(arrays, schema=schema), images


def _check_sources(table: pa.Table, sources: int) -> None:
    if not table.num_rows:
        return
    ends = pc.min_max(table.column("source")).as_py()
    if not 0 <= ends["min"] <= ends["max"] < sources:
        raise ValueError(
            f"column 'source' holds {ends['min']} to {ends['max']}; there are {sources} sources."
        )


def _one_piece(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _strings(array: pa.Array) -> tuple[IntArray, npt.NDArray[np.uint8]]:
    """Where each of N strings begins, (N + 1,) from 0 on, and the bytes of all of them."""
    _, offsets, data = array.buffers()
    if not len(array):
        return np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.uint8)
    places = np.frombuffer(offsets, np.int64, len(array) + 1, 8 * array.offset)
    content = np.zeros(0, dtype=np.uint8) if data is None else np.frombuffer(data, np.uint8)
    return places - places[0], content[places[0] : places[-1]]


def fingerprint(batch: pa.RecordBatch, labels: Sequence[str]) -> str:
    """SHA-256 of what tells the images of all rows apart, in hexadecimal digits.

    Args:
        batch: The images, with the columns of the schema.
        labels: What each source is called; only what tells several apart is used of it.

    Returns:
        A hash of paths, sizes, repeats and sources; and of the lengths of images in containers,
        which may have no lasting names.
    """
    digest = hashlib.sha256(b"lit_buckets manifest 2\n")
    digest.update("\n".join(_told_apart(labels)).encode(errors="surrogatepass"))
    for part in _strings(batch.column("path")):
        digest.update(np.ascontiguousarray(part).data)
    for name in ("height", "width", "repeats", "source"):
        digest.update(np.ascontiguousarray(batch.column(name).to_numpy()).data)
    contained = pc.not_equal(batch.column("container"), "").to_numpy(zero_copy_only=False)
    digest.update(batch.column("bytes").to_numpy()[contained].data)
    return digest.hexdigest()


def _told_apart(labels: Sequence[str]) -> list[str]:
    """The least of their last parts that tells paths apart; none of it for a single one.

    Example:
        >>> _told_apart(["/data/photos"]), _told_apart(["/a/cats/train", "s3://dogs/train"])
        ([''], ['cats/train', 'dogs/train'])
    """
    parts = [label.replace("\\", "/").split("/") for label in labels]
    for count in range(max(map(len, parts), default=0)):
        ends = ["/".join(each[len(each) - count :]) for each in parts]
        if len(set(ends)) == len(set(labels)):
            return ends
    return list(labels)


_BLOCK = 2**16  # rows that are hashed at once: tens of megabytes


def checksum(batch: pa.RecordBatch, crc: int = 0) -> int:
    """CRC-32 over all columns and their names and types, beginning with that of something else."""
    written = batch.schema.remove_metadata().serialize()
    # as it is read again: a map, for one, does not keep the names within it
    crc = zlib.crc32(pa.ipc.read_schema(written).serialize(), crc)
    for low in range(0, len(batch), _BLOCK):
        crc = zlib.crc32(batch.slice(low, _BLOCK).serialize(), crc)
    return crc


def is_same(one: pa.ChunkedArray, other: pa.ChunkedArray) -> bool:
    """Whether two columns hold the same values; two NaN are the same, wherever they lie.

    Example:
        >>> nan = pa.chunked_array([[[1.0, float("nan")], None]])
        >>> nan.equals(nan), is_same(nan, nan)
        (False, True)
    """
    kind = one.type
    if kind != other.type or one.equals(other):
        return bool(kind == other.type)
    if not pc.is_null(one).equals(pc.is_null(other)):
        return False
    if pa.types.is_floating(kind):
        return np.array_equal(one.to_numpy(), other.to_numpy(), equal_nan=True)  # null is NaN, too
    if pa.types.is_map(kind):  # a list of pairs
        pairs = pa.list_(pa.struct([kind.key_field, kind.item_field]))
        return is_same(one.cast(pairs), other.cast(pairs))
    if pa.types.is_struct(kind):
        return all(
            is_same(pc.struct_field(one, [i]), pc.struct_field(other, [i]))
            for i in range(kind.num_fields)
        )
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        lengths = (pc.list_value_length(each) for each in (one, other))
        return next(lengths).equals(next(lengths)) and is_same(
            pc.list_flatten(one), pc.list_flatten(other)
        )
    return False


def hash_strings(array: pa.Array) -> npt.NDArray[np.uint64]:
    """(N,) 64-bit hashes, the same on every machine; no Python object is made for any row."""
    places, data = _strings(array)
    hashes = np.diff(places).astype(np.uint64)
    for low in range(0, len(hashes), _BLOCK):
        start, end = places[low : low + _BLOCK + 1][:-1], places[low + 1 : low + _BLOCK + 1]
        block = hashes[low : low + _BLOCK]
        live = np.flatnonzero(start < end)
        while len(live):
            at = start[live, None] + np.arange(8)
            letters = np.where(at < end[live, None], data[np.minimum(at, len(data) - 1)], 0)
            words = np.ascontiguousarray(letters.astype(np.uint8)).view("<u8")[:, 0]
            block[live] = _mix(block[live] ^ words)
            start = start + 8
            live = live[start[live] < end[live]]
    return _mix(hashes)


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64: each bit of the result depends on every bit of the value."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))
