"""The program of the processes that help to read files.

Questions come on standard input, answers go to standard output, each as a frame: its length, then
so many bytes of `marshal`, which both ends understand because they run the same Python.
"""

from __future__ import annotations

import marshal
import os
import signal
from typing import Any

from lit_buckets.headers.files import read_files
from lit_buckets.headers.sizes import Demands

__all__ = ["framed", "serve", "take_frame"]

_LENGTH = 4  # bytes
_LONGEST = 2**30  # bytes; a batch of the longest captions is shorter


def serve() -> None:
    """Answer batches of jobs, one after another, until standard input ends.

    A question holds the demands and a column for each field of `Job`; an answer a column for each
    field of `FileRead`. Nobody sees what this process warns about: `quiet` is not needed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted, and closes the pipe
    answers = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no answer
    with os.fdopen(0, "rb") as questions, os.fdopen(answers, "wb") as pipe:
        while length := int.from_bytes(questions.read(_LENGTH), "little"):
            demands, jobs = marshal.loads(questions.read(length))
            found = read_files(zip(*jobs, strict=True), Demands(*demands))
            pipe.write(framed(tuple(zip(*found, strict=True))))
            pipe.flush()


def framed(values: tuple[Any, ...]) -> bytes:
    """Texts, numbers, None and tuples of them, as they go through a pipe."""
    content = marshal.dumps(values)
    return len(content).to_bytes(_LENGTH, "little") + content


def take_frame(received: bytearray) -> tuple[Any, ...] | None:
    """Remove the first frame from what a pipe has brought so far; None if it is not complete.

    Raises:
        ValueError: If it is not what `framed` makes.

    Example:
        >>> received = bytearray(framed(("a.jpg", 3)) + b"m")
        >>> take_frame(received), take_frame(received), received
        (('a.jpg', 3), None, bytearray(b'm'))
    """
    end = _LENGTH + int.from_bytes(received[:_LENGTH], "little")
    if end > _LONGEST:
        raise ValueError(f"not a frame: {end:,} bytes")
    if len(received) < end:
        return None
    try:
        values = marshal.loads(received[_LENGTH:end])
    except (EOFError, TypeError) as error:
        raise ValueError(f"not a frame: {error}") from None
    del received[:end]
    if not isinstance(values, tuple):
        raise ValueError(f"not a frame of a tuple: {type(values).__name__}")
    return values
