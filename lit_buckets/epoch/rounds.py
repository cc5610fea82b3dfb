"""An epoch as a function: which samples each rank gets in each round.

Counts of samples, a world size and a key go in; rounds come out, any of them at once, with no
list of samples and nothing remembered. Rank and key arrive as values, so every rank computes the
same epoch by itself.

How a bucket is cut. Its ``m`` samples are cut into ``N`` batches of nearly equal size, and ``w``
batches in a row make a round, one for each of the ``w`` ranks:

    bucket of 22 samples, batch size 4, 2 ranks: N = 6 batches, 3 rounds
    sample    0 1 2 | 3 4 5 || 6 7 8 9 | …               smaller batches first
    batch       0   |   1   ||    2    |    3    ||    4    |    5
    rank        0   |   1   ||    0    |    1    ||    0    |    1
    round           0       ||         1         ||         2

Everything follows from choosing ``N`` for each bucket. It is at least ``ceil(m / batch_size)``,
at most ``m`` (no batch is empty), and over all buckets the batches must add up to a multiple of
``w`` for every rank to take the same number of steps. ``N // w`` rounds are then the bucket's own;
the ``N % w`` batches beyond them share rounds with other buckets at the end of the epoch:

    3 ranks                rank 0     rank 1     rank 2
    whole rounds           a0         a1         a2         buckets alternate at random,
                           b0         b1         b2         each keeping its own order
                           a3         a4         a5
    shared round           b3         c0         a6         buckets of like cost side by side

Because a bucket is always used up from its beginning, all that has been seen of an epoch is one
number for each bucket. That is the whole state: it knows nothing of ranks or batch sizes, so the
rest of an epoch can be laid out anew for any others.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from lit_buckets.epoch.allotment import Allotment, ShortBatch, Sync, allot
from lit_buckets.epoch.interleave import Interleaving
from lit_buckets.keyed import Permutations, key_of, keys_of

__all__ = ["Accounting", "Batches", "Rounds"]

IntArray = npt.NDArray[np.int64]


class Batches(NamedTuple):
    """Consecutive batches of one rank, each a stretch of one bucket's places.

    Places beyond the bucket's last sample are filled by repeating samples.
    """

    bucket: IntArray  #: (B,) bucket of each batch
    start: IntArray  #: (B,) its first place
    size: IntArray  #: (B,) how many places it has

    def head(self, places: int) -> Batches:
        """As many of the first batches as have together about this many places, at least one."""
        count = max(1, places // int(self.size.max(initial=1)))
        return Batches(self.bucket[:count], self.start[:count], self.size[:count])


class Accounting(NamedTuple):
    """What an epoch will do, in numbers."""

    rounds: int  #: steps that every rank takes
    shared_rounds: int  #: rounds in which the ranks take different buckets
    samples: int  #: samples that come, each once
    filled: int  #: places filled by repeating a sample, ``valid`` false
    dropped: int  #: samples that do not come (``short_batch="drop"``)
    fullness: float  #: places used, as a share of the places that full batches would have


class Rounds:
    """The rounds of an epoch, or of what is left of it, for one world size.

    Args:
        samples: (K,) samples of each bucket in the whole epoch.
        seen: (K,) how many of them were used up before these rounds begin.
        batch_sizes: (K,) largest batch of each bucket.
        costs: (K,) what a batch of the bucket costs, in any unit; like costs share rounds.
        world_size: Ranks, at least 1.
        key: What the order of the rounds depends on; ``None`` leaves buckets in their order.
        sync: See :func:`~lit_buckets.epoch.allotment.allot`.
        short_batch: See :func:`~lit_buckets.epoch.allotment.allot`.
        largest_first: Let the most expensive bucket open the epoch.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        samples: IntArray,
        *,
        seen: IntArray,
        batch_sizes: IntArray,
        costs: IntArray,
        world_size: int,
        key: int | None,
        sync: Sync = "same_bucket",
        short_batch: ShortBatch = "keep",
        largest_first: bool = False,
    ) -> None:
        _check(batch_sizes, world_size, sync, short_batch)
        self._samples, self._seen, self._world_size = samples, seen, world_size
        self._batch_sizes = batch_sizes
        self._allotment = allot(
            samples - seen,
            batch_sizes,
            world_size=world_size,
            sync=sync,
            short_batch=short_batch,
        )
        batches = self._allotment.batches
        self._size, larger = np.divmod(self._allotment.places, np.maximum(batches, 1))
        self._smaller = batches - larger  # how many batches have that size and not one more
        mixed = sync == "mixed"
        own = batches if mixed else batches // world_size
        dearest = _dearest(batches, costs) if largest_first else None
        opens = dearest is not None and bool(own[dearest])
        self._own = Interleaving(own, key=key, first=dearest if opens else None)
        self._group = 1 if mixed else world_size  # batches that a place of the sequence means
        shared = np.zeros_like(batches) if mixed else batches % world_size
        self._shared = _SharedRounds(
            shared, costs, world_size, key, lead=dearest is not None and not opens
        )
        self._own_batches = batches - shared
        self._led = self._shared.counts_before(self._shared.lead)  # batches in an opening one

    def __len__(self) -> int:
        """Rounds, the same on every rank."""
        return self._own_rounds + len(self._shared)

    def read(self, rank: int, round_: int) -> Batches:
        """One rank's batches from a round on, as many as are cheap to compute together.

        Args:
            rank: In [0, world size).
            round_: Where to begin, in [0, ``len(self)``).

        Returns:
            At least one batch, one for each round.
        """
        kind, place = self._locate(round_)
        if kind == "shared":
            bucket, index = self._shared.read(rank, place, self._lead_stop(place))
            index = index + self._own_batches[bucket] * (index >= self._led[bucket])
        elif self._group == 1:
            bucket, index = self._read_mixed(rank, place)
        else:
            bucket, index = self._own.read(place)
            index = self._led[bucket] + index * self._world_size + rank
        size = self._size[bucket] + (index >= self._smaller[bucket])
        return Batches(bucket, self._seen[bucket] + self._place(bucket, index), size)

    def seen_before(self, round_: int) -> IntArray:
        """How many samples of each bucket are used up when a round begins.

        Args:
            round_: In [0, ``len(self)``].

        Returns:
            (K,) int64, counted from the beginning of the epoch.
        """
        lead = self._shared.lead
        own = min(max(round_ - lead, 0), self._own_rounds)
        shared = round_ - own
        if self._group == 1:
            own = min(own * self._world_size, len(self._own))
        batches = self._own.counts_before(own) * self._group + self._shared.counts_before(shared)
        used = self._place(np.arange(len(batches)), batches)
        return np.minimum(self._seen + used, self._samples)

    def accounting(self) -> Accounting:
        """What these rounds will do, in numbers."""
        left = self._samples - self._seen
        places = int(self._allotment.places.sum())
        room = int((self._allotment.batches * self._batch_sizes).sum())
        return Accounting(
            rounds=len(self),
            shared_rounds=len(self._shared) if self._group > 1 else 0,
            samples=int(np.minimum(left, self._allotment.places).sum()),
            filled=int(np.maximum(self._allotment.places - left, 0).sum()),
            dropped=int(np.maximum(left - self._allotment.places, 0).sum()),
            fullness=places / room if room else 1.0,
        )

    @property
    def allotment(self) -> Allotment:
        """Batches and places of each bucket."""
        return self._allotment

    @property
    def _own_rounds(self) -> int:
        return len(self._own) * self._group // self._world_size

    def _locate(self, round_: int) -> tuple[Literal["own", "shared"], int]:
        lead = self._shared.lead
        if round_ < lead:
            return "shared", round_
        if round_ < lead + self._own_rounds:
            return "own", round_ - lead
        return "shared", round_ - self._own_rounds

    def _lead_stop(self, place: int) -> int:
        """Where a run of shared rounds ends: after the one that opens the epoch, or at the end."""
        return self._shared.lead if place < self._shared.lead else len(self._shared)

    def _read_mixed(self, rank: int, round_: int) -> tuple[IntArray, IntArray]:
        """One rank's share of the sequence of all ranks' batches: every ``w``-th of them."""
        place, stride = round_ * self._world_size, self._world_size
        parts = [self._own.read(place)]
        read = len(parts[0][0])
        while read < stride:
            parts.append(self._own.read(place + read))
            read += len(parts[-1][0])
        whole = read // stride * stride
        bucket = np.concatenate([part[0] for part in parts])[rank:whole:stride]
        index = np.concatenate([part[1] for part in parts])[rank:whole:stride]
        return bucket, index

    def _place(self, bucket: IntArray, index: IntArray) -> IntArray:
        """First place of a batch: sizes differ by one at most, the smaller ones come first."""
        return index * self._size[bucket] + np.maximum(index - self._smaller[bucket], 0)


class _SharedRounds:
    """Rounds made of single batches of several buckets, those of like cost side by side.

    Buckets stand in order of falling cost, each with as many slots as it has batches left; every
    ``w`` slots make a round. A bucket has fewer than ``w``, so it lies in two rounds at most. The
    rounds come in random order; a bucket cut by two rounds counts its batches from whichever
    comes first, so that it is still used up from its beginning.
    """

    def __init__(
        self, counts: IntArray, costs: IntArray, world_size: int, key: int | None, *, lead: bool
    ) -> None:
        self._world_size = world_size
        self._counts = counts
        self._rounds = int(counts.sum()) // world_size
        self.lead = int(lead and self._rounds > 0)  #: shared rounds that open the epoch: 0 or 1
        self._order = np.lexsort((np.arange(len(counts)), -costs))
        self._starts = np.empty_like(counts)
        ends = np.cumsum(counts[self._order])
        self._starts[self._order] = ends - counts[self._order]
        self._ends = ends
        self._turns = _turns(self._rounds, key, keep_first=bool(self.lead))
        self._when = np.argsort(self._turns)
        # the round in which each bucket begins, how much of it lies there, and whether the rest,
        # one round further down, has its turn earlier
        self._first = np.minimum(self._starts // world_size, max(self._rounds - 1, 0))
        self._inside = np.minimum(counts, (self._first + 1) * world_size - self._starts)
        second = np.minimum(self._first + 1, max(self._rounds - 1, 0))
        self._swapped = (
            self._when[second] < self._when[self._first]
            if self._rounds
            else np.zeros(len(counts), dtype=bool)
        )

    def __len__(self) -> int:
        return self._rounds

    def read(self, rank: int, turn: int, stop: int) -> tuple[IntArray, IntArray]:
        """Bucket and how-manieth left-over batch of it, for turns from ``turn`` to ``stop``."""
        slot = self._turns[turn:stop] * self._world_size + rank
        bucket = self._order[np.searchsorted(self._ends, slot, side="right")]
        offset = slot - self._starts[bucket]
        inside, outside = self._inside[bucket], (self._counts - self._inside)[bucket]
        early = np.where(offset < inside, offset + outside, offset - inside)
        return bucket, np.where(self._swapped[bucket], early, offset)

    def counts_before(self, turn: int) -> IntArray:
        """Left-over batches of each bucket in the turns before this one."""
        if not self._rounds:
            return np.zeros_like(self._counts)
        second = np.minimum(self._first + 1, self._rounds - 1)
        outside = self._counts - self._inside
        return self._inside * (self._when[self._first] < turn) + outside * (
            self._when[second] < turn
        )


def _check(batch_sizes: IntArray, world_size: int, sync: str, short_batch: str) -> None:
    if world_size < 1:
        raise ValueError(f"world_size={world_size} must be at least 1.")
    if len(batch_sizes) and batch_sizes.min() < 1:
        raise ValueError(f"batch_size={batch_sizes.min()} must be at least 1.")
    for name, value, choices in (
        ("sync", sync, get_args(Sync)),
        ("short_batch", short_batch, get_args(ShortBatch)),
    ):
        if value not in choices:
            raise ValueError(f"{name}={value!r} must be one of {', '.join(choices)}.")


def _dearest(batches: IntArray, costs: IntArray) -> int | None:
    present = np.flatnonzero(batches)
    return int(present[np.argmax(costs[present])]) if len(present) else None


def _turns(rounds: int, key: int | None, *, keep_first: bool) -> IntArray:
    """The order in which shared rounds come: turn to round."""
    turns = np.arange(rounds)
    if key is None or rounds < 2:
        return turns
    held = int(keep_first)
    shuffle = Permutations(np.array([rounds - held]), keys_of(key_of(key, rounds), [0]))
    turns[held:] = held + shuffle(np.zeros(rounds - held, dtype=np.int64), turns[: rounds - held])
    return turns
