"""What is known from earlier passes: rows of manifests, of this list of sources or of others."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lit_buckets.manifest import SCHEMA, Manifest, ManifestError
from lit_buckets.scan.containers import from_notes
from lit_buckets.sources import Earlier, Source
from lit_buckets.storage import without_query

__all__ = ["Known", "described", "find_known"]

#: What reading does not depend on.
_OF_NO_ACCOUNT = {"repeats": None, "missing_caption": None}

_log = logging.getLogger("lit_buckets")


def described(source: Source) -> dict[str, Any]:
    """A source as the manifest's metadata hold it."""
    described = {
        **source.identity(),
        "label": source.label,
        "root": source.root,
        "confined": source.confined,
        "repeats": source.repeats,
        "missing_caption": source.missing_caption,
    }
    return dict(json.loads(json.dumps(described)))  # as it comes back: a tuple is a list there


class Known(NamedTuple):
    """Rows of earlier passes.

    Attributes:
        rows: Of all sources, one source after another, with every column of a manifest.
        of_source: For each source, its slice of the rows, and the settings they were read under.
        earlier: For each source, what it is told of an earlier pass.
        exact: The manifest of these very sources, if there is one.
    """

    rows: pa.Table
    of_source: list[tuple[slice, Mapping[str, Any]]]
    earlier: list[Earlier]
    exact: Manifest | None


def find_known(file: Path, sources: Sequence[Source]) -> Known:
    """Rows of earlier passes over these sources, from the file itself or from its neighbours.

    Args:
        file: The manifest of these very sources, which need not exist. Others beside it, of
            other lists, may know some of the sources.
        sources: What is scanned.
    """
    exact = _open(file)
    wanted = [_regardless(described(source)) for source in sources]
    manifests = [exact] if exact is not None else _relatives(file, wanted)
    found = [_earlier_rows(manifests, source) for source in wanted]
    earlier = [each for each, _ in found]
    ends = np.cumsum([0, *(len(each.rows) for each in earlier)]).tolist()
    slices = [slice(*ends[place : place + 2]) for place in range(len(sources))]
    of_source = [(part, settings) for part, (_, settings) in zip(slices, found, strict=True)]
    tables = [each.rows for each in earlier]
    if exact is None:  # each may be from another list, with further columns of its own
        tables = [table.select(SCHEMA.names) for table in tables]
    rows = pa.concat_tables([SCHEMA.empty_table(), *tables], promote_options="default")
    return Known(rows, of_source, earlier, exact)


def _regardless(source: Mapping[str, Any]) -> dict[str, Any]:
    """A described source without what reading does not depend on, such as a URL's signature."""
    return {**source, **_OF_NO_ACCOUNT, "label": without_query(source["label"])}


def _open(file: Path) -> Manifest | None:
    try:
        return Manifest.open_checked(file)
    except FileNotFoundError:
        return None
    except ManifestError as error:
        _log.warning("%s It is made anew.", error)
        return None


def _relatives(file: Path, wanted: Sequence[Mapping[str, Any]]) -> list[Manifest]:
    """For each source the latest manifest of another list that holds it, if there is one."""
    found = file.parent.glob("manifest-" + 16 * "[0-9a-f]" + ".arrow")
    left, relatives = list(wanted), []
    for other in sorted(found, key=_time_of_change, reverse=True):
        try:
            # only ends are read of the many that are of no use
            if other == file or not _holds_any(Manifest.open(other), left):
                continue
            manifest = Manifest.open_checked(other)
        except (FileNotFoundError, ManifestError) as error:
            _log.info("%s Nothing is taken over from it.", error)
            continue
        relatives.append(manifest)
        left = [source for source in left if not _holds_any(manifest, [source])]
    return relatives


def _time_of_change(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:  # another process has removed it since
        return 0


def _holds_any(manifest: Manifest, wanted: Sequence[Mapping[str, Any]]) -> bool:
    return any(_regardless(source) in wanted for source in manifest.sources)


def _earlier_rows(
    manifests: Sequence[Manifest], wanted: Mapping[str, Any]
) -> tuple[Earlier, Mapping[str, Any]]:
    for manifest in manifests:
        for place, source in enumerate(manifest.sources):
            if _regardless(source) != wanted:
                continue
            rows = manifest.all_rows
            if len(manifest.sources) > 1:
                rows = rows.filter(pc.equal(rows.column("source"), place))
            return Earlier(rows, from_notes(manifest.containers, place)), manifest.settings
    return Earlier(SCHEMA.empty_table(), {}), {}
