"""Processes that help to read files.

They are plain programs that load `lit_buckets.headers` and nothing else, talk JSON over their
pipes, and share nothing with this process: no fork of a process that has threads or a GPU, no
second import of the user's script, no pickle.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import IO, Any

from lit_buckets import headers
from lit_buckets.headers import Demands, Job
from lit_buckets.headers.files import pack, unpack

__all__ = ["Helper"]

_PACKAGE = str(Path(headers.__file__).parents[1])

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


class Helper:
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

    def ask(self, batch: Sequence[Job], demands: Demands) -> None:
        """Hand over a batch, without waiting for its answer."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._asked += 1
        try:
            question = json.dumps([demands, len(batch), pack(batch)])
            self._process.stdin.write(question.encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            self.close()

    def answer(self, count: int) -> list[Sequence[Any]] | None:
        """Wait for what was found for the first batch that is not answered; None if nothing comes.

        Args:
            count: How many jobs it has.
        """
        if self._process is None:
            return None
        try:
            return unpack(json.loads(self._answers.get()), count)
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
