"""The setup pass: folders of images become a manifest on disk, and stay up to date.

Sources are listed; what is known from an earlier pass and has neither another length nor another
time of last change is taken over; only the rest is read, headers only and many at once.
"""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import PIL
import pyarrow as pa
import pyarrow.compute as pc
import rich.console
import rich.progress

from lit_buckets.errors import ConfigError, DataError
from lit_buckets.headers import MAX_IMAGE_PIXELS, SUFFIXES, UNOPENED, FileRead, Job, quiet
from lit_buckets.manifest import (
    SCHEMA,
    Manifest,
    ManifestError,
    Refused,
    read_failures,
    replace_file,
)
from lit_buckets.readers import BATCH, read_in_order
from lit_buckets.sources import Entry, FolderSource, Source

__all__ = ["manifest_file", "scan"]

_log = logging.getLogger("lit_buckets")

Sources: TypeAlias = "str | os.PathLike[str] | Source | Sequence[str | os.PathLike[str] | Source]"
_BoolArray: TypeAlias = npt.NDArray[np.bool_]
_IntArray: TypeAlias = npt.NDArray[np.int64]

_BLOCK = 2**13  # rows that are held as Python objects at a time
_FAILED = "failed in decoding"
_NO_CAPTION, _CAPTION_UNREAD = -1, -2  # in place of a caption file's time of change
_DAY = 86_400  # seconds


def scan(
    path_or_sources: Sources,
    *,
    cache_dir: str | os.PathLike[str],
    on_unreadable: str = "skip",
    max_image_pixels: int = MAX_IMAGE_PIXELS,
    workers: int | None = None,
    progress: bool | None = None,
) -> Manifest:
    """Size a dataset: list its images, read their headers, and write the manifest.

    The manifest lies in ``cache_dir/manifest-<hash of the sources>.arrow``. A second call reads
    only images and captions that are new or have changed; if there are none, it maps the file
    and leaves it as it is. A folder that was added to the list costs no new pass over the others.

    A folder that is a source itself is left to that source by every other one that holds it: no
    image comes twice, and ``[{path: all}, {path: all/best, repeats: 5}]`` does what it says.

    Files that cannot be read are listed with their reasons in the manifest (`Manifest.refused`)
    and in ``refused-<hash>.csv`` beside it. Images that failed in decoding
    (`Manifest.mark_failed`) are among them, until they change.

    Args:
        path_or_sources: A folder, a `Source`, or several of them.
        cache_dir: Folder for the manifest; made if need be.
        on_unreadable: "skip" leaves unreadable files out; "error" stops at them.
        max_image_pixels: Larger images are refused, in pixels.
        workers: How many files are read at once; None chooses, 1 keeps to this thread.
        progress: Whether to show a bar; None shows one in a terminal.

    Returns:
        The manifest, mapped: images in the order of the sources, then of their paths.

    Raises:
        ConfigError: If an argument is out of its range.
        DataError: If a source is missing or holds no readable image, two sources are the same
            folder, `cache_dir` cannot be written, or a file is unreadable and `on_unreadable`
            is "error".
    """
    begun = time.perf_counter()
    _check_arguments(on_unreadable, max_image_pixels, workers)
    sources = _as_sources(path_or_sources)
    file = manifest_file(sources, cache_dir=cache_dir)
    report = file.with_name(file.stem.replace("manifest", "refused") + ".csv")
    settings = {"max_image_pixels": max_image_pixels, "pillow": PIL.__version__}
    with _Progress(progress) as bar:
        listing = _without_failures(_list(sources, bar), sources, file.parent)
        known = _known(file, sources)
        todo = _compare(listing, known, sources, settings)
        manifest = known.exact
        if manifest is None or not todo.nothing:
            fresh = _read(listing, todo, sources, max_image_pixels, workers, bar)
            rows = _assemble(listing, known, todo, fresh)
            _check_readable(rows, sources)
            manifest = _write(file, rows, sources, settings)
    _write_report(manifest, report)
    _log_summary(manifest, report, len(todo.rows), time.perf_counter() - begun)
    if on_unreadable == "error" and manifest.refused:
        raise DataError(
            f"on_unreadable='error': {len(manifest.refused):,} of "
            f"{len(manifest) + len(manifest.refused):,} files cannot be read: "
            f"{_first(manifest.refused)}. Repair or remove them (all are in {str(report)!r}), "
            f"or set on_unreadable='skip'."
        )
    return manifest


def manifest_file(path_or_sources: Sources, cache_dir: str | os.PathLike[str]) -> Path:
    """Where `scan` keeps the manifest of these sources, whether it is there yet or not.

    Args:
        path_or_sources: As given to `scan`.
        cache_dir: As given to `scan`.

    Returns:
        An absolute path. Nothing is read.
    """
    sources = _as_sources(path_or_sources)
    return Path(cache_dir).absolute() / f"manifest-{_digest(sources)}.arrow"


def _check_arguments(on_unreadable: str, max_image_pixels: int, workers: int | None) -> None:
    if on_unreadable not in ("skip", "error"):
        raise ConfigError(f"on_unreadable={on_unreadable!r} must be 'skip' or 'error'.")
    if max_image_pixels < 1:
        raise ConfigError(
            f"max_image_pixels={max_image_pixels} must be at least 1; the default is "
            f"{MAX_IMAGE_PIXELS}."
        )
    if workers is not None and workers < 1:
        raise ConfigError(f"workers={workers} must be at least 1; 1 reads without helpers.")


def _as_sources(given: Sources) -> list[Source]:
    if isinstance(given, (str, os.PathLike)):
        return [FolderSource(given)]
    if isinstance(given, Source):
        return [given]
    sources = [FolderSource(one) if isinstance(one, (str, os.PathLike)) else one for one in given]
    if not sources:
        raise DataError("the list of sources is empty; at least 1 is needed. Name a folder.")
    return sources


def _described(source: Source) -> dict[str, Any]:
    return {**source.identity(), "root": source.root, "repeats": source.repeats}


def _digest(sources: Sequence[Source]) -> str:
    """16 hexadecimal digits; other repeats have others, since another run may use the file."""
    text = json.dumps([_described(source) for source in sources], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# ------------------------------------------------------------------ what is there


def _list(sources: Sequence[Source], bar: _Progress) -> pa.Table:
    """Everything that the sources list, in order: the columns of a manifest that need no reading.

    `reason` is set, and `mtime_ns` is -1, where a source itself refuses a file.
    """
    folders = [os.path.realpath(s.root) if isinstance(s, FolderSource) else "" for s in sources]
    tables = []
    for place, source in enumerate(sources):
        others = {folder for folder in folders[:place] + folders[place + 1 :] if folder}
        if folders[place] in others:
            raise DataError(
                f"path={source.root!r} is listed twice among {len(sources)} sources, and an image "
                f"belongs to one. Keep one of them, and give it 'repeats'."
            )
        blocks = [
            _listed(block, place, source.repeats)
            for block in _blocks(source.entries(apart_from=others), bar)
        ]
        if not blocks:
            raise DataError(
                f"path={source.root!r} holds no image: of its files, 0 have one of the "
                f"{len(SUFFIXES)} known suffixes (.jpg, .png, .webp, ...). Check the path."
            )
        tables += blocks
    return pa.concat_tables(tables).combine_chunks()


def _blocks(entries: Iterator[Entry], bar: _Progress) -> Iterator[list[Entry]]:
    while block := list(islice(entries, _BLOCK)):
        bar.listed(len(block))
        yield block


def _listed(block: list[Entry], place: int, repeats: int) -> pa.Table:
    paths, lengths, times, caption_times, reasons = zip(*block, strict=True)
    refused = np.array([bool(reason) for reason in reasons])
    return _table(
        path=list(paths),
        source=np.full(len(block), place),
        bytes=np.array(lengths),
        mtime_ns=np.where(refused, -1, np.array(times)),
        repeats=np.full(len(block), repeats),
        caption_mtime_ns=np.where(refused, _NO_CAPTION, np.array(caption_times)),
        reason=list(reasons),
    )


def _table(**columns: Any) -> pa.Table:
    fields = [SCHEMA.field(name) for name in columns]
    arrays = [
        pa.array(column, field.type) for column, field in zip(columns.values(), fields, strict=True)
    ]
    return pa.table(arrays, schema=pa.schema(fields))


def _without_failures(listing: pa.Table, sources: Sequence[Source], cache: Path) -> pa.Table:
    """The listing with a reason for every image that failed in decoding, and has not changed."""
    reasons: dict[int, str] = {}
    paths, places = listing.column("path"), listing.column("source").to_numpy()
    lengths, times = listing.column("bytes").to_numpy(), listing.column("mtime_ns").to_numpy()
    failures = read_failures(cache)
    for place, source in enumerate(sources):
        prefix = f"{source.root}/" if source.root else ""
        inside = {path[len(prefix) :]: path for path in failures if path.startswith(prefix)}
        found = pc.is_in(paths, value_set=pa.array(inside, pa.large_string())).to_numpy()
        for row in np.flatnonzero(found & (places == place)).tolist():
            failure = failures[inside[paths[row].as_py()]]
            if (failure.bytes, failure.mtime_ns) == (lengths[row], times[row]):
                reasons[row] = f"{_FAILED}: {failure.reason}"
    if not reasons:
        return listing
    mask = np.zeros(len(listing), dtype=bool)
    mask[list(reasons)] = True
    new = pa.array([reasons[row] for row in sorted(reasons)], pa.large_string())
    merged = pc.replace_with_mask(listing.column("reason"), pa.array(mask), new)
    return listing.set_column(listing.column_names.index("reason"), SCHEMA.field("reason"), merged)


# ------------------------------------------------------------------ what is known


class _Known(NamedTuple):
    """Rows of earlier passes.

    Attributes:
        rows: Of all sources, one source after another, with every column of a manifest.
        of_source: For each source, its slice of the rows, and the settings they were read under.
        exact: The manifest of these very sources, if there is one.
    """

    rows: pa.Table
    of_source: list[tuple[slice, Mapping[str, Any]]]
    exact: Manifest | None


def _known(file: Path, sources: Sequence[Source]) -> _Known:
    exact = _open(file)
    earlier = [exact] if exact is not None else _relatives(file)
    tables, of_source, end = [SCHEMA.empty_table()], [], 0
    for source in sources:
        rows, settings = _earlier_rows(earlier, source)
        tables.append(rows)
        of_source.append((slice(end, end + len(rows)), settings))
        end += len(rows)
    return _Known(pa.concat_tables(tables), of_source, exact)


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
    wanted = {**_described(source), "repeats": None}
    for manifest in manifests:
        for place, described in enumerate(manifest.sources):
            if {**described, "repeats": None} != wanted:
                continue
            rows = manifest.all_rows.select(SCHEMA.names)
            if len(manifest.sources) > 1:
                rows = rows.filter(pc.equal(rows.column("source"), place))
            return rows, manifest.settings
    return SCHEMA.empty_table(), {}


# ------------------------------------------------------------------ what is new


class _Todo(NamedTuple):
    """What has to be read, for a listing of N rows.

    Attributes:
        earlier: (N,) the known row of the same file, whether it has changed or not; -1 if none.
        header: (N,) whether the image's header is read.
        caption: (N,) whether its caption is read.
        rows: Rows of which anything is read.
        nothing: Whether the manifest that exists is right as it is.
    """

    earlier: _IntArray
    header: _BoolArray
    caption: _BoolArray
    rows: _IntArray
    nothing: bool


def _compare(
    listing: pa.Table, known: _Known, sources: Sequence[Source], settings: Mapping[str, Any]
) -> _Todo:
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

    def same(column: str) -> _BoolArray:
        if not len(known.rows):
            return is_known
        before, now = known.rows.column(column).to_numpy()[at], listing.column(column).to_numpy()
        return np.asarray(is_known & (before == now))

    readable = pc.equal(listing.column("reason"), "").to_numpy()
    unchanged = same("bytes") & same("mtime_ns") & ~(again[at] if len(again) else ~is_known)
    header = readable & ~unchanged
    has_caption = listing.column("caption_mtime_ns").to_numpy() != _NO_CAPTION
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
    return _Todo(earlier, header, caption, rows_to_read, nothing)


def _find(paths: pa.ChunkedArray, earlier: pa.ChunkedArray) -> _IntArray:
    """Place of each path among the earlier ones; -1 where it is not among them."""
    if paths.equals(earlier):
        return np.arange(len(paths))
    found = pc.index_in(paths, value_set=earlier.combine_chunks())
    return np.asarray(pc.fill_null(found, -1).to_numpy().astype(np.int64))


def _worth_another_try(
    rows: pa.Table, read_under: Mapping[str, Any], settings: Mapping[str, Any]
) -> _BoolArray:
    """Files that might fare otherwise although they have not changed."""
    reason = rows.column("reason")
    again = pc.or_(pc.starts_with(reason, UNOPENED), pc.starts_with(reason, _FAILED)).to_numpy()
    if read_under != settings:
        area = rows.column("height").to_numpy().astype(np.int64) * rows.column("width").to_numpy()
        again = again | pc.not_equal(reason, "").to_numpy() | (area > settings["max_image_pixels"])
    return np.asarray(again, dtype=bool)


def _same_refusals(
    listing: pa.Table, known: _Known, earlier: _IntArray, refused: _IntArray
) -> bool:
    """Whether the files that are refused unread were so before, for the same reasons."""
    now = listing.column("reason").take(pa.array(refused))
    before = known.rows.column("reason").take(pa.array(earlier[refused]))
    return bool(now.equals(before))


# ------------------------------------------------------------------ reading, and the new table

_READ = pa.schema(
    [
        *(SCHEMA.field(name) for name in ("height", "width", "reason", "caption")),
        pa.field("caption_read", pa.bool_()),
    ]
)


def _read(
    listing: pa.Table,
    todo: _Todo,
    sources: Sequence[Source],
    max_image_pixels: int,
    workers: int | None,
    bar: _Progress,
) -> pa.Table:
    """Read headers and captions; one row of results for each of the rows to read."""
    bar.begin(len(todo.rows))
    tables, results = [_READ.empty_table()], list[FileRead]()
    answers = read_in_order(
        _jobs(listing, todo, sources),
        files=len(todo.rows),
        max_image_pixels=max_image_pixels,
        workers=workers,
    )
    with quiet(), closing(answers):
        for answer in answers:
            bar.advance(len(answer))
            results += answer
            if len(results) >= _BLOCK:
                tables.append(_as_table(results))
                results = []
    return pa.concat_tables([*tables, _as_table(results)])


def _as_table(results: list[FileRead]) -> pa.Table:
    return pa.table(
        {
            "height": [result.height for result in results],
            "width": [result.width for result in results],
            "reason": [result.refused for result in results],
            "caption": [result.caption or "" for result in results],
            "caption_read": [result.caption is not None for result in results],
        },
        schema=_READ,
    )


def _jobs(listing: pa.Table, todo: _Todo, sources: Sequence[Source]) -> Iterator[list[Job]]:
    prefixes = [f"{source.root}/" if source.root else "" for source in sources]
    paths, places = listing.column("path"), listing.column("source").to_numpy()
    for low in range(0, len(todo.rows), BATCH):
        rows = todo.rows[low : low + BATCH]
        batch = []
        for row, path in zip(rows.tolist(), paths.take(pa.array(rows)).to_pylist(), strict=True):
            source, prefix = sources[places[row]], prefixes[places[row]]
            image = prefix + path if todo.header[row] else ""
            caption = prefix + source.caption_path(path) if todo.caption[row] else ""
            batch.append((image, caption))
        yield batch


def _assemble(listing: pa.Table, known: _Known, todo: _Todo, fresh: pa.Table) -> pa.Table:
    """The listing with sizes, reasons and captions, each read now or known from before."""
    new = np.full(len(listing), -1, dtype=np.int64)
    new[todo.rows] = np.arange(len(todo.rows)) + len(known.rows)
    refused = pc.not_equal(listing.column("reason"), "").to_numpy()
    caption_times = listing.column("caption_mtime_ns").to_numpy().copy()
    headers = np.where(refused, -1, np.where(todo.header, new, todo.earlier))
    captions = np.where(todo.caption, new, todo.earlier)
    captions[refused | (caption_times == _NO_CAPTION)] = -1

    def gather(name: str, index: _IntArray, default: Any) -> pa.ChunkedArray:
        both = pa.chunked_array(known.rows.column(name).chunks + fresh.column(name).chunks)
        picked = both.take(pa.array(index, mask=index < 0))
        return pc.fill_null(picked, pa.scalar(default, SCHEMA.field(name).type))

    caption_times[todo.rows[~fresh.column("caption_read").to_numpy()]] = _CAPTION_UNREAD
    reasons = pc.if_else(pa.array(refused), listing.column("reason"), gather("reason", headers, ""))
    columns = {name: listing.column(name) for name in listing.column_names}
    columns |= {
        "height": gather("height", headers, 0),
        "width": gather("width", headers, 0),
        "caption": gather("caption", captions, ""),
        "caption_mtime_ns": pa.chunked_array([pa.array(caption_times)]),
        "reason": reasons,
    }
    return pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)


def _check_readable(rows: pa.Table, sources: Sequence[Source]) -> None:
    """Raise if all images of a source are refused."""
    good = rows.column("source").filter(pc.equal(rows.column("reason"), "")).to_numpy()
    empty = np.flatnonzero(np.bincount(good, minlength=len(sources)) == 0)
    if not len(empty):
        return
    source = sources[empty[0]]
    bad = rows.filter(pc.equal(rows.column("source"), empty[0])).select(["path", "reason"])
    refused = [Refused(row["path"], row["reason"]) for row in bad.slice(0, 3).to_pylist()]
    raise DataError(
        f"path={source.root!r} holds no image that can be read: all {len(bad):,} are refused: "
        f"{_first(refused, len(bad))}. Check the path, or repair the files."
    )


def _write(
    file: Path, rows: pa.Table, sources: Sequence[Source], settings: Mapping[str, Any]
) -> Manifest:
    unread = int(np.count_nonzero(rows.column("caption_mtime_ns").to_numpy() == _CAPTION_UNREAD))
    if unread:
        _log.warning(
            "%s caption files could not be opened; these captions are empty.", f"{unread:,}"
        )
    try:
        _sweep(file.parent)
        return Manifest.write(
            file,
            rows,
            sources=[_described(source) for source in sources],
            settings=settings,
            keep_equal=True,
        )
    except OSError as error:
        raise DataError(
            f"cache_dir={str(file.parent)!r} cannot be written: {error.strerror or error}. "
            f"Name a folder with free space that this user may write."
        ) from error


def _sweep(cache: Path) -> None:
    """Remove what processes that were killed while writing have left behind."""
    for file in cache.glob(".*.tmp"):
        with suppress(FileNotFoundError):  # if another process was quicker
            if time.time() - file.stat().st_mtime > _DAY:
                file.unlink()


# ------------------------------------------------------------------ telling about it


def _write_report(manifest: Manifest, report: Path) -> None:
    """Refused files as a table for people, beside the manifest; none if there are none."""
    if not manifest.refused:
        report.unlink(missing_ok=True)
        return
    if report.exists() and report.stat().st_mtime_ns >= manifest.file.stat().st_mtime_ns:
        return

    def save(temporary: Path) -> None:
        with temporary.open("x", encoding="utf-8", errors="backslashreplace", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "reason"])
            writer.writerows(manifest.refused)

    replace_file(report, save)


def _log_summary(manifest: Manifest, report: Path, read: int, seconds: float) -> None:
    refused = f" (see {report})" if manifest.refused else ""
    _log.info(
        f"{len(manifest):,} images, {len(manifest.refused):,} refused{refused}, "
        f"{read:,} read anew, {seconds:.1f} s: {manifest.file}"
    )


def _first(refused: Sequence[Refused], count: int | None = None) -> str:
    """The first three with their reasons, and how many there are beside them."""
    more = (len(refused) if count is None else count) - 3
    text = "; ".join(f"{path!r} ({reason})" for path, reason in refused[:3])
    return f"{text}; and {more:,} more" if more > 0 else text


class _Progress:
    """A bar on a terminal's error stream, or nothing."""

    def __init__(self, show: bool | None) -> None:
        self._bar: rich.progress.Progress | None = None
        self._task = rich.progress.TaskID(0)
        self._begun = 0.0
        if show or (show is None and sys.stderr.isatty()):
            self._bar = rich.progress.Progress(
                "{task.description}",
                rich.progress.BarColumn(),
                rich.progress.MofNCompleteColumn(),
                "{task.fields[rate]}",
                rich.progress.TimeRemainingColumn(),
                console=rich.console.Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task("listing images", total=None, rate="")

    def __enter__(self) -> _Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def listed(self, count: int) -> None:
        if self._bar is not None:
            self._bar.advance(self._task, count)

    def begin(self, total: int) -> None:
        self._begun = time.monotonic()
        if self._bar is not None:
            self._bar.remove_task(self._task)
            self._task = self._bar.add_task("reading headers", total=total, rate="")

    def advance(self, count: int) -> None:
        if self._bar is not None:
            done = self._bar.tasks[0].completed + count
            rate = done / max(time.monotonic() - self._begun, 1e-3)
            self._bar.update(self._task, advance=count, rate=f"{rate:,.0f}/s")
