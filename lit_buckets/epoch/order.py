"""The order of samples within a bucket: from a place to an image.

A bucket's images are grouped by how often each comes in an epoch; such a group is a *stratum*.
Most buckets have one. A sample is an image together with its repetition, counted from 0.

    place ──▶ stratum ──▶ pass over its images ──▶ image
              even shares  (repetition)             keyed permutation
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lit_buckets.keyed import Permutations, key_of, keys_of
from lit_buckets.plan.strata import Strata

__all__ = ["SampleOrder"]

IntArray = npt.NDArray[np.int64]

_PASS_BLOCKS = 4


class SampleOrder:
    """Which image stands at which place of a bucket, for one epoch.

    Every image of the stratum comes once in each pass, so two repetitions of one image are nearly
    a whole pass apart. Passes differ only within quarters of the stratum: an image with ``r``
    repeats among ``m`` samples of its bucket stands at least about ``3/4 * m / r`` places from
    its next repetition, and never twice in one batch of at most that size.

    Strata of a bucket are spread evenly through it. Without a key everything keeps its order:
    stratum after stratum, pass after pass, images as the manifest has them.

    Args:
        strata: The strata of all buckets.
        buckets: K, the number of buckets.
        key: What the order depends on, or ``None`` for the order of the manifest.
    """

    def __init__(self, strata: Strata, buckets: int, *, key: int | None) -> None:
        self._strata = strata
        self._samples = strata.images * strata.repeats
        self._first = np.searchsorted(strata.bucket, np.arange(buckets))
        per_bucket = np.bincount(strata.bucket, minlength=buckets)
        self._levels = int(per_bucket.max(initial=1))
        # samples of the bucket in this stratum and the ones after it
        total = np.cumsum(self._samples[::-1])[::-1]
        last = self._first + per_bucket - 1
        beyond = np.append(total, 0)[last + 1]
        self._rest = total - beyond[strata.bucket]
        self._is_last = np.arange(len(self._samples)) == last[strata.bucket]
        self.repeats = bool((strata.repeats > 1).any())  #: whether any image comes repeatedly
        self._key = key
        if key is not None:
            keys = keys_of(key, np.arange(len(self._samples)))
            self._permute = Permutations(strata.images, keys)
            self._phases = (keys_of(key_of(key, 1), keys) % self._rest.astype(np.uint64)).astype(
                np.int64
            )

    def __call__(self, bucket: IntArray, place: IntArray) -> tuple[IntArray, IntArray]:
        """Samples at places.

        Args:
            bucket: (P,) buckets.
            place: (B, P) places, column ``p`` in bucket ``p``, each below that bucket's samples.

        Returns:
            (B, P) index into the list of all members, and (B, P) repetition of that image.
        """
        stratum = self._first[bucket]
        if self._levels > 1:
            stratum, place = self._choose_stratum(np.broadcast_to(stratum, place.shape), place)
        if not self.repeats:
            repetition, image = np.zeros_like(place), place
        else:
            repetition, image = np.divmod(place, self._strata.images[stratum])
        if self._key is not None:
            if self.repeats:
                image = self._vary_pass(np.broadcast_to(stratum, place.shape), repetition, image)
            image = self._permute(stratum, image)
        return self._strata.start[stratum] + image, repetition

    def _choose_stratum(self, stratum: IntArray, place: IntArray) -> tuple[IntArray, IntArray]:
        """Deal a bucket's places to its strata in proportion, and count within each.

        One stratum after the other takes every ``rest / samples``-th of the places that are left,
        from a random phase on: the rule of Bresenham's line.
        """
        shape = place.shape
        stratum, place = stratum.flatten(), place.flatten()
        undecided = np.flatnonzero(~self._is_last[stratum])
        while undecided.size:
            at, here = stratum[undecided], place[undecided]
            samples, rest = self._samples[at], self._rest[at]
            if self._key is None:
                taken, before = here < samples, np.minimum(here, samples)
            else:
                phase = self._phases[at]
                before = (here * samples + phase) // rest
                taken = ((here + 1) * samples + phase) // rest > before
            place[undecided] = np.where(taken, before, here - before)
            stratum[undecided] += ~taken
            undecided = undecided[~taken]
            undecided = undecided[~self._is_last[stratum[undecided]]]
        return stratum.reshape(shape), place.reshape(shape)

    def _vary_pass(self, stratum: IntArray, repetition: IntArray, image: IntArray) -> IntArray:
        """Shuffle each pass within quarters, so that batches differ from pass to pass."""
        assert self._key is not None
        images = self._strata.images[stratum]
        size = np.maximum(images // _PASS_BLOCKS, 1)
        block, inside = np.divmod(image, size)
        length = np.minimum(size, images - block * size)
        keys = keys_of(key_of(self._key, 2), stratum)
        for word in (repetition, block):
            keys = keys_of(0, keys + word.astype(np.uint64))
        shuffle = Permutations(length.ravel(), keys.ravel())
        moved = shuffle(np.arange(image.size), inside.ravel())
        return np.asarray(block * size + moved.reshape(image.shape))
