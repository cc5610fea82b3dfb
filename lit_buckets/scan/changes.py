"""What is known from earlier passes, and what has to be read because it is not."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lit_buckets.headers import UNOPENED
from lit_buckets.manifest import SCHEMA, Manifest, ManifestError
from lit_buckets.scan.listing import NO_CAPTION
from lit_buckets.sources import Source

__all__ = ["Known", "Todo", "compare", "described", "find_known"]

BoolArray: TypeAlias = npt.NDArray[np.bool_]
IntArray: TypeAlias = npt.NDArray[np.int64]

_log = logging.getLogger("lit_buckets")


def described(source: Source) -> dict[str, Any]:
    """A source as the manifest's metadata hold it."""
    return {
        **source.identity(),
        "root": source.root,
        "confined": source.confined,
        "repeats": source.repeats,
    }


class Known(NamedTuple):
    """Rows of earlier passes.

    Attributes:
        rows: Of all sources, one source after another, with every column of a manifest.
        of_source: For each source, its slice of the rows, and the settings they were read under.
        exact: The manifest of these very sources, if there is one.
    """

    rows: pa.Table
    of_source: list[tuple[slice, Mapping[str, Any]]]
    exact: Manifest | None


def find_known(file: Path, sources: Sequence[Source]) -> Known:
    """Rows of earlier passes over these sources, from the file itself or from its neighbours.

    Args:
        file: The manifest of these very sources, which need not exist. Others beside it, of
            other lists, may know some of the sources.
        sources: What is scanned.
    """
    exact = _open(file)
    earlier = [exact] if exact is not None else _relatives(file)
    tables, of_source, end = [SCHEMA.empty_table()], [], 0
    for source in sources:
        rows, settings = _earlier_rows(earlier, source)
        tables.append(rows)
        of_source.append((slice(end, end + len(rows)), settings))
        end += len(rows)
    return Known(pa.concat_tables(tables), of_source, exact)


def _open(file: Path) -> Manifest | None:
    try:
        return Manifest.open(file)
    except FileNotFoundError:
        return None
    except ManifestError as error:
        _log.warning("%s It is made anew.", error)
        return None


def _relatives(file: Path) -> list[Manifest]:
    """Manifests of other lists of sources in the same folder, the latest first."""
    found = file.parent.glob("manifest-" + 16 * "[0-9a-f]" + ".arrow")
    opened = [_open(other) for other in found if other != file]
    manifests = [manifest for manifest in opened if manifest is not None]
    return sorted(manifests, key=lambda manifest: manifest.file.stat().st_mtime_ns, reverse=True)


def _earlier_rows(
    manifests: Sequence[Manifest], source: Source
) -> tuple[pa.Table, Mapping[str, Any]]:
    wanted = {**described(source), "repeats": None}
    for manifest in manifests:
        for place, earlier in enumerate(manifest.sources):
            if {**earlier, "repeats": None} != wanted:
                continue
            rows = manifest.all_rows.select(SCHEMA.names)
            if len(manifest.sources) > 1:
                rows = rows.filter(pc.equal(rows.column("source"), place))
            return rows, manifest.settings
    return SCHEMA.empty_table(), {}


class Todo(NamedTuple):
    """What has to be read, for a listing of N rows.

    Attributes:
        earlier: (N,) the known row of the same file, whether it has changed or not; -1 if none.
        header: (N,) whether the image's header is read.
        caption: (N,) whether its caption is read.
        rows: Rows of which anything is read.
        nothing: Whether the manifest that exists is right as it is.
    """

    earlier: IntArray
    header: BoolArray
    caption: BoolArray
    rows: IntArray
    nothing: bool


def compare(
    listing: pa.Table, known: Known, sources: Sequence[Source], settings: Mapping[str, Any]
) -> Todo:
    """Find what has to be read: what is new, has changed, or might fare better this time.

    Args:
        listing: N rows, one source after another.
        known: Rows of earlier passes.
        sources: Their places are the listing's `source`.
        settings: Those of this pass; a file that other settings refused gets another try.
    """
    places = listing.column("source").to_numpy()
    earlier = np.full(len(listing), -1, dtype=np.int64)
    again = np.zeros(len(known.rows), dtype=bool)
    for place, (part, read_under) in enumerate(known.of_source):
        rows = known.rows.slice(part.start, part.stop - part.start)
        first, last = np.searchsorted(places, [place, place + 1])  # sources follow one another
        found = _find(listing.column("path").slice(first, last - first), rows.column("path"))
        earlier[first:last] = np.where(found >= 0, found + part.start, -1)
        again[part] = _worth_another_try(rows, read_under, settings)
    at, is_known = np.maximum(earlier, 0), earlier >= 0

    def same(column: str) -> BoolArray:
        if not len(known.rows):
            return is_known
        before, now = known.rows.column(column).to_numpy()[at], listing.column(column).to_numpy()
        return np.asarray(is_known & (before == now))

    readable = pc.equal(listing.column("reason"), "").to_numpy()
    unchanged = same("bytes") & same("mtime_ns") & ~(again[at] if len(again) else ~is_known)
    header = readable & ~unchanged
    has_caption = listing.column("caption_mtime_ns").to_numpy() != NO_CAPTION
    caption = readable & has_caption & ~same("caption_mtime_ns")
    rows_to_read = np.flatnonzero(header | caption)
    nothing = (
        known.exact is not None
        and known.exact.settings == dict(settings)
        and len(listing) == len(known.rows)
        and not len(rows_to_read)
        and bool(is_known.all() and same("caption_mtime_ns").all())
        and _same_refusals(listing, known, earlier, np.flatnonzero(~readable))
    )
    return Todo(earlier, header, caption, rows_to_read, nothing)


def _find(paths: pa.ChunkedArray, earlier: pa.ChunkedArray) -> IntArray:
    """Place of each path among the earlier ones; -1 where it is not among them."""
    if paths.equals(earlier):
        return np.arange(len(paths))
    found = pc.index_in(paths, value_set=earlier.combine_chunks())
    return np.asarray(pc.fill_null(found, -1).to_numpy().astype(np.int64))


def _worth_another_try(
    rows: pa.Table, read_under: Mapping[str, Any], settings: Mapping[str, Any]
) -> BoolArray:
    """Files that might fare otherwise although they have not changed."""
    reason = rows.column("reason")
    again = pc.starts_with(reason, UNOPENED).to_numpy()
    if read_under != settings:
        area = rows.column("height").to_numpy().astype(np.int64) * rows.column("width").to_numpy()
        again = again | pc.not_equal(reason, "").to_numpy() | (area > settings["max_image_pixels"])
    return np.asarray(again, dtype=bool)


def _same_refusals(listing: pa.Table, known: Known, earlier: IntArray, refused: IntArray) -> bool:
    """Whether the files that are refused unread were so before, for the same reasons."""
    now = listing.column("reason").take(pa.array(refused))
    before = known.rows.column("reason").take(pa.array(earlier[refused]))
    return bool(now.equals(before))
