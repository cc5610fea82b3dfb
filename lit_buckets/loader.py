"""A torch ``DataLoader`` of whole batches that knows where it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from lit_buckets.errors import DataError, ResumeError
from lit_buckets.sampler import BucketBatchSampler

__all__ = ["BucketDataLoader", "as_it_is", "died"]

# What Lightning hands to the constructor of a loader that it makes anew (in predict, and to
# overfit). The order and the ranks are settled already, so none of it is wanted.
_INJECTED = ("sampler", "shuffle", "batch_sampler", "batch_size", "drop_last", "collate_fn")

_SEEN_WITHIN = 1.0  # seconds in which the end of a worker is seen after its connections break
_TOLD_BY_WORKER = "in DataLoader worker process"  # what torch adds to errors of the dataset


class BucketDataLoader(DataLoader[dict[str, Any]]):
    """Batches from a sampler through a dataset, resumable after any step.

    It counts batches delivered, not drawn: workers draw ahead, and what was drawn but not
    delivered comes again after a resume. Passing through it once more goes on to the next epoch.

    Args:
        dataset: Takes a :class:`~lit_buckets.BucketBatch` and returns the batch.
        batches: Which batches, in which order.
        num_workers: Worker processes; 0 loads in this one.
        prefetch_factor: Batches that each worker loads ahead.
        pin_memory: Whether batches are copied to pinned memory; ``None`` = where CUDA is used.
        persistent_workers: Whether workers live on from epoch to epoch.
        multiprocessing_context: How workers are started, ``None`` = torch's default.
        steps_done: Counts the batches of this epoch whose step is finished. A trainer that is
            stopped between a batch's delivery and the end of its step gets that batch again.
            By default every delivered batch counts.
        **options: Further arguments of ``DataLoader``.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        batches: BucketBatchSampler,
        *,
        num_workers: int = 0,
        prefetch_factor: int = 2,
        pin_memory: bool | None = None,
        persistent_workers: bool = True,
        multiprocessing_context: str | None = None,
        steps_done: Callable[[], int] | None = None,
        **options: Any,
    ) -> None:
        for name in _INJECTED:
            options.pop(name, None)
        # a generator of its own, so that starting workers does not draw from torch's global one
        options.setdefault("generator", torch.Generator())
        super().__init__(
            dataset,
            batch_size=None,
            sampler=batches,
            num_workers=num_workers,
            prefetch_factor=prefetch_factor if num_workers else None,
            pin_memory=torch.cuda.is_available() if pin_memory is None else pin_memory,
            persistent_workers=persistent_workers and num_workers > 0,
            multiprocessing_context=multiprocessing_context if num_workers else None,
            collate_fn=as_it_is,
            **options,
        )
        self.batches = batches
        self.steps_done = steps_done
        self.asked_at = 0.0  #: ``time.perf_counter()`` when the last batch was asked for
        self.delivered_at = 0.0  #: and when it was there
        self.is_counted = False  #: whether a Trainer has counted the batches already
        self._epoch: int | None = None  # the epoch of the last pass, if one has begun
        self._delivered = 0
        self._counted_from = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        """The batches that come next.

        Workers start with the first batch asked for, not before: trainers call ``iter`` before
        they restore a state or set the epoch.

        Raises:
            DataError: If a worker has died.
        """
        # a state from an epoch's end is of that epoch for whoever counts epochs, as trainers do
        is_uncounted = self.batches.is_resumed and not self.steps_done
        if (self._epoch == self.batches.epoch or is_uncounted) and self._done() >= len(self):
            self.batches.advance()
        self._epoch, self._delivered = self.batches.epoch, 0
        self._counted_from = self.steps_done() if self.steps_done else 0
        self.asked_at = time.perf_counter()
        with _explained(self._iterator):  # workers that live on are asked whether they are ready
            batches = super().__iter__()
        while (batch := _next(batches)) is not None:
            self.delivered_at = time.perf_counter()
            self._delivered += 1
            yield batch
            self.asked_at = time.perf_counter()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; the one that is under way goes on."""
        self.batches.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Where training is; see :meth:`BucketBatchSampler.state_dict`."""
        return self.batches.state_dict(self._done())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a state was taken; see :meth:`BucketBatchSampler.load_state_dict`.

        A state that was taken at an epoch's end goes on with the next epoch, unless `set_epoch`
        chooses the one that has ended: of that one nothing is left.

        Raises:
            ResumeError: If the state belongs to another plan, seed or order, or would change the
                number of batches after a Trainer has counted them.
        """
        before = len(self)
        self.batches.load_state_dict(state)
        self._epoch = None
        if self.is_counted and len(self) != before:
            raise ResumeError(
                f"the checkpoint's epoch has {len(self)} batches as this run lays them out, but "
                f"the Trainer has counted {before}: the datamodule's own state came too late, or "
                f"is that of another class. Resume with the class, batch size and number of ranks "
                f"that the checkpoint was made with."
            )

    def _done(self) -> int:
        """Rounds of the sampler's epoch whose steps are finished."""
        if self._epoch != self.batches.epoch:
            return self.batches.start
        delivered = self._delivered
        if self.steps_done:
            delivered = min(delivered, self.steps_done() - self._counted_from)
        return self.batches.start + delivered


def died(error: BaseException) -> str:
    """What to know of an error if it tells that a loader's worker has died; "" for any other.

    torch notices at once, whatever the main process is doing, so it may be raised anywhere, and
    may have been made another error there (`inspect` does that).

    Example:
        >>> died(ValueError("5"))
        ''
    """
    reason = ""
    each: BaseException | None = error
    while each is not None:
        text = " ".join(str(each).split()).rstrip(".")
        if isinstance(each, RuntimeError) and text.startswith("DataLoader worker"):
            reason = text  # the first one tells most
        each = each.__cause__ or each.__context__
    return _advice(reason) if reason else ""


def _advice(reason: str) -> str:
    return (
        f"a worker of the loader died; {reason}. If the system killed it because memory ran out, "
        "lower loader.num_workers or loader.prefetch_factor, or load smaller batches."
    )


def _next(batches: Iterator[Any]) -> Any:
    """The next batch; ``None`` after the last."""
    with _explained(batches):
        return next(batches, None)


@contextmanager
def _explained(batches: object) -> Iterator[None]:
    """Make a :class:`DataError` of whatever comes of a worker's death.

    torch tells of it, but may find out too late: what a worker has queued is fetched from it, so
    its death may first be met as a broken connection. Any other error stays as it is.

    Args:
        batches: torch's iterator, with its workers if it has any.
    """
    try:
        yield
    except (RuntimeError, OSError, EOFError) as error:
        explained = died(error)
        if not explained and _TOLD_BY_WORKER not in str(error):
            explained = _dead(getattr(batches, "_workers", []))
        if explained:
            raise DataError(explained) from error
        raise


def _dead(workers: list[BaseProcess]) -> str:
    """What to know if workers have died, or die within a moment; "" if all are alive."""
    if not workers:
        return ""
    try:
        ended = set(wait([worker.sentinel for worker in workers], _SEEN_WITHIN))
        gone = [worker for worker in workers if worker.sentinel in ended]
        for worker in gone:
            worker.join(_SEEN_WITHIN)  # so that the signal of its end comes here and not later
    except RuntimeError as error:  # torch's, on that signal
        return died(error)
    pids = ", ".join(str(worker.pid) for worker in gone)
    return _advice(f"DataLoader worker (pid(s) {pids}) exited unexpectedly") if gone else ""


def as_it_is(batch: Any) -> Any:
    """Take the place of torch's conversion, where a dataset gives what is finished."""
    return batch
