"""Which samples each rank gets in each step: a function of counts, ranks and a key.

Each part imports only from those before it:

1. ``allotment``: how many batches each bucket is cut into.
2. ``interleave``: in which order the buckets alternate.
3. ``rounds``: the rounds of an epoch, any of them at once.
4. ``order``: from a place in a bucket to an image.
"""

from lit_buckets.epoch.rounds import Accounting, Batches, Rounds

__all__ = ["Accounting", "Batches", "Rounds"]
