"""Randomness as a function of its key: no state, no generator, no global seed.

What a key gives is fixed by the formulas here, not by a library's version, so an order or a crop
is the same on every machine, in every process and in every year. Three things are built on one
64-bit mixing function: keys from tuples of integers, uniform numbers, and permutations that are
computed place by place.

Sources: the mixer is SplitMix64's finaliser (Steele, Lea & Flood, "Fast splittable pseudorandom
number generators", OOPSLA 2014, doi:10.1145/2660193.2660195). The permutations are a generalised
Feistel network with cycle walking (Black & Rogaway, "Ciphers with arbitrary finite domains",
CT-RSA 2002, doi:10.1007/3-540-45760-7_9).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Permutations", "key_of", "keys_of", "uniforms"]

UIntArray = npt.NDArray[np.uint64]
IntArray = npt.NDArray[np.int64]

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_ROUNDS = 8  # each digit is shifted four times


def key_of(*words: int) -> int:
    """Mix integers into one 64-bit key.

    Args:
        words: Any integers; their number and order matter.

    Returns:
        A key in [0, 2**64).

    Example:
        >>> key_of(0, 1) != key_of(1, 0)
        True
    """
    key = len(words)
    for word in words:
        key = _mix(((key ^ (word & _MASK)) + _GOLDEN) & _MASK)
    return key


def keys_of(key: int, words: npt.ArrayLike) -> UIntArray:
    """Mix one key with each of many integers.

    Args:
        key: A key from :func:`key_of`.
        words: (N,) non-negative integers.

    Returns:
        (N,) keys, uint64.
    """
    mixed = np.array(words, dtype=np.uint64)
    mixed ^= np.uint64(key)
    mixed += np.uint64(_GOLDEN)
    for shift, factor in ((30, _FIRST), (27, _SECOND)):
        mixed ^= mixed >> np.uint64(shift)
        mixed *= np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def uniforms(key: int, count: int) -> npt.NDArray[np.float64]:
    """Independent uniform numbers that belong to a key.

    Args:
        key: A key from :func:`key_of`.
        count: How many; the first ``n`` are the same whatever ``count`` is.

    Returns:
        (count,) floats in [0, 1), with 53 random bits each.

    Example:
        >>> bool((uniforms(7, 5)[:2] == uniforms(7, 2)).all())
        True
    """
    bits = keys_of(key, np.arange(count)) >> np.uint64(11)
    return np.asarray(bits * 2.0**-53)


class Permutations:
    """A keyed permutation of ``range(length)`` for each of K lengths, computed place by place.

    A place ``x`` is written as two digits, ``x = a * high + low`` with ``a = ceil(sqrt(length))``.
    In turn each digit is shifted, modulo its base, by a hash of the other; every such step can be
    undone, so together they permute ``range(a * b)``, a little more than ``range(length)``. A
    place that lands outside is sent through again until it lands inside, which keeps the map one
    to one. Nothing is stored beside a few integers for each length.

    Args:
        lengths: (K,) lengths, each in [0, 2**62].
        keys: (K,) keys, uint64.

    Example:
        >>> permute = Permutations(np.array([5, 3]), np.array([1, 2], dtype=np.uint64))
        >>> sorted(permute(np.zeros(5, dtype=np.int64), np.arange(5)).tolist())
        [0, 1, 2, 3, 4]
    """

    def __init__(self, lengths: IntArray, keys: UIntArray) -> None:
        base = np.ceil(np.sqrt(lengths.astype(np.float64))).astype(np.int64)
        base += base * base < lengths  # the float root may fall short beyond 2**52
        base = np.maximum(base, 1)
        self._lengths = lengths.astype(np.uint64)
        self._low_bases = base.astype(np.uint64)
        self._high_bases = np.maximum(-(-lengths // base), 1).astype(np.uint64)
        self._keys = keys

    def __call__(self, which: IntArray, places: IntArray) -> IntArray:
        """Where each place goes.

        Args:
            which: (P,) index of the permutation for each place, in [0, K).
            places: (P,) places, each in [0, ``lengths[which]``).

        Returns:
            (P,) int64, each in [0, ``lengths[which]``).
        """
        low_base, high_base = self._low_bases[which], self._high_bases[which]
        moved = _shift_digits(places.astype(np.uint64), low_base, high_base, self._keys[which])
        outside = np.flatnonzero(moved >= self._lengths[which])
        while outside.size:
            again = which[outside]
            walked = _shift_digits(
                moved[outside], low_base[outside], high_base[outside], self._keys[again]
            )
            moved[outside] = walked
            outside = outside[walked >= self._lengths[again]]
        return moved.astype(np.int64)


def _mix(key: int) -> int:
    key = ((key ^ (key >> 30)) * _FIRST) & _MASK
    key = ((key ^ (key >> 27)) * _SECOND) & _MASK
    return key ^ (key >> 31)


def _shift_digits(
    places: UIntArray, low_base: UIntArray, high_base: UIntArray, keys: UIntArray
) -> UIntArray:
    """One pass of the network over ``range(low_base * high_base)``; ``keys`` is overwritten."""
    high = places // low_base
    low = places - high * low_base
    for step in range(_ROUNDS):
        keys += np.uint64(_GOLDEN)
        shifted, base, other = (low, low_base, high) if step % 2 == 0 else (high, high_base, low)
        shifted += _below(base, other + keys)
        # unsigned: where the sum is below the base, subtracting wraps to a huge number
        np.minimum(shifted, shifted - base, out=shifted)
    high *= low_base
    high += low
    return high


def _below(bases: UIntArray, words: UIntArray) -> UIntArray:
    """Hash each word to a number below its base, without a division; ``words`` is overwritten."""
    words *= np.uint64(_FIRST)
    words ^= words >> np.uint64(32)
    words *= np.uint64(_SECOND)
    words >>= np.uint64(32)
    words *= bases
    words >>= np.uint64(32)
    return words
