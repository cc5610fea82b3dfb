"""Reading many files at once: in this thread, in threads, or in processes.

Reading a header from memory is some ten microseconds of Python, so threads do not add up; they
help where the disk or the network makes each file wait. Processes add up, but take some
hundredths of a second to start.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeAlias

from lit_buckets.headers import Demands, FileRead, Job, read_files
from lit_buckets.scan.helpers import Helper, can_help

__all__ = [
    "Answer",
    "as_answer",
    "batch_size",
    "default_workers",
    "in_threads",
    "read_in_order",
]

#: Files that a thread reads at a time, and that a process does.
_BATCH, _LARGE_BATCH = 64, 256
#: Files that either decodes at a time.
_DECODED = 8
#: Up to this many files, a pool of threads costs more than it gives.
_ALONE = 2 * _BATCH
#: From this many files on, processes are worth their start.
_PROCESSES_FROM = 20_000
#: The same where files are decoded, some twenty milliseconds each.
_PROCESSES_FROM_DECODED = 4 * _DECODED
#: Batches that wait for each process, so that it is never without work.
_AHEAD = 3
#: Seconds after which one more process is started, once there are as many as cores.
_PATIENCE = 1.0
#: Batches for each worker that may be answered, or not, behind one that is waited for.
_MOST_WAITING = 64

_Batch: TypeAlias = "list[Job]"
#: What was found for a batch: a sequence for each field of `FileRead`, one item for each job.
Answer: TypeAlias = "Sequence[Sequence[Any]]"


def default_workers() -> int:
    """As many as there are cores for this process, and some that wait for the disk; at most 32."""
    return min(32, _cores() + 4)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def batch_size(files: int, demands: Demands) -> int:
    """How many files to read at a time, of so many in all."""
    if demands.decodes:
        return _DECODED
    return _LARGE_BATCH if files >= _PROCESSES_FROM else _BATCH


def read_in_order(
    batches: Iterable[_Batch], *, files: int, demands: Demands, workers: int | None = None
) -> Generator[Answer]:
    """Read batches of files with as many hands as pay off, and answer in the order of the batches.

    Args:
        batches: Lists of `batch_size` jobs; only a few are taken in advance.
        files: How many files there are in all; decides between threads and processes.
        demands: What each image must be.
        workers: How many at once. 1 reads in this thread; None chooses.

    Yields:
        For each batch, a list for each field of `lit_buckets.headers.FileRead`.
    """

    def read(batch: _Batch) -> Answer:
        return as_answer(read_files(batch, demands))

    if workers is None:
        workers = default_workers() if files > (_DECODED if demands.decodes else _ALONE) else 1
    if workers == 1:
        yield from map(read, batches)
    elif (
        files < (_PROCESSES_FROM_DECODED if demands.decodes else _PROCESSES_FROM) or not can_help()
    ):
        yield from in_threads(read, batches, workers)
    else:
        yield from _in_processes(read, batches, workers, demands)


def as_answer(found: Iterable[FileRead]) -> Answer:
    """Column by column, as it crosses from process to process and goes into a table."""
    return list(zip(*found, strict=True))


def in_threads(
    read: Callable[[_Batch], Answer], batches: Iterable[_Batch], workers: int
) -> Generator[Answer]:
    """Read batches with so many threads, and answer in the order of the batches."""
    waiting: deque[Future[Answer]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="lit_buckets_scan") as pool:
        try:
            for batch in batches:
                waiting.append(pool.submit(read, batch))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # after an interrupt nobody wants the rest
            for future in waiting:
                future.cancel()


def _in_processes(
    read: Callable[[_Batch], Answer],
    batches: Iterable[_Batch],
    workers: int,
    demands: Demands,
) -> Generator[Answer]:
    """Let other processes read while they have time; this one reads when none of them has.

    What another process cannot answer is read in this one, too.
    """
    helpers = [Helper()]
    waiting: deque[tuple[_Batch, Helper | Answer]] = deque()
    begun = time.monotonic()

    def answer() -> Answer:
        batch, by = waiting.popleft()
        return (by.answer() or read(batch)) if isinstance(by, Helper) else by

    try:
        for batch in batches:
            for helper in helpers:
                helper.exchange()
            helper = min(helpers, key=lambda helper: helper.left)
            enough = min(workers - 1, _sensible(time.monotonic() - begun))
            if helper.left >= _AHEAD and len(helpers) < enough:
                helpers.append(helper := Helper())
            if helper.left < _AHEAD:
                helper.ask(batch, demands)
                waiting.append((batch, helper))
            else:
                waiting.append((batch, read(batch)))
            while waiting and (len(waiting) > _MOST_WAITING * workers or _is_there(waiting[0][1])):
                yield answer()
        while waiting:
            yield answer()
    finally:
        for helper in helpers:
            helper.close()


def _sensible(seconds: float) -> int:
    """How many helpers are worth their start when reading has taken so long.

    More than there are cores help only where the disk is slow, and then it takes long.
    """
    return max(1, _cores() - 1) + int(seconds / _PATIENCE)


def _is_there(by: Helper | Answer) -> bool:
    return not isinstance(by, Helper) or by.has_answered
