"""Processes that help to read files.

They are plain programs that load `lit_buckets.headers` and nothing else, and share two pipes with
this process and nothing else: no fork of a process that has threads or a GPU, no second import of
the user's script.
"""

from __future__ import annotations

import math
import os
import select
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lit_buckets import headers
from lit_buckets.headers import Demands, Job
from lit_buckets.headers.serving import framed, take_frame

__all__ = ["Helper", "can_help"]

_CHUNK = 2**16  # bytes taken from a pipe at a time: what it holds on Linux
_PACKAGE = str(Path(headers.__file__).parents[1])

# packages without their __init__, whose imports (torch, Lightning, Pillow) take their time
_PROGRAM = """
import sys, types
folder, *sys.path[:] = sys.argv[1:]
for name in ("lit_buckets", "lit_buckets.headers"):
    package = sys.modules[name] = types.ModuleType(name)
    package.__path__ = [folder + name.removeprefix("lit_buckets").replace(".", "/")]
from lit_buckets.headers.serving import serve
serve()
"""


class Helper:
    """A process that answers in the order in which it is asked, or not at all if it has died.

    Nothing here waits but `answer`: what a pipe does not take at once is kept, and goes on its way
    with the next `exchange`.
    """

    def __init__(self) -> None:
        self._left = 0
        self._sending, self._received = bytearray(), bytearray()
        self._answers: deque[tuple[Any, ...]] = deque()
        self._process = _start()

    @property
    def left(self) -> float:
        """Questions without an answer at the last exchange; no end of them if it has died."""
        return math.inf if self._process is None else self._left

    @property
    def has_answered(self) -> bool:
        """Whether `answer` would not wait."""
        return self._process is None or bool(self._answers)

    def ask(self, batch: Sequence[Job], demands: Demands) -> None:
        """Hand over a batch of jobs, and exchange."""
        self._left += 1
        self._sending += framed((tuple(demands), tuple(zip(*batch, strict=True))))
        self.exchange()

    def answer(self) -> tuple[Any, ...] | None:
        """Wait for what was found for the first batch that is not answered; None if nothing comes.

        Returns:
            A column for each field of `lit_buckets.headers.FileRead`.
        """
        while not self.has_answered:
            self._wait()
            self.exchange()
        return self._answers.popleft() if self._answers else None

    def exchange(self) -> None:
        """Send and receive what the pipes take and have at this moment."""
        if self._process is None:
            return
        questions, answers = _pipes(self._process)
        try:
            with suppress(BlockingIOError):
                while self._sending:
                    del self._sending[: os.write(questions, self._sending)]
            with suppress(BlockingIOError):
                while content := os.read(answers, _CHUNK):
                    self._received += content
                    self._take_answers()
                self.close()  # it has died
        except (OSError, ValueError):  # it is dying, or talks nonsense
            self.close()

    def _take_answers(self) -> None:
        while (answer := take_frame(self._received)) is not None:
            self._left -= 1
            self._answers.append(answer)

    def _wait(self) -> None:
        """Sleep until a pipe has something, or takes something that is to be sent."""
        assert self._process is not None
        questions, answers = _pipes(self._process)
        poll = select.poll()
        poll.register(answers, select.POLLIN)
        if self._sending:
            poll.register(questions, select.POLLOUT)
        poll.poll()

    def close(self) -> None:
        """End the process, whatever it is doing."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()


def can_help() -> bool:
    """Whether there is a Python to start, and a system that tells whether a pipe has something."""
    return hasattr(select, "poll") and bool(sys.executable) and not getattr(sys, "frozen", False)


def _start() -> subprocess.Popen[bytes] | None:
    # without what only installed and interactive programs need; file names coded as here
    flags = ("-I", "-S", "-X", f"utf8={sys.flags.utf8_mode}")
    try:
        process = subprocess.Popen(
            [sys.executable, *flags, "-c", _PROGRAM, _PACKAGE, *sys.path],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError:
        return None
    for pipe in _pipes(process):
        os.set_blocking(pipe, False)
    return process


def _pipes(process: subprocess.Popen[bytes]) -> tuple[int, int]:
    """File descriptors that lead to its standard input and from its standard output."""
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin.fileno(), process.stdout.fileno()
