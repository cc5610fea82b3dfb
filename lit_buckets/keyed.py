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
UInt32Array = npt.NDArray[np.uint32]
IntArray = npt.NDArray[np.int64]

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_CANDIDATES = 64  # pairs of bases tried
_ROUNDS = 10  # each digit is shifted five times; fewer are not fair to very short lengths


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

    A place ``x`` is written as two digits, ``x = a * high + low`` with ``a`` near ``sqrt(length)``.
    In turn each digit is shifted, modulo its base, by a hash of the other; every such step can be
    undone, so together they permute ``range(a * b)``, a little more than ``range(length)``. A
    place that lands outside is sent through again until it lands inside, which keeps the map one
    to one. Nothing is stored beside a few integers for each length.

    Args:
        lengths: (K,) lengths, each in [0, 2**32].
        keys: (K,) keys, uint64.

    Raises:
        ValueError: If a length is out of its range.

    Example:
        >>> permute = Permutations(np.array([5, 3]), np.array([1, 2], dtype=np.uint64))
        >>> sorted(permute(np.zeros(5, dtype=np.int64), np.arange(5)).tolist())
        [0, 1, 2, 3, 4]
    """

    def __init__(self, lengths: IntArray, keys: UIntArray) -> None:
        if lengths.max(initial=0) > 2**32 or lengths.min(initial=0) < 0:
            raise ValueError(f"lengths must be in [0, 2**32]; the largest is {lengths.max()}.")
        low_bases, high_bases = _bases(lengths)
        self._last = (lengths - 1).astype(np.uint32)
        self._bases = low_bases.astype(np.uint32), high_bases.astype(np.uint32)
        self._round_keys = []
        for step in range(_ROUNDS):
            keys = keys * np.uint64(_GOLDEN) + np.uint64(step)
            self._round_keys.append((keys >> np.uint64(32)).astype(np.uint32))

    def __call__(self, which: IntArray, places: IntArray) -> IntArray:
        """Where each place goes.

        Args:
            which: Index of the permutation for each place, in [0, K); broadcast against
                ``places``, so (P,) serves all rows of (B, P).
            places: (P,) or (B, P) places, each in [0, ``lengths[which]``).

        Returns:
            Shape of ``places``, int64, each in [0, ``lengths[which]``).
        """
        moved = self._once(which, places.astype(np.uint32))
        last = self._last[which]
        while (outside := moved > last).any():
            again = np.broadcast_to(which, places.shape)[outside]
            moved[outside] = self._once(again, moved[outside])
        return moved.astype(np.int64)

    def _once(self, which: IntArray, places: UInt32Array) -> UInt32Array:
        """One pass over ``range(a * b)``."""
        low_base, high_base = self._bases[0][which], self._bases[1][which]
        high = places // low_base
        low = places - high * low_base
        spares = np.empty_like(places), np.empty_like(places)
        for step, keys in enumerate(self._round_keys):
            digit, base, other = (low, low_base, high) if step % 2 == 0 else (high, high_base, low)
            digit += _below(base, other, keys[which], spares)
            # unsigned: where the sum is below the base, subtracting wraps to a huge number
            np.minimum(digit, np.subtract(digit, base, out=spares[0]), out=digit)
        high *= low_base
        high += low
        return high


def _bases(lengths: IntArray) -> tuple[IntArray, IntArray]:
    """Bases of the two digits: near each other, their product little above the length."""
    root = np.maximum(np.ceil(np.sqrt(lengths)), 1).astype(np.int64)  # exact up to 2**52
    low = root[:, None] + np.minimum(np.arange(_CANDIDATES), root[:, None] // 4)
    low = np.minimum(low, 2**16)
    high = np.maximum(-(-lengths[:, None] // low), 1)
    # the less the product exceeds the length, the fewer places have to be sent through again
    best = (low * high).argmin(axis=1)
    rows = np.arange(len(lengths))
    return low[rows, best], high[rows, best]


def _mix(key: int) -> int:
    key = ((key ^ (key >> 30)) * _FIRST) & _MASK
    key = ((key ^ (key >> 27)) * _SECOND) & _MASK
    return key ^ (key >> 31)


def _below(
    bases: UInt32Array,
    words: UInt32Array,
    keys: UInt32Array,
    spares: tuple[UInt32Array, UInt32Array],
) -> UInt32Array:
    """Hash words to numbers below their bases, both at most 2**16, into the first spare array.

    The multipliers and the shift are those of the 32-bit mixer "lowbias32" of C. Wellons'
    hash-prospector; the division-free reduction to a range is D. Lemire's ("Fast random integer
    generation in an interval", 2019, doi:10.1145/3230636).
    """
    hashed, spare = spares
    np.add(words, keys, out=hashed)
    hashed *= np.uint32(0x7FEB352D)
    hashed ^= np.right_shift(hashed, np.uint32(15), out=spare)
    hashed *= np.uint32(0x846CA68B)
    hashed >>= np.uint32(16)
    hashed *= bases
    hashed >>= np.uint32(16)
    return hashed
