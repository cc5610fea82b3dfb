"""Which images a report lists, and what it says of each.

Every image has one fate, the first of these that is true of it:

=========  =====================================================================================
fate       the image
=========  =====================================================================================
left_out   has no bucket
never      has one that no batch is cut from
cut        is cropped by more than the limit
stays      is in a small bucket that it cannot leave
moved      had to leave a small bucket
used       none of these
=========  =====================================================================================
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lit_buckets.manifest import Manifest
from lit_buckets.report.facts import scales
from lit_buckets.sampler import BucketBatchSampler

__all__ = ["FATES", "MOST_BYTES", "MOST_ROWS", "Listing", "common_root", "fates_of", "listings"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

#: What becomes of an image, and what to call it.
FATES = {
    "left_out": "left out",
    "never": "never comes",
    "cut": "cropped beyond the limit",
    "stays": "stays in a small bucket",
    "moved": "moved",
    "used": "others",
}
#: Most rows of one fate that a page holds.
MOST_ROWS = 10_000
#: Most bytes that they take together, as JSON.
MOST_BYTES = 1_500_000

_BY_LOSS = ("cut", "stays", "moved", "used")  # listed from the greatest loss on


class Listing(NamedTuple):
    """Images of one fate, or refused files.

    Attributes:
        fate: A key of :data:`FATES`, or ``refused``.
        title: What to call it.
        total: How many there are.
        rows: The first of them, all where they are few: path, height, width, height and width of
            the bucket, loss, scale (the resized picture's sides over the file's), and what
            to say of it. ``None`` is what there is no value for.
    """

    fate: str
    title: str
    total: int
    rows: list[list[Any]]


def fates_of(sampler: BucketBatchSampler) -> npt.NDArray[np.int8]:
    """(N,) what becomes of each row of the plan, as a place in :data:`FATES`."""
    plan = sampler.plan
    place = {fate: number for number, fate in enumerate(FATES)}
    fates = np.full(len(plan), place["used"], dtype=np.int8)
    fates[list(plan.moved_from)] = place["moved"]
    for row, note in plan.noted.items():
        fates[row] = place["stays" if note.startswith("stays:") else "cut"]
    fates[sampler.visits() == 0] = place["never"]
    fates[list(plan.excluded)] = place["left_out"]
    return fates


def listings(
    manifest: Manifest,
    sampler: BucketBatchSampler,
    fates: npt.NDArray[np.int8],
    losses: FloatArray,
) -> list[Listing]:
    """Refused files, then the images of every fate that there is.

    Args:
        manifest: The images.
        sampler: Their sampler.
        fates: From :func:`fates_of`.
        losses: (N,) what each row of the plan loses to its bucket.

    Returns:
        Rows of at most :data:`MOST_BYTES` and :data:`MOST_ROWS` each; images that lose something
        come from the greatest loss on, others in the order of the manifest.
    """
    root = common_root(manifest)
    refused = (
        [path.removeprefix(root), None, None, None, None, None, None, reason]
        for path, reason in manifest.refused
    )
    found = [Listing("refused", "refused", len(manifest.refused), _first(refused))]
    for number, (fate, title) in enumerate(FATES.items()):
        some = np.flatnonzero(fates == number)
        if fate in _BY_LOSS:
            some = some[np.argsort(-losses[some], kind="stable")]
        rows = _rows(some[:MOST_ROWS], manifest, sampler, fate, root, losses)
        found.append(Listing(fate, title, len(some), _first(rows)))
    return [listing for listing in found if listing.total]


def common_root(manifest: Manifest) -> str:
    """The folder that all sources have in common, with a "/" at its end; "" if there is none."""
    roots = [f"{source['root']}/" if source["root"] else "" for source in manifest.sources]
    shared = os.path.commonprefix(roots)  # noqa: RUF071 (roots may be addresses; cut at "/" below)
    return shared[: shared.rfind("/") + 1]


def _rows(
    some: IntArray,
    manifest: Manifest,
    sampler: BucketBatchSampler,
    fate: str,
    root: str,
    losses: FloatArray,
) -> Iterator[list[Any]]:
    plan = sampler.plan
    used = plan.bucket_of[some] >= 0
    resized = np.full(len(some), np.nan)
    resized[used] = scales(plan, some[used])
    for row, scale in zip(some.tolist(), resized.tolist(), strict=True):
        bucket = int(plan.bucket_of[row])
        there = bucket >= 0
        yield [
            manifest.path(plan.image_of(row)).removeprefix(root),
            *plan.sizes[row].tolist(),
            *(plan.bucket_sizes[bucket].tolist() if there else (None, None)),
            round(float(losses[row]), 4) if there else None,
            round(scale, 3) if there else None,
            _reason(sampler, row, fate),
        ]


def _reason(sampler: BucketBatchSampler, row: int, fate: str) -> str:
    """Everything that is to be said of an image, with its numbers."""
    plan, parts = sampler.plan, []
    if fate == "never":
        size = sampler.batch_sizes[plan.bucket_of[row]]
        parts.append(
            f"its bucket has too few samples for a batch of {size}, and short_batch is "
            f"{sampler.short_batch}"
        )
    if row in plan.moved_from:
        height, width = plan.moved_from[row]
        parts.append(f"moved from {height}x{width}, which has too few images")
    parts += [notes[row] for notes in (plan.noted, plan.excluded) if row in notes]
    return "; ".join(parts)


def _first(rows: Iterable[list[Any]]) -> list[list[Any]]:
    """As many rows as a page may hold."""
    found: list[list[Any]] = []
    left = MOST_BYTES
    for row in rows:
        left -= len(json.dumps(row))
        if left < 0 or len(found) == MOST_ROWS:
            break
        found.append(row)
    return found
