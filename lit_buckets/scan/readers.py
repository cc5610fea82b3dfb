"""Reading many files at once: in this thread, in threads, or in processes.

Reading a header from memory is some 50 microseconds of Python, so threads do not add up; they
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
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeAlias

from lit_buckets import headers
from lit_buckets.headers import FileRead, Job, read_files

__all__ = ["BATCH", "default_workers", "in_threads", "read_in_order"]

#: Files that one worker reads at a time.
BATCH = 64
#: Up to this many files, a pool of threads costs more than it gives.
_ALONE = 2 * BATCH
#: From this many files on, processes are worth their start.
_PROCESSES_FROM = 20_000

_PACKAGE = str(Path(headers.__file__).parents[1])

_Batch: TypeAlias = "list[Job]"
_Answer: TypeAlias = "list[FileRead]"


def default_workers() -> int:
    """As many as there are cores for this process, and some that wait for the disk; at most 32."""
    if hasattr(os, "sched_getaffinity"):
        return min(32, len(os.sched_getaffinity(0)) + 4)
    return min(32, (os.cpu_count() or 1) + 4)


def read_in_order(
    batches: Iterable[_Batch], *, files: int, max_image_pixels: int, workers: int | None = None
) -> Generator[_Answer]:
    """Read batches of files with as many hands as pay off, and answer in the order of the batches.

    Args:
        batches: Lists of `BATCH` jobs; only a few are taken in advance.
        files: How many files there are in all; decides between threads and processes.
        max_image_pixels: As for `lit_buckets.headers.read_header`.
        workers: How many at once. 1 reads in this thread; None chooses.

    Yields:
        For each batch, what was found for each of its files.
    """
    if workers is None:
        workers = default_workers() if files > _ALONE else 1
    if workers == 1:
        yield from (read_files(batch, max_image_pixels) for batch in batches)
    elif files < _PROCESSES_FROM:
        yield from in_threads(lambda jobs: read_files(jobs, max_image_pixels), batches, workers)
    else:
        with closing(_Helpers(max_image_pixels)) as helpers:
            yield from in_threads(helpers.read, batches, workers)


def in_threads(
    read: Callable[[_Batch], _Answer], batches: Iterable[_Batch], workers: int
) -> Generator[_Answer]:
    """Read batches with so many threads, and answer in the order of the batches."""
    waiting: deque[Future[_Answer]] = deque()
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


class _Helpers:
    """A helper process for each thread that asks."""

    def __init__(self, max_image_pixels: int) -> None:
        self._max_image_pixels = max_image_pixels
        self._own = threading.local()
        self._all: list[_Helper] = []

    def read(self, batch: _Batch) -> _Answer:
        helper: _Helper | None = getattr(self._own, "helper", None)
        if helper is None:
            helper = self._own.helper = _Helper()
            self._all.append(helper)
        return helper.read(batch, self._max_image_pixels)

    def close(self) -> None:
        for helper in self._all:
            helper.close()


# the package without its __init__, whose imports (torch, Lightning) take seconds
_PROGRAM = """
import json, sys, types
folder, sys.path[:] = json.loads(sys.argv[1])
package = sys.modules["lit_buckets"] = types.ModuleType("lit_buckets")
package.__path__ = [folder]
from lit_buckets.headers.files import serve
serve()
"""


class _Helper:
    """One process. If it cannot be started or dies, its work is done in this process instead."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        if getattr(sys, "frozen", False) or not sys.executable:
            return  # the executable is not a Python to start
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, json.dumps([_PACKAGE, sys.path])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError:
            return

    def read(self, batch: _Batch, max_image_pixels: int) -> _Answer:
        if self._process is not None:
            try:
                return self._ask(self._process, batch, max_image_pixels)
            except (OSError, ValueError):
                self.close()
        return read_files(batch, max_image_pixels)

    def _ask(
        self, process: subprocess.Popen[bytes], batch: _Batch, max_image_pixels: int
    ) -> _Answer:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([batch, max_image_pixels]).encode() + b"\n")
        process.stdin.flush()
        return [FileRead(*answer) for answer in json.loads(process.stdout.readline())]

    def close(self) -> None:
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
