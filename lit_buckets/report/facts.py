"""What a report says in numbers: plain values for the page, nothing of how they look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lit_buckets.epoch import Accounting
from lit_buckets.manifest import Manifest
from lit_buckets.placement import Fit, resized_sizes
from lit_buckets.plan import BucketPlan, ledger
from lit_buckets.plan.fewest import fewest
from lit_buckets.plan.shapes import one_per_ratio
from lit_buckets.plan.strata import samples_of
from lit_buckets.sampler import BucketBatchSampler

__all__ = [
    "BucketSum",
    "Curve",
    "Number",
    "OnRanks",
    "SourceSum",
    "bucket_sums",
    "curve_of",
    "on_ranks",
    "remarks",
    "scales",
    "source_sums",
    "spread_of_losses",
    "the_numbers",
]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

_MOST_SHAPES = 40  # how far a curve goes that the plan does not hold
_ONE_RESOLUTION = 2  # largest quotient of the areas of buckets that may be compared by ratio alone
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
    crop_loss: float  #: mean over its images
    moved: int  #: images that were moved there


class SourceSum(NamedTuple):
    """What becomes of the files of one source."""

    root: str
    refused: int  #: files that could not be sized
    images: int  #: those that could
    left_out: int
    parts: list[Mapping[str, Any]]  #: images x repeats = samples, for each number of repeats


class OnRanks(NamedTuple):
    """An epoch on some number of ranks."""

    ranks: int
    account: Accounting
    chosen: bool  #: whether the report is about this number


class Curve(NamedTuple):
    """The least mean crop loss by number of shapes, and what to know of it."""

    points: Mapping[int, float]  #: empty where there is no such curve
    loss: float  #: mean of the plan itself, over samples
    note: str


def the_numbers(
    manifest: Manifest, sampler: BucketBatchSampler, *, fit: Fit = "crop"
) -> dict[str, list[Number]]:
    """The numbers on top of a report.

    Args:
        manifest: The images.
        sampler: Their sampler, for the number of ranks that the report is about.
        fit: How images get their bucket's size.

    Returns:
        Numbers under the headings of their groups.
    """
    plan, account = sampler.plan, sampler.accounting()
    told = ledger.summarize(plan)
    rows = np.flatnonzero(plan.bucket_of >= 0)
    used = len(rows) if plan.image is None else len(np.unique(plan.image[rows]))
    several = f"{len(rows):,} with their resolutions" * (len(rows) > used)
    losses, never = told["crop_loss"], _never_come(sampler)
    enlarged = int((scales(plan, rows, fit) > 1).sum())
    images = [
        Number("sized", f"{len(manifest):,}"),
        Number("used", f"{used:,}", f"{never:,} never come" if never else several, never > 0),
        Number("left out", f"{told['left_out']:,}", "by the plan", told["left_out"] > 0),
        Number("refused", f"{len(manifest.refused):,}", "files", len(manifest.refused) > 0),
    ]
    buckets = [
        Number("shapes", f"{len(plan.bucket_sizes):,}"),
        Number("mean crop loss", f"{losses['mean']:.1%}", f"{losses['largest']:.1%} at most"),
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


def scales(plan: BucketPlan, rows: IntArray, fit: Fit = "crop") -> FloatArray:
    """By how much pictures are resized.

    Args:
        plan: The plan.
        rows: (R,) some of its rows, each of which has a bucket.
        fit: How images get their bucket's size.

    Returns:
        (R,) the longer of both sides' quotients, resized by original.
    """
    if fit == "crop":
        resized = plan.resized(rows)
    else:
        buckets = plan.bucket_sizes[plan.bucket_of[rows]].reshape(-1, 2)
        resized = resized_sizes(plan.sizes[rows], buckets, fit)
    return np.asarray((resized / plan.sizes[rows]).max(axis=1, initial=0))


def remarks(manifest: Manifest, sampler: BucketBatchSampler, cut: int) -> list[str]:
    """What a user should look at before training, a sentence each.

    Args:
        manifest: The images.
        sampler: Their sampler.
        cut: How many images are cropped beyond the limit.
    """
    plan, account, ranks = sampler.plan, sampler.accounting(), sampler.num_replicas
    never = _never_come(sampler)
    found = [
        (len(manifest.refused), "files refused: they could not be sized."),
        (len(plan.excluded), "images left out of the plan."),
        (never, "images that never come: their buckets are smaller than a batch."),
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


def bucket_sums(sampler: BucketBatchSampler) -> list[BucketSum]:
    """What is in each bucket, in the order of the plan."""
    plan = sampler.plan
    buckets = len(plan.bucket_sizes)
    used = plan.bucket_of >= 0
    loss = np.bincount(plan.bucket_of[used], plan.crop_loss[used], minlength=buckets)
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
            root=str(manifest.sources[place]["root"]),
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


def curve_of(plan: BucketPlan) -> Curve:
    """What fewer shapes would cut.

    Args:
        plan: The plan; where the number of its buckets is limited it has the curve already.
            Otherwise the best of its own shapes are found, if they are of one resolution.

    Returns:
        The curve, with at most 40 points where it has to be found.
    """
    used = plan.bucket_of >= 0
    weights = np.ones(len(plan), dtype=np.int64) if plan.repeats is None else plan.repeats
    samples = int(weights[used].sum())
    loss = float((plan.crop_loss * weights)[used].sum()) / max(samples, 1)
    often = ", repeats counted" if (weights[used] > 1).any() else ""
    here = f"This plan has {len(plan.bucket_sizes):,} shapes and cuts {loss:.1%}{often}."
    if plan.curve:
        rest = "The curve is the least that any such set cuts, before sides are whole pixels."
        return Curve(plan.curve, loss, f"{here} {rest}")
    areas = plan.bucket_sizes.prod(axis=1)
    if not len(areas) or plan.fit == "native":
        native = plan.fit == "native"
        return Curve({}, loss, f"{here} Images keep their pixels." if native else here)
    if plan.resolutions or areas.max() >= _ONE_RESOLUTION * areas.min():
        return Curve(
            {},
            loss,
            f"{here} Buckets of {areas.min():,} to {areas.max():,} pixels do not take one "
            "another's images, so there is no one curve. With max_buckets a plan has its own.",
        )
    shapes = one_per_ratio(plan.bucket_sizes)
    best = fewest(plan.sizes[used], shapes, min(_MOST_SHAPES, len(shapes)), weights[used])
    return Curve(
        {number: float(total) / samples for number, total in enumerate(best.curve, start=1)},
        loss,
        f"{here} The curve is what the best of them would cut if each image took the one that "
        "keeps most of it. That is what max_buckets does, and it has more to choose from.",
    )


def spread_of_losses(plan: BucketPlan) -> str:
    """How the crop losses of all images spread, in a sentence."""
    losses = plan.crop_loss[plan.bucket_of >= 0]
    if not len(losses):
        return "There is no image."
    half, most = np.quantile(losses, [0.5, 0.95])
    untouched = np.count_nonzero(losses == 0) / len(losses)
    return (
        f"Half of the images lose at most {half:.1%}, 95% at most {most:.1%}; {untouched:.0%} lose "
        "nothing."
    )


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


def _never_come(sampler: BucketBatchSampler) -> int:
    return int(((sampler.visits() == 0) & (sampler.plan.bucket_of >= 0)).sum())


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%} of those used" if whole else ""


def _dropped(account: Accounting) -> str:
    return f"{account.dropped:,} more are dropped" if account.dropped else "none is dropped"


def _filled(account: Accounting) -> str:
    return f"{account.filled:,} places repeat a sample" if account.filled else "none is filled up"
