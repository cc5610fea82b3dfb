"""What became of the files that are refused: a table for people, and a few lines on the screen."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lit_buckets.errors import DataError
from lit_buckets.manifest import Manifest, Refused, write_reasons
from lit_buckets.sources import Source

__all__ = ["check_readable", "first", "report_file", "summary", "write_report"]

_MOST_KINDS = 6
_END_OF_KIND = re.compile(r"[:;(]")


def report_file(manifest: Path) -> Path:
    """Where the refused files of a manifest are listed: ``refused-<hash>.csv`` beside it."""
    return manifest.with_name(manifest.stem.replace("manifest", "refused") + ".csv")


def write_report(manifest: Manifest, report: Path) -> None:
    """Write the refused files and their reasons as CSV; no file where there are none."""
    is_new = report.exists() and report.stat().st_mtime_ns >= manifest.file.stat().st_mtime_ns
    if not (is_new and manifest.refused):
        write_reasons(report, manifest.refused)


def summary(manifest: Manifest, report: Path) -> str:
    """How many files are refused, by kind of reason, each with an example; and where all are.

    Returns:
        A few lines; "" where none is refused.
    """
    count = len(manifest.refused)
    if not count:
        return ""
    kinds: Counter[str] = Counter()
    examples: dict[str, Refused] = {}
    for refused in manifest.refused:
        kind = _END_OF_KIND.split(refused.reason, maxsplit=1)[0].strip()
        kinds[kind] += 1
        examples.setdefault(kind, refused)
    lines = [f"{count:,} of {count + len(manifest):,} files are refused (all: {str(report)!r})"]
    for kind, many in kinds.most_common(_MOST_KINDS):
        path, reason = examples[kind]
        lines.append(f"  {many:,} x {kind}, such as {path!r} ({reason})")
    if len(kinds) > _MOST_KINDS:
        lines.append(f"  and {len(kinds) - _MOST_KINDS:,} more reasons")
    return "\n".join(lines)


def first(refused: Sequence[Refused], count: int | None = None) -> str:
    """The first three with their reasons, and how many there are beside them."""
    more = (len(refused) if count is None else count) - 3
    text = "; ".join(f"{path!r} ({reason})" for path, reason in refused[:3])
    return f"{text}; and {more:,} more" if more > 0 else text


def check_readable(rows: pa.Table, sources: Sequence[Source]) -> None:
    """Raise if all images of a source are refused."""
    good = rows.column("source").filter(pc.equal(rows.column("reason"), "")).to_numpy()
    empty = np.flatnonzero(np.bincount(good, minlength=len(sources)) == 0)
    if not len(empty):
        return
    source = sources[empty[0]]
    bad = rows.filter(pc.equal(rows.column("source"), empty[0])).select(["path", "reason"])
    refused = [Refused(row["path"], row["reason"]) for row in bad.slice(0, 3).to_pylist()]
    raise DataError(
        f"path={source.label!r} holds no image that can be read: all {len(bad):,} are refused: "
        f"{first(refused, len(bad))}. Check the path, or repair the files."
    )
