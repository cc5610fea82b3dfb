"""What a plan and its epochs will do, to be read before training starts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from rich.console import Group
from rich.table import Table
from rich.text import Text

from lit_buckets.epoch import Accounting
from lit_buckets.plan import BucketPlan
from lit_buckets.plan.strata import samples_of
from lit_buckets.sampler import BucketBatchSampler

__all__ = ["accounting_line", "curve_line", "plan_table", "repeats_line", "summary"]

_MOST_NAMED = 10


def summary(name: str, sampler: BucketBatchSampler, *, refused: int = 0) -> Group:
    """The bucket table, the accounting of an epoch, and who was moved, noted or left out.

    Args:
        name: What the images are for: train, val, test or predict.
        sampler: The sampler of these images.
        refused: How many files the setup pass could not take.

    Returns:
        A rich renderable.
    """
    plan = sampler.plan
    lines = [accounting_line(sampler.accounting(), sampler.num_replicas)]
    lines += [line for line in (repeats_line(plan), curve_line(plan)) if line]
    if refused:
        lines.append(f"{refused} files could not be read; the manifest lists them with reasons")
    never = int((sampler.visits() == 0).sum()) - len(plan.excluded)
    if never:
        lines.append(
            f"{never:,} images never come: their buckets are smaller than a batch, and "
            f"short_batch is {sampler.short_batch}"
        )
    lines += _named("moved", [f"{i} from {h}x{w}" for i, (h, w) in plan.moved_from.items()])
    lines += _named("noted", [f"{i}: {note}" for i, note in plan.noted.items()])
    lines += _named("left out", [f"{i}: {reason}" for i, reason in plan.excluded.items()])
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


def repeats_line(plan: BucketPlan) -> str:
    """How samples come about; nothing where each image comes once.

    Example:
        >>> from lit_buckets import plan_buckets
        >>> repeats_line(plan_buckets([[64, 64]] * 3, repeats=[1, 1, 5]))
        'repeats: 2 images x 1 + 1 images x 5 = 7 samples'
    """
    told = np.unique(plan.strata.repeats)
    if not (told > 1).any():
        return ""
    pairs = [
        (int(plan.strata.images[plan.strata.repeats == times].sum()), times)
        for times in told.tolist()
    ]
    parts = [f"{images:,} images x {times}" for images, times in pairs]
    return f"repeats: {' + '.join(parts)} = {sum(n * times for n, times in pairs):,} samples"


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
    plan = sampler.plan
    buckets = len(plan.bucket_sizes)
    used = plan.bucket_of >= 0
    loss = np.bincount(plan.bucket_of[used], plan.crop_loss[used], minlength=buckets) / plan.counts
    moved = np.bincount(plan.bucket_of[list(plan.moved_from)], minlength=buckets)
    samples, batches = samples_of(plan.strata, buckets), sampler.batches_per_bucket()
    return [
        (
            f"{height}x{width}",
            f"{plan.counts[k]:,}",
            f"{samples[k]:,}",
            f"{batches[k]:,}",
            f"{loss[k]:.1%}",
            f"{moved[k]:,}",
            "",
        )
        for k, (height, width) in enumerate(plan.bucket_sizes.tolist())
    ]


def _named(what: str, entries: list[str]) -> list[str]:
    if not entries:
        return []
    more = f", and {len(entries) - _MOST_NAMED:,} more" * (len(entries) > _MOST_NAMED)
    return [f"{what}: {len(entries):,} images: {', '.join(entries[:_MOST_NAMED])}{more}"]


def _mean(values: npt.NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else 0.0
