"""Questions to a disk: one after another where it answers at once, many at a time where it waits.

The status of a file that the system remembers is there in a microsecond, which no thread can
better; a network disk takes a thousand times as long, and answers many at a time.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from statistics import median
from typing import TypeVar

__all__ = ["Overlapping"]

_AT_ONCE = 32  # threads
_TOGETHER = 4  # questions that a thread takes at a time: less work between the threads
_SLOW = 100e-6  # seconds an answer may take before threads pay off
_PROBES = 9  # answers that are timed: more than half of them decide, and not one hiccup

_Question = TypeVar("_Question")
_Answer = TypeVar("_Answer")


class Overlapping:
    """Asks as fits the disk, as far as that is known from the latest answers.

    Example:
        >>> list(Overlapping().map(len, ["a", "bc"]))
        [1, 2]
    """

    def __init__(self) -> None:
        self._took: deque[float] = deque(maxlen=_PROBES)
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="lit_buckets_ask")

    def map(
        self, ask: Callable[[_Question], _Answer], questions: Iterable[_Question]
    ) -> Iterator[_Answer]:
        """Answers in the order of the questions, more of which are asked ahead if that pays off.

        Args:
            ask: Must not raise.
            questions: What to ask.
        """
        left = iter(questions)
        for question in islice(left, 1 if self._is_slow else _PROBES):
            begun = time.perf_counter()
            answer = ask(question)
            self._took.append(time.perf_counter() - begun)
            yield answer
        if self._is_slow:
            some = iter(lambda: list(islice(left, _TOGETHER)), [])
            answers = self._threads.map(lambda batch: [ask(each) for each in batch], some)
            yield from chain.from_iterable(answers)
        else:
            yield from map(ask, left)

    @property
    def is_quick(self) -> bool:
        """Whether answers are known to come at once."""
        return len(self._took) == _PROBES and not self._is_slow

    @property
    def _is_slow(self) -> bool:
        return len(self._took) == _PROBES and median(self._took) > _SLOW
