"""From the rounds of an epoch to one rank's batches, and where in the epoch we are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import length_hint
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from torch.utils.data.distributed import DistributedSampler

from lit_buckets.epoch import Accounting, Batches, Rounds
from lit_buckets.epoch.allotment import ShortBatch, Sync
from lit_buckets.epoch.order import SampleOrder
from lit_buckets.errors import DataError, ResumeError
from lit_buckets.keyed import key_of
from lit_buckets.plan import BucketPlan
from lit_buckets.plan.strata import samples_of

__all__ = ["BucketBatch", "BucketBatchSampler", "OnChange"]

IntArray = npt.NDArray[np.int64]
OnChange = Literal["error", "restart_epoch"]

_STATE_VERSION = 1
_AT_ONCE = 1 << 16  # places looked up together: enough to be quick, few enough to begin at once
_ORDER, _ROUNDS = 1, 2  # what the epoch's key is mixed with for each use


class BucketBatch(NamedTuple):
    """One batch of one bucket, as the sampler hands it to the dataset."""

    bucket: int  #: index of the bucket in the plan
    indices: IntArray  #: (B,) images, as rows of the plan
    valid: npt.NDArray[np.bool_]  #: (B,) false for a sample repeated only to fill a place
    epoch: int  #: the epoch it belongs to; crops and flips depend on it
    repetition: IntArray  #: (B,) how-manieth time the image comes in this epoch, from 0


@dataclass(frozen=True)
class _Position:
    """A place in training: ``seen`` samples of each bucket were used up when ``step`` began."""

    epoch: int
    step: int  #: rounds of the epoch before this place
    seen: IntArray  #: (K,)


class _Drawn(NamedTuple):
    """How far an iterator has come: up to ``end``, less what is left of the buckets before it."""

    end: int
    left: Iterator[int]

    def steps(self) -> int:
        return self.end - length_hint(self.left)


class BucketBatchSampler(DistributedSampler[BucketBatch]):
    """Batches of one shape for one rank, every rank in step.

    It is a ``DistributedSampler`` so that Lightning and Fabric leave it in place and tell it the
    epoch; it needs no process group. Give it to a ``DataLoader`` with ``batch_size=None``.

    Args:
        plan: Which bucket each image is in.
        batch_size: Images in a batch at most: one number, or one for each bucket.
        max_pixels: In place of ``batch_size``: pixels in a batch at most, so that large buckets
            get smaller batches (of at least one image).
        num_replicas: World size.
        rank: This rank, in [0, ``num_replicas``).
        seed: What every order depends on, besides the epoch.
        shuffle: Whether images and buckets come in random order, or in the manifest's.
        sync: ``"same_bucket"`` lets all ranks take the same bucket in the same round, but for
            left-over rounds at the epoch's end; ``"strict"`` has no such rounds, at the cost of
            more steps; ``"mixed"`` lets each rank draw its own bucket in every round.
        short_batch: ``"keep"`` cuts a bucket into batches of nearly equal size and loses nothing;
            ``"drop"`` and ``"repeat"`` make every batch exactly ``batch_size`` long.
        largest_first: Let the bucket with the most pixels in a batch be the very first round of
            epoch 0, so that a run that cannot fit in memory fails at once.
        freeze_epoch: Every epoch has the order of epoch 0 (to overfit a few batches).
        on_change: What a loaded state of another plan, seed or order does: ``"error"``, or
            ``"restart_epoch"`` to begin its epoch anew.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> from lit_buckets import plan_buckets
        >>> plan = plan_buckets([[64, 64]] * 5 + [[64, 128]] * 3, max_area=64 * 64, divisor=16)
        >>> [batch.indices.tolist() for batch in BucketBatchSampler(plan, batch_size=3, shuffle=False)]
        [[5, 6, 7], [0, 1], [2, 3, 4]]
    """  # noqa: E501

    def __init__(
        self,
        plan: BucketPlan,
        *,
        batch_size: int | Sequence[int] | None = None,
        max_pixels: int | None = None,
        num_replicas: int = 1,
        rank: int = 0,
        seed: int = 0,
        shuffle: bool = True,
        sync: Sync = "same_bucket",
        short_batch: ShortBatch = "keep",
        largest_first: bool = False,
        freeze_epoch: bool = False,
        on_change: OnChange = "error",
    ) -> None:
        # DistributedSampler's own constructor counts samples of a dataset and asks the process
        # group for what is given here, so it is left out; these are the attributes others read.
        if not 0 <= rank < num_replicas:
            raise ValueError(f"rank={rank} must be in [0, num_replicas={num_replicas}).")
        self.plan = plan
        self.num_replicas, self.rank = num_replicas, rank
        self.seed, self.shuffle, self.drop_last = seed, shuffle, short_batch == "drop"
        self.sync, self.short_batch, self.largest_first = sync, short_batch, largest_first
        self.freeze_epoch, self.on_change = freeze_epoch, on_change
        self.batch_sizes = _batch_sizes(plan, batch_size, max_pixels)
        self._samples = samples_of(plan.strata, len(plan.bucket_sizes))
        self._base = self._beginning(0)
        self._rounds: Rounds | None = None
        self._start = 0  # where iteration begins, counted in rounds of the epoch
        self._drawn = _Drawn(0, iter(()))
        self._offset = 0
        self.is_resumed = False  #: whether a state was loaded, and no epoch was chosen since
        self._asked: int | None = None  # the epoch that a frozen one was last asked for as
        self._lay_out()

    @property
    def epoch(self) -> int:  # type: ignore[override]
        """The epoch whose batches come next."""
        return self._base.epoch

    @property
    def start(self) -> int:
        """The round at which iteration begins: 0, unless a state from mid-epoch was loaded."""
        return self._start

    def __len__(self) -> int:
        """Rounds in this epoch, those before a resume included; the same on every rank."""
        return self._base.step + len(self._lay_out())

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch. The one that is under way goes on; any other begins at its beginning.

        After a resume, a caller that counts passes from zero again (Lightning Fabric does) is
        understood: its first number then stands for the epoch that was loaded.

        Args:
            epoch: At least 0.
        """
        if self.freeze_epoch:
            if epoch != self._asked and self._asked is not None:
                self._begin(self._beginning(self.epoch), start=0)
            self._asked = epoch
            return
        if self.is_resumed and epoch < self.epoch:
            complete = self._start >= len(self)
            self._offset = self.epoch + complete - epoch
        self.is_resumed = False
        epoch += self._offset
        if epoch != self.epoch:
            self._begin(self._beginning(epoch), start=0)

    def advance(self) -> None:
        """Go on to the beginning of the next epoch."""
        self._begin(self._beginning(self.epoch + (not self.freeze_epoch)), start=0)

    def __iter__(self) -> Iterator[BucketBatch]:
        """This rank's batches, from :attr:`start` on.

        Nothing is decided before the first batch is asked for, because trainers call ``iter``
        before ``set_epoch``.
        """
        rounds, epoch = self._lay_out(), self.epoch
        order = SampleOrder(
            self.plan.strata,
            len(self.plan.bucket_sizes),
            key=key_of(self.seed, epoch, _ORDER) if self.shuffle else None,
        )
        step, before = self._start, self._base.step
        while step < before + len(rounds):
            batches = rounds.read(self.rank, step - before).head(_AT_ONCE)
            buckets = iter(batches.bucket.tolist())
            step += len(batches.bucket)
            # how far these are drawn is read off the iterator when somebody asks
            self._drawn = _Drawn(step, buckets)
            yield from self._materialise(batches, buckets, order, epoch)

    def check_any(self) -> None:
        """Refuse an epoch without a batch, where somebody waits for one.

        Raises:
            DataError: If this epoch has none.
        """
        if not len(self):
            raise DataError(
                f"an epoch has no batch: none of {self.plan.images:,} images is in a bucket that "
                f"batches.short_batch={self.short_batch} cuts one from. Set "
                f"batches.short_batch=keep, or a smaller batches.batch_size."
            )

    def accounting(self) -> Accounting:
        """What a whole epoch does, in numbers."""
        return self._whole_epoch().accounting()

    def batches_per_bucket(self) -> IntArray:
        """(K,) batches that each bucket gives in a whole epoch, over all ranks."""
        return self._whole_epoch().allotment.batches

    def visits(self) -> npt.NDArray[np.float64]:
        """How often each image comes in an epoch, on average over many epochs.

        Returns:
            (N,) for each row of the plan, 0 for images that never come: those left out of the plan
            and, under ``short_batch="drop"``, those of buckets that no batch is cut from. Below an
            image's repeats where samples are dropped, above where places are filled.
        """
        places = self._whole_epoch().allotment.places
        share = np.append(places / np.maximum(self._samples, 1), 0.0)  # the last for bucket -1
        repeats = 1 if self.plan.repeats is None else self.plan.repeats
        return share[self.plan.bucket_of] * repeats

    def state_dict(self, step: int | None = None) -> dict[str, Any]:
        """Where training is, in plain integers and strings, the same on every rank.

        Args:
            step: Rounds of this epoch that are done; by default those drawn from the last
                iterator. A loader whose workers draw ahead must say how many it delivered.

        Returns:
            A state that :meth:`load_state_dict` takes at any world size and batch size.
        """
        step = self._drawn.steps() if step is None else step
        seen = self._lay_out().seen_before(step - self._base.step)
        frozen = {"asked": self._asked} if self.freeze_epoch else {}
        return (
            self._identity()
            | frozen
            | {
                "epoch": self.epoch,
                "step": step,
                "seen": seen.tolist(),
                # what these rounds were laid out for: with the same, the very same batches go on
                "layout": self._layout()
                | {"step": self._base.step, "seen": self._base.seen.tolist()},
            }
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a state was taken.

        At the same world size, batch sizes and policies the next batch is the very one that would
        have come. At others the rest of the epoch is laid out anew: exactly the samples not yet
        seen.

        Args:
            state: From :meth:`state_dict` of any rank.

        Raises:
            ResumeError: If the state belongs to another plan, seed or order and ``on_change`` is
                ``"error"``; the message says what differs.
        """
        differences = self._differences(state)
        epoch, step = int(state["epoch"]), int(state["step"])
        if differences and self.on_change == "error":
            raise ResumeError(
                f"the checkpoint cannot go on mid-epoch: {'; '.join(differences)}. Restore what "
                "it was made with, or set batches.on_change=restart_epoch to begin its epoch anew."
            )
        self.is_resumed, self._asked = True, state.get("asked")
        layout = state["layout"]
        if differences:
            base = _Position(epoch, step, np.zeros_like(self._samples))
        elif all(layout.get(name) == value for name, value in self._layout().items()):
            base = _Position(epoch, layout["step"], np.array(layout["seen"], dtype=np.int64))
        else:
            base = _Position(epoch, step, np.array(state["seen"], dtype=np.int64))
        self._begin(base, start=step)

    def _beginning(self, epoch: int) -> _Position:
        return _Position(epoch, 0, np.zeros_like(self._samples))

    def _whole_epoch(self) -> Rounds:
        """The rounds of this epoch from its beginning, wherever iteration begins."""
        return self._rounds_from(self._beginning(self.epoch))

    def _begin(self, base: _Position, *, start: int) -> None:
        self._base, self._start, self._drawn = base, start, _Drawn(start, iter(()))
        self._rounds = None

    def _lay_out(self) -> Rounds:
        if self._rounds is None:
            self._rounds = self._rounds_from(self._base)
        return self._rounds

    def _rounds_from(self, base: _Position) -> Rounds:
        return Rounds(
            self._samples,
            seen=base.seen,
            batch_sizes=self.batch_sizes,
            costs=self.plan.bucket_sizes.prod(axis=1) * self.batch_sizes,
            world_size=self.num_replicas,
            key=key_of(self.seed, base.epoch, _ROUNDS) if self.shuffle else None,
            sync=self.sync,
            short_batch=self.short_batch,
            largest_first=self.largest_first and base.epoch == 0 and base.step == 0,
        )

    def _layout(self) -> dict[str, Any]:
        """Everything but the plan, seed and epoch that decides how rounds are laid out."""
        return {
            "world_size": self.num_replicas,
            "batch_sizes": self.batch_sizes.tolist(),
            "sync": self.sync,
            "short_batch": self.short_batch,
            "largest_first": self.largest_first,
        }

    def _identity(self) -> dict[str, Any]:
        """Everything that decides which sample stands at which place of an epoch."""
        return {
            "version": _STATE_VERSION,
            "seed": self.seed,
            "shuffle": self.shuffle,
            "images": len(self.plan),
            "buckets": len(self.plan.bucket_sizes),
            "plan": self.plan.hash,
            "dataset": self.plan.dataset,
        }

    def _differences(self, state: Mapping[str, Any]) -> list[str]:
        return [
            f"its {name} is {_short(state.get(name))}, this run's is {_short(value)}"
            for name, value in self._identity().items()
            if state.get(name) != value
        ]

    def _materialise(
        self, batches: Batches, buckets: Iterator[int], order: SampleOrder, epoch: int
    ) -> Iterator[BucketBatch]:
        """Look up the images of many batches at once; one of ``buckets`` is taken for each batch.

        Places stand in (longest batch, batches) arrays, a column for each batch, so that what
        belongs to a bucket is looked up once for a batch and not for each of its places.
        """
        longest = int(batches.size.max())
        offset = np.minimum(np.arange(longest)[:, None], batches.size - 1)  # short ones padded
        place = batches.start + offset
        samples = self._samples[batches.bucket]
        valid = place < samples
        filled = not valid.all()
        if filled:
            place %= samples
        member, repetition = order(batches.bucket, place)
        index = self.plan.members[member].astype(np.int64, copy=False)
        rows = zip(
            buckets,
            _rows(index, batches.size),
            _rows(valid, batches.size) if filled else _same_rows(True, batches.size),
            repeat(epoch),
            _rows(repetition, batches.size) if order.repeats else _same_rows(0, batches.size),
        )
        # what calling BucketBatch does, less a Python frame: this line is the sampler's hot spot
        return map(tuple.__new__, repeat(BucketBatch), rows)


def _rows(columns: npt.NDArray[Any], sizes: IntArray) -> Iterable[npt.NDArray[Any]]:
    """The columns of a (longest, B) array as B arrays, cut to their sizes."""
    rows = np.ascontiguousarray(columns.T)
    return _cut(list(rows), sizes) if sizes.min() < len(columns) else rows


def _same_rows(value: int, sizes: IntArray) -> Iterable[npt.NDArray[Any]]:
    """B arrays of one value, of these sizes: one array seen many times, and read-only."""
    row = np.full(sizes.max(), value, dtype=np.bool_ if isinstance(value, bool) else np.int64)
    row.flags.writeable = False
    return _cut([row] * len(sizes), sizes)


def _cut(rows: list[npt.NDArray[Any]], sizes: IntArray) -> list[npt.NDArray[Any]]:
    for short in np.flatnonzero(sizes < len(rows[0])).tolist():
        rows[short] = rows[short][: sizes[short]]
    return rows


def _batch_sizes(
    plan: BucketPlan, batch_size: int | Sequence[int] | None, max_pixels: int | None
) -> IntArray:
    """(K,) largest batch of each bucket."""
    if (batch_size is None) == (max_pixels is None):
        raise ValueError(
            f"batch_size={batch_size} and max_pixels={max_pixels}: exactly one of the two must "
            "be given."
        )
    buckets = len(plan.bucket_sizes)
    if max_pixels is not None:
        return np.asarray(np.maximum(max_pixels // plan.bucket_sizes.prod(axis=1), 1))
    sizes = np.asarray(batch_size, dtype=np.int64)
    if sizes.ndim and sizes.shape != (buckets,):
        raise ValueError(
            f"batch_size has {sizes.size} numbers; give one, or one for each of {buckets} buckets."
        )
    if sizes.size and sizes.min() < 1:
        raise ValueError(f"batch_size={batch_size} must be at least 1.")
    return np.array(np.broadcast_to(sizes, (buckets,)))


def _short(value: object) -> object:
    return value[:12] + "…" if isinstance(value, str) and len(value) > 12 else value
