"""How many batches each bucket gives.

Everything about an epoch follows from these numbers: that every rank takes equally many steps,
that nothing is lost, and how many rounds buckets have to share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["Allotment", "ShortBatch", "Sync", "allot"]

IntArray = npt.NDArray[np.int64]

Sync = Literal["same_bucket", "mixed", "strict"]
ShortBatch = Literal["keep", "drop", "repeat"]


@dataclass(frozen=True)
class Allotment:
    """How many batches each bucket gives, and over how many places they stretch."""

    batches: IntArray  #: (K,)
    places: IntArray  #: (K,) fewer than the samples where some are dropped, more where filled


def allot(
    samples: IntArray,
    batch_sizes: IntArray,
    *,
    world_size: int,
    sync: Sync = "same_bucket",
    short_batch: ShortBatch = "keep",
) -> Allotment:
    """Choose the number of batches of each bucket.

    The total is the least multiple of ``world_size`` that the batch sizes allow. Under
    ``sync="same_bucket"`` up to a twentieth more is spent on completing whole rounds, so that
    fewer are shared; under ``"strict"`` every bucket completes its rounds, at whatever cost.
    Completing needs no repeated samples: the bucket is merely cut into more, smaller batches.
    Only where that is impossible (more places needed than there are samples) are samples
    repeated.

    Args:
        samples: (K,) samples that each bucket has left, none negative.
        batch_sizes: (K,) largest batch of each bucket, each at least 1.
        world_size: Ranks, at least 1.
        sync: Whether the ranks take the same bucket in the same round.
        short_batch: ``"keep"`` makes batches nearly equal and loses nothing; ``"drop"`` and
            ``"repeat"`` make every batch exactly full by leaving samples out or repeating some.

    Returns:
        Batches and places of each bucket; the batches add up to a multiple of ``world_size``.

    Example:
        Two ranks, batches of 4: a bucket of 5 gives its 2 batches, the others share a round.

        >>> import numpy as np
        >>> allot(np.array([5, 3, 2]), np.array([4, 4, 4]), world_size=2).batches
        array([2, 1, 1])
    """
    if short_batch == "drop":
        batches = _drop(samples // batch_sizes, world_size, sync)
        return Allotment(batches, batches * batch_sizes)
    needed = -(-samples // batch_sizes)
    # a bucket can be cut no finer than single samples; full batches of repeats have no such bound
    most = samples if short_batch == "keep" else np.where(samples > 0, needed + world_size, 0)
    if sync == "strict":
        batches = -(-needed // world_size) * world_size
    else:
        batches = _complete(needed, most, world_size, sync)
    if short_batch == "repeat":
        return Allotment(batches, batches * batch_sizes)
    return Allotment(batches, np.maximum(samples, batches))


# Where batches that make up the number may come from, in this order: buckets that share rounds
# already; any bucket that can be cut finer; and, only when every batch is down to one sample,
# repeated samples, again first where rounds are shared.
_ROOMS: tuple[Callable[[IntArray, IntArray, IntArray, int], IntArray], ...] = (
    lambda needed, most, batches, world_size: np.minimum(most - batches, -batches % world_size),
    lambda needed, most, batches, world_size: most - batches,
    lambda needed, most, batches, world_size: -batches % world_size * (needed > 0),
    lambda needed, most, batches, world_size: np.where(needed > 0, world_size, 0),
)


def _complete(needed: IntArray, most: IntArray, world_size: int, sync: Sync) -> IntArray:
    """Raise the numbers of batches until they add up to a multiple of the world size."""
    least = -(-int(needed.sum()) // world_size)
    batches = needed.copy()
    if sync == "same_bucket":
        limit = max(least, min(least * 21 // 20, int(most.sum()) // world_size))
        batches += _promote(needed, most, world_size, limit * world_size - int(needed.sum()))
    missing = -int(batches.sum()) % world_size
    for room_for in _ROOMS:
        order = np.lexsort((-most, -(batches % world_size)))
        room = np.maximum(room_for(needed, most, batches, world_size), 0)
        given = _hand_out(missing, room, order)
        batches = batches + given
        missing -= int(given.sum())
    return batches


def _promote(needed: IntArray, most: IntArray, world_size: int, budget: int) -> IntArray:
    """Batches to add so that as many buckets as the budget allows have no batch left over.

    A bucket with ``r`` batches left over costs ``w - r`` to complete: what costs least also
    rids the shared rounds of most, so taking the cheapest first is optimal.
    """
    cost = -needed % world_size
    open_ = np.flatnonzero((cost > 0) & (needed + cost <= most))
    cheapest = open_[np.argsort(cost[open_], kind="stable")]
    taken = cheapest[np.cumsum(cost[cheapest]) <= budget]
    extra = np.zeros_like(needed)
    extra[taken] = cost[taken]
    return extra


def _drop(full: IntArray, world_size: int, sync: Sync) -> IntArray:
    """Lower the numbers of full batches until they add up to a multiple of the world size."""
    if sync == "strict":
        return full // world_size * world_size
    surplus = int(full.sum()) % world_size
    batches = full
    # from the buckets with the most batches left over, where there are none from the largest
    for room in (full % world_size, full):
        order = np.lexsort((-full, -room))
        taken = _hand_out(surplus, np.minimum(room, batches), order)
        batches = batches - taken
        surplus -= int(taken.sum())
    return batches


def _hand_out(amount: int, room: IntArray, order: IntArray) -> IntArray:
    """Give each bucket as much as it has room for, in an order, until the amount is used up."""
    before = np.cumsum(room[order]) - room[order]
    given = np.empty_like(room)
    given[order] = np.clip(amount - before, 0, room[order])
    return given
