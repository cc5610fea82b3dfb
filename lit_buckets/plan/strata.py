"""Groups of a plan's images whose samples are counted together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Strata", "samples_of"]

IntArray = npt.NDArray[np.int64]


class Strata(NamedTuple):
    """Images of one bucket that come equally often, for S strata in the order of their buckets."""

    bucket: IntArray  #: (S,) non-decreasing
    start: IntArray  #: (S,) where its images begin in the list of all members
    images: IntArray  #: (S,) how many images it has, at least 1
    repeats: IntArray  #: (S,) how often each comes in an epoch, at least 1


def samples_of(strata: Strata, buckets: int) -> IntArray:
    """Samples that each bucket has in an epoch: images times repeats.

    Args:
        strata: The strata of all buckets.
        buckets: K, the number of buckets.

    Returns:
        (K,) int64.
    """
    samples = np.zeros(buckets, dtype=np.int64)
    np.add.at(samples, strata.bucket, strata.images * strata.repeats)
    return samples
