"""What has to be read, because it is new, or not as it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lit_buckets.headers import UNOPENED
from lit_buckets.manifest import SCHEMA, is_same
from lit_buckets.scan.known import Known
from lit_buckets.scan.listing import NO_CAPTION, Listing

__all__ = ["WITHOUT_CAPTION", "BoolArray", "IntArray", "Todo", "compare"]

BoolArray: TypeAlias = npt.NDArray[np.bool_]
IntArray: TypeAlias = npt.NDArray[np.int64]

#: The reason of images that are refused for want of a caption alone.
WITHOUT_CAPTION = "it has no caption, and missing_caption is skip"

_SAMPLE = 256  # sizes of each source's own that are held against its files


class Todo(NamedTuple):
    """What has to be read, for a listing of N rows.

    Attributes:
        earlier: (N,) the known row of the same file, whether it has changed or not; -1 if none.
        header: (N,) whether the image's header is read.
        listed: (N,) whether its size is taken over from its source.
        caption: (N,) whether its caption is read.
        rows: Rows of which anything is read.
        nothing: Whether the manifest that exists is right as it is.
    """

    earlier: IntArray
    header: BoolArray
    listed: BoolArray
    caption: BoolArray
    rows: IntArray
    nothing: bool


def compare(
    listing: Listing, known: Known, settings: Mapping[str, Any], *, verify: bool = False
) -> Todo:
    """Find what has to be read: what is new, has changed, or might fare better this time.

    Args:
        listing: N rows, one source after another.
        known: Rows of earlier passes.
        settings: Those of this pass; a file that other settings refused gets another try.
        verify: Whether images whose data were never decoded are read as well.
    """
    pairs = _Pairs.of(listing.rows, known, settings)
    readable = ~pairs.now_refused
    unchanged = readable & pairs.same("bytes", "mtime_ns", "container", "offset") & ~pairs.again
    sized = readable & (pairs.now("height") > 0) & (pairs.now("width") > 0)
    # a size that was read stands for the file, unless the source now says another
    right = ~sized | pairs.same("height", "width") | pairs.was_unreadable
    known_well = pairs.before("measured").astype(bool)
    if verify:
        known_well &= pairs.before("verified") | pairs.was_unreadable
    reused = unchanged & known_well & right
    header = readable & ~reused & (~sized | verify | _checked(listing.rows, sized, settings))
    listed = sized & ~reused & ~header
    in_file = pc.is_null(listing.rows.column("caption")).to_numpy()
    has_caption = in_file & (pairs.now("caption_mtime_ns") != NO_CAPTION)
    caption = readable & has_caption & ~pairs.same("caption_bytes", "caption_mtime_ns")
    rows_to_read = np.flatnonzero(header | caption)
    nothing = (
        known.exact is not None
        and known.exact.settings == dict(settings)
        and not len(rows_to_read)
        and pairs.are_equal(listed, in_file)
        and [dict(each.containers) for each in known.earlier]
        == [{one.name: one for one in each} for each in listing.containers]
    )
    return Todo(pairs.earlier, header, listed, caption, rows_to_read, nothing)


def _checked(rows: pa.Table, sized: BoolArray, settings: Mapping[str, Any]) -> BoolArray:
    """Sizes that sources give and that are read all the same.

    These are a sample, evenly spread over each source, and those that lead to a refusal: what
    is refused is refused for what its file holds.
    """
    checked = _refused_for_size(rows, settings)
    candidates = np.flatnonzero(sized)
    places = rows.column("source").to_numpy()[candidates]
    for place in np.unique(places):
        first, last = np.searchsorted(places, [place, place + 1])
        spread = np.linspace(first, last - 1, min(_SAMPLE, last - first)).astype(np.int64)
        checked[candidates[spread]] = True
    return checked


class _Pairs(NamedTuple):
    """The rows of a listing, each beside the row of the same image that was known before."""

    rows: pa.Table
    known: pa.Table
    earlier: IntArray  # (N,) -1 if none
    again: BoolArray  # (N,) whether it might fare otherwise although it has not changed

    @classmethod
    def of(cls, rows: pa.Table, known: Known, settings: Mapping[str, Any]) -> _Pairs:
        places = rows.column("source").to_numpy()
        earlier = np.full(len(rows), -1, dtype=np.int64)
        again = np.zeros(len(known.rows) + 1, dtype=bool)  # the last for those without
        for place, (part, read_under) in enumerate(known.of_source):
            before = known.rows.slice(part.start, part.stop - part.start)
            first, last = np.searchsorted(places, [place, place + 1])  # sources follow one another
            found = _find(rows.column("path").slice(first, last - first), before.column("path"))
            earlier[first:last] = np.where(found >= 0, found + part.start, -1)
            again[part] = _worth_another_try(before, read_under, settings)
        return cls(rows, known.rows, earlier, again[earlier])

    def now(self, column: str) -> npt.NDArray[Any]:
        return np.asarray(self.rows.column(column).to_numpy())

    def before(self, column: str) -> npt.NDArray[Any]:
        """Known values; any value where none is known."""
        if not len(self.known):
            return np.zeros(len(self.rows), SCHEMA.field(column).type.to_pandas_dtype())
        return np.asarray(self.known.column(column).to_numpy()[np.maximum(self.earlier, 0)])

    def same(self, *columns: str) -> BoolArray:
        """Whether a row is known and has the same values."""
        same = self.earlier >= 0
        for name in columns:
            if pa.types.is_large_string(SCHEMA.field(name).type):
                same = same & self._same_text(name)
            else:
                same = same & (self.before(name) == self.now(name))
        return same

    @property
    def now_refused(self) -> BoolArray:
        return np.asarray(pc.not_equal(self.rows.column("reason"), "").to_numpy())

    @property
    def was_refused(self) -> BoolArray:
        return self._had(pc.not_equal(self.known.column("reason"), ""))

    @property
    def was_unreadable(self) -> BoolArray:
        return self._had(_unreadable(self.known))

    def _had(self, mask: pa.ChunkedArray) -> BoolArray:
        return (self.earlier >= 0) & np.append(mask.to_numpy(), False)[self.earlier]

    def are_equal(self, listed: BoolArray, caption_in_file: BoolArray) -> bool:
        """Whether the known rows are just what this listing would give, with nothing read.

        Args:
            listed: (N,) whether the size is the source's.
            caption_in_file: (N,) whether the caption is not.
        """
        further = [name for name in self.rows.column_names if name not in SCHEMA.names]
        if further != [name for name in self.known.column_names if name not in SCHEMA.names]:
            return False
        if len(self.known) != len(self.rows) or not (self.earlier >= 0).all():
            return False
        images = np.flatnonzero(~self.was_refused)
        text = np.flatnonzero(~caption_in_file & ~self.now_refused)
        size = self.same("height", "width") & ~self.before("measured").astype(bool)
        return bool(
            (np.diff(self.earlier[images]) > 0).all()
            and self.same("bytes", "mtime_ns", "container", "offset").all()
            and self.same("caption_bytes", "caption_mtime_ns").all()
            and (size | self.was_refused)[listed].all()
            and self._equal("caption", text)
            and self._equal("reason", np.flatnonzero(self.now_refused))
            and all(self._equal(name) for name in further)
        )

    def _same_text(self, name: str) -> BoolArray:
        now, before = self._both(name)
        return np.asarray(pc.fill_null(pc.equal(now, before), False).to_numpy())

    def _equal(self, name: str, rows: IntArray | None = None) -> bool:
        return is_same(*self._both(name, rows))

    def _both(
        self, name: str, rows: IntArray | None = None
    ) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
        now, before = self.rows.column(name), self.known.column(name)
        earlier = self.earlier if rows is None else self.earlier[rows]
        if rows is not None:
            now = now.take(pa.array(rows))
        elif len(now) == len(before) and (earlier == np.arange(len(earlier))).all():
            return now, before
        return now, before.take(pa.array(earlier, mask=earlier < 0))


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
        again = again | _unreadable(rows).to_numpy() | _refused_for_size(rows, settings)
    return np.asarray(again, dtype=bool)


def _refused_for_size(rows: pa.Table, settings: Mapping[str, Any]) -> BoolArray:
    """Sizes that the settings do not admit; none of those that are not known."""
    height, width = (rows.column(name).to_numpy().astype(np.int64) for name in ("height", "width"))
    short, long = np.minimum(height, width), np.maximum(height, width)
    ratio = settings["max_image_ratio"] or 2**31  # no side is longer
    refused = (short * long > settings["max_image_pixels"]) | (long > short * ratio)
    return np.asarray((short > 0) & (refused | (short < settings["min_image_side"])))


def _unreadable(rows: pa.Table) -> pa.ChunkedArray:
    """Whether an image was refused for itself, whatever its caption."""
    reason = rows.column("reason")
    return pc.and_(pc.not_equal(reason, ""), pc.not_equal(reason, WITHOUT_CAPTION))
