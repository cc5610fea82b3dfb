"""The setup pass: folders of images become a manifest on disk, and stay up to date.

Sources are listed; what is known from an earlier pass and has neither another length nor another
time of last change is taken over; only the rest is read, headers only and many at once.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import PIL
import pyarrow as pa
import pyarrow.compute as pc

from lit_buckets.errors import ConfigError, DataError
from lit_buckets.headers import MAX_IMAGE_PIXELS, Demands
from lit_buckets.manifest import Manifest, writing
from lit_buckets.scan.assembling import assemble, check_sizes
from lit_buckets.scan.changes import compare
from lit_buckets.scan.containers import to_notes
from lit_buckets.scan.known import described, find_known
from lit_buckets.scan.listing import CAPTION_UNREAD, list_sources
from lit_buckets.scan.lock import alone
from lit_buckets.scan.progress import Progress
from lit_buckets.scan.reading import read_files
from lit_buckets.scan.refusals import check_readable, first, report_file, summary, write_report
from lit_buckets.sources import Source, open_source

__all__ = ["manifest_file", "scan"]

_log = logging.getLogger("lit_buckets")

Sources: TypeAlias = "str | os.PathLike[str] | Source | Sequence[str | os.PathLike[str] | Source]"

_DAY = 86_400  # seconds


def scan(
    path_or_sources: Sources,
    *,
    cache_dir: str | os.PathLike[str],
    on_unreadable: str = "skip",
    max_image_pixels: int = MAX_IMAGE_PIXELS,
    min_image_side: int = 1,
    max_image_ratio: float | None = None,
    verify: bool = False,
    workers: int | None = None,
    progress: bool | None = None,
) -> Manifest:
    """Size a dataset: list its images, read their headers, and write the manifest.

    The manifest lies in ``cache_dir/manifest-<hash>.arrow``; the hash is of the sources, and of
    limits other than the usual ones. A second call reads only images and captions that are new or
    have changed; if there are none, it maps the file and leaves it as it is. A folder that was
    added to the list costs no new pass over the others.

    A folder that is a source itself is left to that source by every other one that holds it: no
    image comes twice, and ``[{path: all}, {path: all/best, repeats: 5}]`` does what it says.

    Files that cannot be read are listed with their reasons in the manifest (`Manifest.refused`)
    and in ``refused-<hash>.csv`` beside it. Images that fail only in decoding stay in the manifest,
    so that it does not change under a run; see `Manifest.failed`.

    Args:
        path_or_sources: A folder, a `Source`, or several of them.
        cache_dir: Folder for the manifest; made if need be.
        on_unreadable: "skip" leaves unreadable files out; "error" stops at them.
        max_image_pixels: Larger images are refused, in pixels.
        min_image_side: Images with a shorter side are refused, in pixels.
        max_image_ratio: Longer images are refused, as longer side over shorter; None for none.
        verify: Whether all images are decoded once, and refused where that fails. The manifest
            remembers which were, and an image that does not change is never decoded again: one
            that was refused stays so in later passes with the same limits, whether they verify
            or not.
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
    demands = Demands(max_image_pixels, min_image_side, max_image_ratio, verify)
    _check_arguments(on_unreadable, demands, workers)
    _check_cache(os.fspath(cache_dir))
    sources = _as_sources(path_or_sources)
    file = _file(sources, cache_dir, demands)
    report = report_file(file)
    settings = {
        "max_image_pixels": max_image_pixels,
        "min_image_side": min_image_side,
        "max_image_ratio": max_image_ratio,
        "pillow": PIL.__version__,
    }
    with Progress(progress) as bar, alone(file, bar):
        with writing(file.parent):
            known = find_known(file, sources)
        listing = list_sources(sources, known.earlier, bar)
        todo = compare(listing, known, settings, verify=verify)
        manifest = known.exact
        if manifest is None or not todo.nothing:
            fresh = read_files(listing.rows, todo, sources, demands, workers, bar)
            check_sizes(listing.rows, todo, fresh, sources)
            rows = assemble(listing.rows, known, todo, fresh, sources)
            check_readable(rows, sources)
            manifest = _write(file, rows, sources, settings, to_notes(listing.containers))
        _report(manifest, report, may_fail=manifest is known.exact)
    _tell(manifest, report, known.exact, len(todo.rows), time.perf_counter() - begun)
    if on_unreadable == "error" and manifest.refused:
        raise DataError(
            f"on_unreadable='error': {len(manifest.refused):,} of "
            f"{len(manifest) + len(manifest.refused):,} files cannot be read: "
            f"{first(manifest.refused)}. Repair or remove them (all are in {str(report)!r}), "
            f"or set on_unreadable='skip'."
        )
    return manifest


def manifest_file(
    path_or_sources: Sources,
    cache_dir: str | os.PathLike[str],
    *,
    max_image_pixels: int = MAX_IMAGE_PIXELS,
    min_image_side: int = 1,
    max_image_ratio: float | None = None,
) -> Path:
    """Where `scan` keeps the manifest of these sources, whether it is there yet or not.

    Args:
        path_or_sources: As given to `scan`.
        cache_dir: As given to `scan`.
        max_image_pixels: As given to `scan`.
        min_image_side: As given to `scan`.
        max_image_ratio: As given to `scan`.

    Returns:
        An absolute path. Nothing is read.
    """
    demands = Demands(max_image_pixels, min_image_side, max_image_ratio)
    return _file(_as_sources(path_or_sources), cache_dir, demands)


def _file(sources: Sequence[Source], cache_dir: str | os.PathLike[str], demands: Demands) -> Path:
    return Path(cache_dir).absolute() / f"manifest-{_digest(sources, demands)}.arrow"


def _check_arguments(on_unreadable: str, demands: Demands, workers: int | None) -> None:
    if on_unreadable not in ("skip", "error"):
        raise ConfigError(f"on_unreadable={on_unreadable!r} must be 'skip' or 'error'.")
    for name in ("max_image_pixels", "min_image_side", "max_image_ratio"):
        value, default = getattr(demands, name), Demands._field_defaults[name]
        if value is not None and value < 1:
            raise ConfigError(f"{name}={value} must be at least 1; the default is {default}.")
    if workers is not None and workers < 1:
        raise ConfigError(f"workers={workers} must be at least 1; 1 reads without helpers.")


def _check_cache(cache_dir: str) -> None:
    try:
        is_name = b"\0" not in cache_dir.encode()  # Arrow maps files of such names alone
    except UnicodeEncodeError:
        is_name = False
    if not is_name:
        raise ConfigError(
            f"cache_dir={cache_dir!r} must be a path in UTF-8, without a NUL. Name another one."
        )


def _as_sources(given: Sources) -> list[Source]:
    if isinstance(given, (str, os.PathLike)):
        return [open_source(given)]
    if isinstance(given, Source):
        return [given]
    sources = [open_source(one) if isinstance(one, (str, os.PathLike)) else one for one in given]
    if not sources:
        raise DataError("the list of sources is empty; at least 1 is needed. Name a folder.")
    return sources


def _digest(sources: Sequence[Source], demands: Demands) -> str:
    """16 hexadecimal digits.

    Other repeats and other limits have others: another run may be using the file.
    """
    usual = Demands(decodes=demands.decodes)
    limits = {
        name: value for name, value in demands._asdict().items() if value != getattr(usual, name)
    }
    told = [*(described(source) for source in sources), *([limits] if limits else [])]
    text = json.dumps(told, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _write(
    file: Path,
    rows: pa.Table,
    sources: Sequence[Source],
    settings: Mapping[str, Any],
    containers: Mapping[str, Any],
) -> Manifest:
    unread = int(np.count_nonzero(rows.column("caption_mtime_ns").to_numpy() == CAPTION_UNREAD))
    if unread:
        _log.warning(
            "%s caption files could not be opened; these captions are empty.", f"{unread:,}"
        )
    spoilt = pc.match_substring(rows.column("caption"), "\ufffd").to_numpy()
    if spoilt.any():
        example = rows.column("path")[int(np.argmax(spoilt))].as_py()
        _log.warning(
            "%s captions hold U+FFFD, which stands for what is not UTF-8, such as that of %r.",
            f"{np.count_nonzero(spoilt):,}",
            example,
        )
    with writing(file.parent):
        _sweep(file.parent)
        return Manifest.write(
            file,
            rows,
            sources=[described(source) for source in sources],
            settings=settings,
            containers=containers,
            keep_equal=True,
        )


def _report(manifest: Manifest, report: Path, *, may_fail: bool) -> None:
    """Write the table of refused files; a cache that is read-only serves all the same."""
    try:
        with writing(report.parent):
            write_report(manifest, report)
    except DataError as error:
        if not may_fail:
            raise
        _log.warning("The table of refused files is not up to date: %s", error)


def _sweep(cache: Path) -> None:
    """Remove what processes that were killed while writing have left behind."""
    for file in cache.glob(".*.tmp"):
        with suppress(FileNotFoundError):  # if another process was quicker
            if time.time() - file.stat().st_mtime > _DAY:
                file.unlink()


def _tell(
    manifest: Manifest, report: Path, before: Manifest | None, read: int, seconds: float
) -> None:
    """Log one line; and, when they are new, which files are refused."""
    refused = summary(manifest, report)
    if refused and (before is None or before.id != manifest.id):
        _log.warning(refused)
    _log.info(
        f"{len(manifest):,} images, {len(manifest.refused):,} refused, {read:,} read anew, "
        f"{seconds:.1f} s: {manifest.file}"
    )
