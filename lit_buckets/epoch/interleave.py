"""A shuffled sequence over a multiset of buckets, readable from any place.

Bucket ``k`` occurs ``counts[k]`` times. The occurrences of a bucket keep their order
(0, 1, 2, …); only how the buckets alternate is random. Nothing as long as the sequence is ever
built: it is cut into blocks of about eight thousand, every block gets its even share of each
bucket, and a block is shuffled by itself when it is read.

    counts      a:6  b:3                      (a real block holds eight thousand)
    blocks      | a a b   | a a b   | a a b   |     even shares, from integer arithmetic
    shuffled    | a0 b0 a1| a2 a3 b1| b2 a4 a5|     each block by its own key
"""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
import numpy.typing as npt

from lit_buckets.keyed import key_of, keys_of

__all__ = ["Interleaving"]

IntArray = npt.NDArray[np.int64]

_BLOCK = 8192


class Interleaving:
    """The order in which the buckets of a multiset alternate.

    Args:
        counts: (K,) how often each bucket occurs, int64, none negative.
        key: What the order depends on; ``None`` lets the buckets follow one another unshuffled.
        first: A bucket with at least one occurrence that shall open the sequence.

    Example:
        >>> import numpy as np
        >>> Interleaving(np.array([2, 0, 1]), key=None).read(0)
        (array([0, 0, 2]), array([0, 1, 0]))
    """

    def __init__(self, counts: IntArray, *, key: int | None, first: int | None = None) -> None:
        self._counts = counts
        self._first = first
        self._head = np.zeros_like(counts)
        if first is not None:
            self._head[first] = 1
        self._rest = counts - self._head
        self._length = int(counts.sum())
        self._key = key
        self._blocks = max(1, -(-int(self._rest.sum()) // _BLOCK))
        # where in each block-length the extra ones of a bucket fall: random, so that rare buckets
        # do not all meet in the same block
        self._phases = (
            np.zeros_like(counts)
            if key is None
            else (keys_of(key, np.arange(len(counts))) % np.uint64(self._blocks)).astype(np.int64)
        )

    def __len__(self) -> int:
        """How many places the sequence has."""
        return self._length

    def read(self, place: int) -> tuple[IntArray, IntArray]:
        """What stands at a place and after it, up to the end of its block.

        Args:
            place: Where to begin, in [0, ``len(self)``).

        Returns:
            Two (P,) arrays, P at least 1: the bucket, and which of its occurrences this is.
        """
        head = int(self._head.sum())
        if place < head:
            return np.array([self._first]), np.array([0])
        block, start = self._find(place - head)
        buckets, occurrences = self._block(block)
        skip = place - head - start
        return buckets[skip:], occurrences[skip:]

    def counts_before(self, place: int) -> IntArray:
        """How often each bucket has occurred before a place.

        Args:
            place: In [0, ``len(self)``].

        Returns:
            (K,) counts that add up to ``place``.
        """
        head = int(self._head.sum())
        if place < head:
            return np.zeros_like(self._counts)
        if place == self._length:
            return self._counts.copy()
        block, start = self._find(place - head)
        buckets, _ = self._block(block)
        inside = np.bincount(buckets[: place - head - start], minlength=len(self._counts))
        return self._head + self._before(block) + inside

    def _before(self, block: int) -> IntArray:
        """Occurrences of each bucket in the blocks before this one, the opening one left out."""
        if self._key is None:  # the buckets follow one another: blocks are plain stretches
            end = np.cumsum(self._rest)
            place = min(block * _BLOCK, int(end[-1])) if len(end) else 0
            return np.clip(place - (end - self._rest), 0, self._rest)
        return (self._rest * block + self._phases) // self._blocks

    def _find(self, place: int) -> tuple[int, int]:
        """The block that holds a place, and where that block begins."""
        starts = range(self._blocks + 1)
        block = bisect_right(starts, place, key=lambda index: int(self._before(index).sum())) - 1
        return block, int(self._before(block).sum())

    def _block(self, block: int) -> tuple[IntArray, IntArray]:
        before = self._before(block)
        shares = self._before(block + 1) - before
        present = np.flatnonzero(shares)
        buckets = np.repeat(present, shares[present])
        if self._key is not None:
            # keys of different words differ, so the sort has no ties and one result everywhere
            block_key = key_of(self._key, block)
            buckets = buckets[np.argsort(keys_of(block_key, np.arange(len(buckets))))]
        return buckets, (self._head + before)[buckets] + _occurrences(buckets)


def _occurrences(values: IntArray) -> IntArray:
    """For each element, how many equal ones stand before it.

    Example:
        >>> import numpy as np
        >>> _occurrences(np.array([5, 3, 5, 5]))
        array([0, 0, 1, 2])
    """
    # NumPy sorts small integers by their digits, which is many times faster
    small = len(values) == 0 or values.max() < 2**15
    order = np.argsort(values.astype(np.int16) if small else values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1))
    lengths = np.diff(starts, append=len(values))
    counts = np.empty_like(values)
    counts[order] = np.arange(len(values)) - np.repeat(starts, lengths)
    return counts
