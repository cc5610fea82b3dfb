"""Reading many files at once: in this thread, in threads, or in processes.

Reading a header from memory is some ten microseconds of Python, so threads do not add up; they
help where the disk or the network makes each file wait. Processes add up, but take a tenth of a
second to start. They are plain programs that load `lit_buckets.headers` and nothing else, talk
JSON over their pipes, and share nothing with this process: no fork of a process that has threads
or a GPU, no second import of the user's script, no pickle.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from lit_buckets import headers
from lit_buckets.headers import Demands, FileRead, Job, read_files

__all__ = [
    "BATCH",
    "DECODED",
    "Answer",
    "as_answer",
    "default_workers",
    "in_threads",
    "read_in_order",
]

#: Files that one worker reads at a time, and that it decodes at a time.
BATCH, DECODED = 64, 8
#: Up to this many files, a pool of threads costs more than it gives.
_ALONE = 2 * BATCH
#: From this many files on, processes are worth their start.
_PROCESSES_FROM = 20_000
#: The same where files are decoded, some twenty milliseconds each.
_PROCESSES_FROM_DECODED = 4 * DECODED
#: Batches that wait for each process, so that it is never without work.
_AHEAD = 4

_PACKAGE = str(Path(headers.__file__).parents[1])

_Batch: TypeAlias = "list[Job]"
#: What was found for a batch: a sequence for each field of `FileRead`, one item for each job.
Answer: TypeAlias = "Sequence[Sequence[Any]]"


def default_workers() -> int:
    """As many as there are cores for this process, and some that wait for the disk; at most 32."""
    if hasattr(os, "sched_getaffinity"):
        return min(32, len(os.sched_getaffinity(0)) + 4)
    return min(32, (os.cpu_count() or 1) + 4)


def read_in_order(
    batches: Iterable[_Batch], *, files: int, demands: Demands, workers: int | None = None
) -> Generator[Answer]:
    """Read batches of files with as many hands as pay off, and answer in the order of the batches.

    Args:
        batches: Lists of `BATCH` jobs, or of `DECODED`; only a few are taken in advance.
        files: How many files there are in all; decides between threads and processes.
        demands: What each image must be.
        workers: How many at once. 1 reads in this thread; None chooses.

    Yields:
        For each batch, a list for each field of `lit_buckets.headers.FileRead`.
    """

    def read(batch: _Batch) -> Answer:
        return as_answer(read_files(batch, demands))

    if workers is None:
        workers = default_workers() if files > (DECODED if demands.decodes else _ALONE) else 1
    if workers == 1:
        yield from map(read, batches)
    elif files < (_PROCESSES_FROM_DECODED if demands.decodes else _PROCESSES_FROM):
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
    """Batches are dealt out in turn; what a process cannot answer is read in this one."""
    helpers = [_Helper() for _ in range(workers)]
    waiting: deque[tuple[_Helper, _Batch]] = deque()

    def answer() -> Answer:
        helper, batch = waiting.popleft()
        return helper.answer() or read(batch)

    try:
        for number, batch in enumerate(batches):
            helper = helpers[number % workers]
            helper.ask([batch, demands])
            waiting.append((helper, batch))
            if len(waiting) > _AHEAD * workers:
                yield answer()
        while waiting:
            yield answer()
    finally:
        for helper in helpers:
            helper.close()


# packages without their __init__, whose imports (torch, Lightning, Pillow) take their time
_PROGRAM = """
import json, sys, types
folder, sys.path[:] = json.loads(sys.argv[1])
for name in ("lit_buckets", "lit_buckets.headers"):
    package = sys.modules[name] = types.ModuleType(name)
    package.__path__ = [folder + name.removeprefix("lit_buckets").replace(".", "/")]
from lit_buckets.headers.files import serve
serve()
"""


class _Helper:
    """A process that answers in the order in which it is asked, or nothing if it has died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        if getattr(sys, "frozen", False) or not sys.executable:
            return  # the executable is not a Python to start
        with suppress(OSError):
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, json.dumps([_PACKAGE, sys.path])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )

    def ask(self, question: Any) -> None:
        """Send a question, without waiting for its answer."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            self.close()

    def answer(self) -> Any | None:
        """Wait for the answer to the first question that has none yet; None if none comes."""
        if self._process is None:
            return None
        assert self._process.stdout is not None
        try:
            return json.loads(self._process.stdout.readline())
        except (OSError, ValueError):
            self.close()
            return None

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):  # if it died with a question in its pipe
                if pipe is not None:
                    pipe.close()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
