"""A shuffled multiset, readable from any place."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_buckets.epoch import interleave
from lit_buckets.epoch.interleave import Interleaving


def sequence(order: Interleaving, place: int = 0) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    while place + len(found) < len(order):
        buckets, occurrences = order.read(place + len(found))
        found += zip(buckets.tolist(), occurrences.tolist(), strict=True)
    return found


counts_ = st.lists(st.one_of(st.integers(0, 3), st.integers(0, 200)), min_size=0, max_size=30).map(
    lambda counts: np.array(counts, dtype=np.int64)
)
keys = st.one_of(st.none(), st.integers(0, 2**64 - 1))


@settings(deadline=None, max_examples=200)
@given(counts_, keys, st.booleans(), st.sampled_from([4, 64, 4096]), st.data())
def test_each_bucket_comes_as_often_as_it_should_in_its_own_order(counts, key, opens, block, data):
    standard, interleave._BLOCK = interleave._BLOCK, block
    try:
        present = np.flatnonzero(counts)
        first = (
            int(data.draw(st.sampled_from(present.tolist()))) if opens and len(present) else None
        )
        order = Interleaving(counts, key=key, first=first)
        whole = sequence(order)
        for bucket, count in enumerate(counts.tolist()):
            assert [o for b, o in whole if b == bucket] == list(range(count))
        if first is not None:
            assert whole[0] == (first, 0)
        place = data.draw(st.integers(0, len(order)))
        before = np.bincount([b for b, _ in whole[:place]], minlength=len(counts))
        assert order.counts_before(place).tolist() == before.tolist()
        assert sequence(order, place) == whole[place:]
        if key is None and first is None:
            assert [b for b, _ in whole] == sorted(b for b, _ in whole)
    finally:
        interleave._BLOCK = standard


def test_buckets_are_spread_evenly_through_a_long_epoch():
    counts = np.array([90_000, 9_000, 1_000])
    buckets = np.array([bucket for bucket, _ in sequence(Interleaving(counts, key=1))])
    for tenth in buckets.reshape(10, -1):
        shares = np.bincount(tenth, minlength=3)
        assert np.allclose(shares, counts / 10, atol=100)


def test_short_sequences_are_shuffled_fairly():
    # the single occurrence of bucket 1 among 9 of bucket 0 falls anywhere equally often
    counts = np.array([9, 1])
    places = [
        [b for b, _ in sequence(Interleaving(counts, key=key))].index(1) for key in range(5000)
    ]
    assert np.allclose(np.bincount(places, minlength=10), 500, atol=110)
