"""Reading many files at once: in this thread, in threads, or in processes.

Reading a header from memory is some ten microseconds of Python, so threads do not add up; they
help where the disk or the network makes each file wait. Processes add up, but take a tenth of a
second to start. They are plain programs that load `lit_buckets.headers` and nothing else, talk
JSON over their pipes, and share nothing with this process: no fork of a process that has threads
or a GPU, no second import of the user's script, no pickle.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import IO, Any, TypeAlias

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
#: Batches for each worker that may be answered, or not, behind one that is waited for.
_MOST_WAITING = 64

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
    """Let other processes read while they have time; this one reads when none of them has.

    What another process cannot answer is read in this one, too.
    """
    helpers = [_Helper() for _ in range(workers - 1)]
    waiting: deque[tuple[_Batch, _Helper | Answer]] = deque()

    def answer() -> Answer:
        batch, by = waiting.popleft()
        return (by.answer() or read(batch)) if isinstance(by, _Helper) else by

    try:
        for batch in batches:
            helper = min(helpers, key=lambda helper: helper.left)
            if helper.left < _AHEAD:
                helper.ask([list(zip(*batch, strict=True)), demands])
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


def _is_there(by: _Helper | Answer) -> bool:
    return not isinstance(by, _Helper) or by.has_answered


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
    """A process that answers in the order in which it is asked, or not at all if it has died."""

    def __init__(self) -> None:
        self._asked = self._answered = 0  # each is counted by one thread alone
        self._answers: SimpleQueue[bytes] = SimpleQueue()
        self._process = _start()
        if self._process is not None:
            Thread(target=self._listen, args=[self._process.stdout], daemon=True).start()

    def _listen(self, pipe: IO[bytes]) -> None:
        with pipe, suppress(OSError):
            for line in pipe:
                self._answered += 1
                self._answers.put(line)
        self._answers.put(b"")  # it has died, or was closed

    @property
    def left(self) -> float:
        """How many questions wait for it; no end of them if it has died."""
        return math.inf if self._process is None else self._asked - self._answered

    @property
    def has_answered(self) -> bool:
        """Whether `answer` would not wait."""
        return self._process is None or not self._answers.empty()

    def ask(self, question: Any) -> None:
        """Send a question, without waiting for its answer."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._asked += 1
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            self.close()

    def answer(self) -> Any | None:
        """Wait for the answer to the first question that has none yet; None if none comes."""
        if self._process is None:
            return None
        try:
            return json.loads(self._answers.get())
        except ValueError:  # nothing, or nonsense
            self.close()
            return None

    def close(self) -> None:
        """End the process, whatever it is doing."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        with suppress(OSError):  # of a question that it did not take
            if process.stdin is not None:
                process.stdin.close()


def _start() -> subprocess.Popen[bytes] | None:
    if getattr(sys, "frozen", False) or not sys.executable:
        return None  # the executable is not a Python to start
    with suppress(OSError):
        return subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, json.dumps([_PACKAGE, sys.path])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    return None
