"""Tables and sentences for a terminal: what a plan and its epochs will do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Group
from rich.table import Table
from rich.text import Text

from lit_buckets.config.text import printable
from lit_buckets.epoch import Accounting
from lit_buckets.plan import BucketPlan
from lit_buckets.plan.ledger import by_source
from lit_buckets.plan.strata import samples_of
from lit_buckets.report.facts import bucket_sums, never_come
from lit_buckets.sampler import BucketBatchSampler

__all__ = [
    "accounting_line",
    "curve_line",
    "plan_table",
    "resolutions_line",
    "sources_lines",
    "summary",
]

_MOST_NAMED = 10


def summary(
    name: str,
    sampler: BucketBatchSampler,
    *,
    refused: int = 0,
    sources: Sequence[Mapping[str, Any]] | None = None,
    paths: Sequence[str] | None = None,
) -> Group:
    """The bucket table, the accounting of an epoch, and who was moved, noted or left out.

    Args:
        name: What the images are for: train, val, test or predict.
        sampler: The sampler of these images.
        refused: How many files the setup pass could not take.
        sources: What each source gives, from :func:`lit_buckets.plan.ledger.by_source`; told where
            there are several, or images come repeatedly. ``None`` = all are of one.
        paths: Where each image lies; ``None`` tells images by their index.

    Returns:
        A rich renderable.
    """
    plan = sampler.plan
    lines = [accounting_line(sampler.accounting(), sampler.num_replicas)]
    if sources is None:
        sources = by_source(plan, np.zeros(plan.images, dtype=np.int64), ["repeats"])
    lines += sources_lines(sources)
    lines += [line for line in (resolutions_line(plan), curve_line(plan)) if line]
    if refused:
        lines.append(f"{refused} files could not be read; the manifest lists them with reasons")
    never = never_come(sampler)
    if never:
        lines.append(
            f"{never:,} images never come: their buckets are smaller than a batch, and "
            f"short_batch is {sampler.short_batch}"
        )
    moved = {row: f"from {height}x{width}" for row, (height, width) in plan.moved_from.items()}
    for what, texts in (("moved", moved), ("noted", plan.noted), ("left out", plan.excluded)):
        lines += _named(what, [(plan.image_of(row), text) for row, text in texts.items()], paths)
    return Group(plan_table(name, sampler), *(Text(line) for line in lines))


def plan_table(name: str, sampler: BucketBatchSampler) -> Table:
    """One row for each bucket: its size, images, batches, crop loss, and images moved to it.

    Args:
        name: What the images are for.
        sampler: The sampler of these images.

    Returns:
        A table with a last row of totals.
    """
    plan = sampler.plan
    # Text, not markup: nothing of a title or cell is interpreted
    table = Table(title=Text(f"{name}: {int(plan.counts.sum()):,} images"), show_footer=True)
    rows = _rows(sampler)
    totals = (
        "all",
        f"{int(plan.counts.sum()):,}",
        f"{int(samples_of(plan.strata, len(plan.counts)).sum()):,}",
        f"{int(sampler.batches_per_bucket().sum()):,}",
        f"{_mean(plan.crop_loss[plan.bucket_of >= 0]):.1%}",
        f"{len(plan.moved_from):,}",
        f"{len(plan.excluded):,}",
    )
    titles = ("bucket", "images", "samples", "batches", "crop loss", "moved", "left out")
    for title, total in zip(titles, totals, strict=True):
        table.add_column(title, footer=total, justify="right")
    for row in rows:
        table.add_row(*row)
    return table


def accounting_line(account: Accounting, world_size: int) -> str:
    """One sentence on an epoch.

    Example:
        >>> from lit_buckets.epoch import Accounting
        >>> accounting_line(Accounting(12, 1, 90, 0, 0, 0.9375), 2)
        'an epoch: 90 samples in 12 steps on 2 ranks, 1 of them shared by buckets; batches 94% full'
    """
    ranks = f"{world_size} rank" + "s" * (world_size != 1)
    parts = [f"{account.samples:,} samples in {account.rounds:,} steps on {ranks}"]
    if account.shared_rounds:
        parts.append(f"{account.shared_rounds:,} of them shared by buckets")
    if account.filled:
        parts.append(f"{account.filled:,} places filled by repeating a sample")
    if account.dropped:
        parts.append(f"{account.dropped:,} samples dropped")
    return f"an epoch: {', '.join(parts)}; batches {account.fullness:.0%} full"


def sources_lines(sources: Sequence[Mapping[str, Any]]) -> list[str]:
    """How samples come about, source by source; nothing where one gives each image once.

    Example:
        >>> one = {"source": "photos", "images": 40, "repeats": 1, "samples": 40}
        >>> two = {"source": "best", "images": 3, "repeats": 5, "samples": 15}
        >>> for line in sources_lines([one, two]):
        ...     print(line)
        photos: 40 images x 1 = 40 samples
        best: 3 images x 5 = 15 samples
        together: 43 images, 55 samples
    """
    if len(sources) < 2 and all(row["repeats"] == 1 for row in sources):
        return []
    lines = [
        f"{row['source']}: {row['images']:,} images x {row['repeats']} = {row['samples']:,} samples"
        for row in sources
    ]
    if len(sources) > 1:
        images, samples = (sum(row[name] for row in sources) for name in ("images", "samples"))
        lines.append(f"together: {images:,} images, {samples:,} samples")
    return lines


def resolutions_line(plan: BucketPlan) -> str:
    """How many images come at each of several areas; nothing where there is one.

    Example:
        >>> from lit_buckets import plan_buckets
        >>> sizes, areas = [[512, 512], [128, 128]], [256 * 256, 128 * 128]
        >>> resolutions_line(plan_buckets(sizes, max_area=areas, resolutions="all"))
        'resolutions: 2 images at 65,536 pixels + 2 at 16,384 = 4 in all'
        >>> resolutions_line(plan_buckets(sizes, max_area=areas))
        'resolutions: 1 images at 65,536 pixels + 1 at 16,384 = 2 in all'
    """
    if not plan.resolutions:
        return ""
    parts = [f"{images:,} at {area:,}" for area, images in plan.resolutions.items()]
    parts[0] = parts[0].replace(" at", " images at", 1) + " pixels"
    return f"resolutions: {' + '.join(parts)} = {sum(plan.resolutions.values()):,} in all"


def curve_line(plan: BucketPlan) -> str:
    """What one bucket fewer or more would cut; nothing where their number is not limited.

    Example:
        >>> from lit_buckets import plan_buckets
        >>> curve_line(plan_buckets([[64, 64], [64, 128], [64, 192]], max_buckets=2))
        'crop loss at 1 bucket: 30.1%, at 2: 11.9%, at 3: 5.6%'
    """
    here = len(plan.bucket_sizes)
    near = [(n, loss) for n, loss in plan.curve.items() if abs(n - here) <= 1]
    if not near:
        return ""
    first = f"{near[0][0]} bucket" + "s" * (near[0][0] != 1)
    parts = [f"at {first}: {near[0][1]:.1%}"] + [f"at {n}: {loss:.1%}" for n, loss in near[1:]]
    return f"crop loss {', '.join(parts)}"


def _rows(sampler: BucketBatchSampler) -> list[tuple[str, ...]]:
    return [
        (
            f"{bucket.height}x{bucket.width}",
            f"{bucket.images:,}",
            f"{bucket.samples:,}",
            f"{bucket.batches:,}",
            f"{bucket.loss:.1%}",
            f"{bucket.moved:,}",
            "",
        )
        for bucket in bucket_sums(sampler, sampler.plan.crop_loss)
    ]


def _named(what: str, texts: Sequence[tuple[int, str]], paths: Sequence[str] | None) -> list[str]:
    """What happens to the first of some images: on one line, or by path on a line for each."""
    if not texts:
        return []
    first, more = texts[:_MOST_NAMED], len(texts) - _MOST_NAMED
    entries = [
        f"{image if paths is None else printable(paths[image])}: {text}" for image, text in first
    ]
    entries += [f"and {more:,} more"] * (more > 0)
    head = f"{what}: {len(texts):,} images"
    if paths is None:
        return [f"{head}: {', '.join(entries)}"]
    return [head, *(f"  {entry}" for entry in entries)]


def _mean(values: npt.NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else 0.0
