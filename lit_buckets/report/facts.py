"""What a report says in numbers: plain values for the page, nothing of how they look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lit_buckets.epoch import Accounting
from lit_buckets.manifest import Manifest
from lit_buckets.plan import BucketPlan, ledger
from lit_buckets.plan.strata import samples_of
from lit_buckets.report.losses import Loss
from lit_buckets.sampler import BucketBatchSampler

__all__ = [
    "BucketSum",
    "Number",
    "OnRanks",
    "SourceSum",
    "bucket_sums",
    "never_come",
    "on_ranks",
    "remarks",
    "scales",
    "source_sums",
    "the_numbers",
]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

_RANKS = (1, 2, 4, 8, 16, 32, 64)
_FULL_ENOUGH, _MUCH_SHARED = 0.8, 0.1


class Number(NamedTuple):
    """A number that matters."""

    label: str
    value: str
    note: str = ""  #: what to know of it, in a few words
    warns: bool = False


class BucketSum(NamedTuple):
    """What is in one bucket."""

    height: int
    width: int
    images: int
    samples: int  #: in an epoch
    batches: int  #: in an epoch, over all ranks
    loss: float  #: mean over its images
    moved: int  #: images that were moved there


class SourceSum(NamedTuple):
    """What becomes of the files of one source."""

    label: str
    refused: int  #: files that could not be sized
    images: int  #: those that could
    left_out: int
    parts: list[Mapping[str, Any]]  #: images x repeats = samples, for each number of repeats


class OnRanks(NamedTuple):
    """An epoch on some number of ranks."""

    ranks: int
    account: Accounting
    chosen: bool  #: whether the report is about this number


def the_numbers(
    manifest: Manifest, sampler: BucketBatchSampler, loss: Loss
) -> dict[str, list[Number]]:
    """The numbers on top of a report.

    Args:
        manifest: The images.
        sampler: Their sampler, for the number of ranks that the report is about.
        loss: What they lose to their buckets.

    Returns:
        Numbers under the headings of their groups.
    """
    plan, account = sampler.plan, sampler.accounting()
    told = ledger.summarize(plan)
    rows = np.flatnonzero(plan.bucket_of >= 0)
    used = len(rows) if plan.image is None else len(np.unique(plan.image[rows]))
    several = f"{len(rows):,} with their resolutions" * (len(rows) > used)
    never, enlarged = never_come(sampler), int((scales(plan, rows) > 1).sum())
    losses = loss.values[rows]
    mean = float(losses.mean()) if len(rows) else 0.0
    images = [
        Number("sized", f"{len(manifest):,}"),
        Number("used", f"{used:,}", f"{never:,} never come" if never else several, never > 0),
        Number("left out", f"{told['left_out']:,}", "by the plan", told["left_out"] > 0),
        Number("refused", f"{len(manifest.refused):,}", "files", len(manifest.refused) > 0),
    ]
    buckets = [
        Number("shapes", f"{len(plan.bucket_sizes):,}"),
        Number(f"mean {loss.name}", f"{mean:.1%}", f"{losses.max(initial=0):.1%} at most"),
        Number("moved", f"{told['moved']:,}", "from small buckets"),
        Number("enlarged", f"{enlarged:,}", _share(enlarged, len(rows))),
    ]
    ranks = f"{sampler.num_replicas:,} rank" + "s" * (sampler.num_replicas != 1)
    epoch = [
        Number("samples", f"{account.samples:,}", _dropped(account), account.dropped > 0),
        Number("steps", f"{account.rounds:,}", f"on {ranks}"),
        Number("shared steps", f"{account.shared_rounds:,}", "ranks take several buckets"),
        Number("batches full", f"{account.fullness:.0%}", _filled(account)),
    ]
    return {"Images": images, "Buckets": buckets, "An epoch": epoch}


def scales(plan: BucketPlan, rows: IntArray) -> FloatArray:
    """By how much pictures are resized.

    Args:
        plan: The plan.
        rows: (R,) some of its rows, each of which has a bucket.

    Returns:
        (R,) the larger of both sides' quotients, resized by original.
    """
    return np.asarray((plan.resized(rows) / plan.sizes[rows]).max(axis=1, initial=0))


def remarks(manifest: Manifest, sampler: BucketBatchSampler, cut: int) -> list[str]:
    """What a user should look at before training, a sentence each.

    Args:
        manifest: The images.
        sampler: Their sampler.
        cut: How many images are cropped beyond the limit.
    """
    plan, account, ranks = sampler.plan, sampler.accounting(), sampler.num_replicas
    found = [
        (len(manifest.refused), "files refused: they could not be sized."),
        (len(plan.excluded), "images left out of the plan."),
        (never_come(sampler), "images that never come: their buckets are smaller than a batch."),
        (cut, "images cropped beyond the limit."),
    ]
    sentences = [f"{count:,} {text}" for count, text in found if count]
    if account.fullness < _FULL_ENOUGH:
        samples = samples_of(plan.strata, len(plan.bucket_sizes))
        small = int((samples < sampler.batch_sizes * ranks).sum())
        sentences.append(
            f"Batches are {account.fullness:.0%} full: {small:,} of {len(samples):,} buckets have "
            "fewer samples than one full batch for each rank. Fewer shapes would fill them."
        )
    if account.shared_rounds > _MUCH_SHARED * account.rounds:
        sentences.append(
            f"In {account.shared_rounds:,} of {account.rounds:,} steps the ranks take different "
            "buckets, so the slowest decides."
        )
    return sentences


def bucket_sums(sampler: BucketBatchSampler, losses: FloatArray) -> list[BucketSum]:
    """What is in each bucket, in the order of the plan.

    Args:
        sampler: The sampler of the images.
        losses: (N,) what each row of the plan loses.
    """
    plan = sampler.plan
    buckets = len(plan.bucket_sizes)
    used = plan.bucket_of >= 0
    loss = np.bincount(plan.bucket_of[used], losses[used], minlength=buckets)
    columns = (
        *plan.bucket_sizes.T.tolist(),
        plan.counts.tolist(),
        samples_of(plan.strata, buckets).tolist(),
        sampler.batches_per_bucket().tolist(),
        (loss / plan.counts).tolist(),
        np.bincount(plan.bucket_of[list(plan.moved_from)], minlength=buckets).tolist(),
    )
    return [BucketSum(*row) for row in zip(*columns, strict=True)]


def source_sums(manifest: Manifest, plan: BucketPlan) -> list[SourceSum]:
    """The arithmetic of an epoch, source by source; the parts are of ``ledger.by_source``."""
    sources = range(len(manifest.sources))
    every = manifest.all_rows.column("source").to_numpy()
    left_out = [plan.image_of(row) for row in plan.excluded]
    refused, images, gone = (
        np.bincount(some, minlength=len(sources)).tolist()
        for some in (every[len(manifest) :], manifest.source_of, manifest.source_of[left_out])
    )
    parts = ledger.by_source(plan, manifest.source_of, [str(place) for place in sources])
    return [
        SourceSum(
            label=manifest.labels[place],
            refused=refused[place],
            images=images[place],
            left_out=gone[place],
            parts=[part for part in parts if part["source"] == str(place)],
        )
        for place in sources
    ]


def on_ranks(sampler: BucketBatchSampler) -> list[OnRanks]:
    """The epoch on the sampler's number of ranks, and on others to compare it with."""
    numbers = sorted({*_RANKS, sampler.num_replicas})
    return [
        OnRanks(ranks, _elsewhere(sampler, ranks).accounting(), ranks == sampler.num_replicas)
        for ranks in numbers
    ]


def _elsewhere(sampler: BucketBatchSampler, ranks: int) -> BucketBatchSampler:
    return BucketBatchSampler(
        sampler.plan,
        batch_size=sampler.batch_sizes.tolist(),
        num_replicas=ranks,
        seed=sampler.seed,
        shuffle=sampler.shuffle,
        sync=sampler.sync,
        short_batch=sampler.short_batch,
        largest_first=sampler.largest_first,
    )


def never_come(sampler: BucketBatchSampler) -> int:
    """How many rows of the plan have a bucket, but are in no batch."""
    return int(((sampler.visits() == 0) & (sampler.plan.bucket_of >= 0)).sum())


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%} of those used" if whole else ""


def _dropped(account: Accounting) -> str:
    return f"{account.dropped:,} more are dropped" if account.dropped else "none is dropped"


def _filled(account: Accounting) -> str:
    return f"{account.filled:,} places repeat a sample" if account.filled else "none is filled up"
