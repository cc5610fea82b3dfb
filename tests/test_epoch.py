"""The epoch's promises, over any counts, batch sizes, world sizes and policies."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_buckets.epoch import Batches, Rounds
from lit_buckets.epoch.allotment import allot

counts = st.lists(
    st.one_of(st.integers(0, 3), st.integers(0, 40), st.integers(0, 700)), min_size=0, max_size=24
)
many_small = st.lists(st.sampled_from([0, 1, 1, 1, 2]), min_size=50, max_size=400)
worlds = st.one_of(st.integers(1, 6), st.integers(1, 64))
sizes = st.one_of(st.integers(1, 4), st.integers(1, 64))
syncs = st.sampled_from(["same_bucket", "mixed", "strict"])
policies = st.sampled_from(["keep", "drop", "repeat"])
keys = st.one_of(st.none(), st.integers(0, 2**64 - 1))


def rounds_of(samples, batch_sizes, world_size, **changes) -> Rounds:
    samples = np.asarray(samples, dtype=np.int64)
    batch_sizes = np.broadcast_to(np.asarray(batch_sizes, dtype=np.int64), samples.shape)
    settings_ = {
        "seen": np.zeros_like(samples),
        "costs": np.arange(len(samples), dtype=np.int64),
        "key": 1,
    } | changes
    return Rounds(samples, batch_sizes=batch_sizes, world_size=world_size, **settings_)


def batches_of(rounds: Rounds, rank: int, begin: int = 0) -> list[tuple[int, int, int]]:
    """(bucket, first place, size) of each of a rank's batches."""
    found: list[tuple[int, int, int]] = []
    while begin + len(found) < len(rounds):
        part: Batches = rounds.read(rank, begin + len(found))
        assert len(part.bucket) >= 1
        found += zip(part.bucket.tolist(), part.start.tolist(), part.size.tolist(), strict=True)
    assert begin + len(found) == len(rounds)
    return found


def places_of(batches) -> Counter:
    return Counter(
        (bucket, start + offset) for bucket, start, size in batches for offset in range(size)
    )


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(counts, many_small), sizes, worlds, syncs, policies, keys, st.booleans(), st.data()
)
def test_every_rank_takes_equal_steps_of_disjoint_places(
    samples, size, world, sync, policy, key, largest_first, data
):
    rounds = rounds_of(
        samples,
        size,
        world,
        sync=sync,
        short_batch=policy,
        key=key,
        largest_first=largest_first,
    )
    ranks = [batches_of(rounds, rank) for rank in range(world)]
    places = places_of([batch for rank in ranks for batch in rank])
    assert set(places.values()) <= {1}
    assert all(1 <= size_ <= size for rank in ranks for _, _, size_ in rank)
    account = rounds.accounting()
    assert account.rounds == len(rounds)
    real = sum(place < samples[bucket] for bucket, place in places)
    assert (account.samples, account.filled) == (real, len(places) - real)
    assert account.dropped == sum(samples) - real
    # a bucket's places are a stretch from its beginning, whatever was dropped or filled
    for bucket in range(len(samples)):
        mine = sorted(place for bucket_, place in places if bucket_ == bucket)
        assert mine == list(range(len(mine)))
    if policy != "keep":
        assert all(size_ == size for rank in ranks for _, _, size_ in rank)
    if policy != "drop":
        assert real == sum(samples)
    # after any round, what was used up is one prefix of each bucket
    at = data.draw(st.integers(0, len(rounds)))
    used = np.zeros(len(samples), dtype=np.int64)
    for rank in ranks:
        for bucket, _, size_ in rank[:at]:
            used[bucket] += size_
    assert rounds.seen_before(at).tolist() == np.minimum(used, samples).tolist()
    # and reading may begin anywhere
    rank = data.draw(st.integers(0, world - 1))
    assert batches_of(rounds, rank, at) == ranks[rank][at:]


@settings(max_examples=300, deadline=None)
@given(st.one_of(counts, many_small), sizes, worlds, st.sampled_from(["same_bucket", "mixed"]))
def test_nothing_is_repeated_wherever_arithmetic_allows(samples, size, world, sync):
    least = sum(-(-count // size) for count in samples)
    rounds = rounds_of(samples, size, world, sync=sync)
    account = rounds.accounting()
    steps = -(-least // world)
    if steps * world <= sum(samples):  # a multiple of the world size lies in between
        assert account.filled == 0
    else:
        assert 0 < account.filled < world
    assert (account.samples, account.dropped) == (sum(samples), 0)
    # the number of steps: the least possible, or a twentieth more for one shape in every step
    if sync == "mixed" or account.rounds < 20:
        assert account.rounds == steps
    else:
        assert account.rounds <= 1.05 * steps


@settings(max_examples=100, deadline=None)
@given(counts, sizes, worlds, policies)
def test_strict_has_one_bucket_in_every_round(samples, size, world, policy):
    rounds = rounds_of(samples, size, world, sync="strict", short_batch=policy)
    ranks = [[bucket for bucket, _, _ in batches_of(rounds, rank)] for rank in range(world)]
    assert all(rank == ranks[0] for rank in ranks)
    assert rounds.accounting().shared_rounds == 0


@settings(max_examples=100, deadline=None)
@given(counts, sizes, worlds, st.booleans())
def test_shared_rounds_come_last_and_pair_like_costs(samples, size, world, largest_first):
    rounds = rounds_of(samples, size, world, largest_first=largest_first)
    ranks = [[bucket for bucket, _, _ in batches_of(rounds, rank)] for rank in range(world)]
    by_round = list(zip(*ranks, strict=True))
    shared = rounds.accounting().shared_rounds
    whole = len(rounds) - shared
    if largest_first and by_round:
        present = [bucket for bucket, count in enumerate(rounds.allotment.batches) if count]
        assert max(present) in by_round[0]
        if len(set(by_round[0])) > 1:  # it had too few samples for a round of its own
            by_round = by_round[1:] + by_round[:1]
    assert all(len(set(buckets)) == 1 for buckets in by_round[:whole])
    spans = sorted((min(buckets), max(buckets)) for buckets in by_round[whole:])
    assert all(low[1] <= high[0] for low, high in itertools.pairwise(spans))


@settings(max_examples=100, deadline=None)
@given(counts, sizes, st.lists(st.tuples(worlds, sizes), min_size=1, max_size=5), st.data())
def test_the_rest_of_an_epoch_can_be_laid_out_for_any_world(samples, size, changes, data):
    samples = np.asarray(samples, dtype=np.int64)
    seen = np.zeros_like(samples)
    places: Counter = Counter()
    for number, (world, size_) in enumerate(changes):
        rounds = rounds_of(samples, size_, world, seen=seen)
        last = number == len(changes) - 1
        stop = len(rounds) if last else data.draw(st.integers(0, len(rounds)))
        for rank in range(world):
            places += places_of(batches_of(rounds, rank)[:stop])
        seen = rounds.seen_before(stop)
    real = {place: count for place, count in places.items() if place[1] < samples[place[0]]}
    assert set(real.values()) <= {1}
    assert len(real) == samples.sum()


@pytest.mark.parametrize("world", [1, 3, 64])
def test_thousands_of_tiny_buckets(world):
    samples = np.random.default_rng(0).choice([0, 1, 1, 1, 2, 9], size=5000)
    rounds = rounds_of(samples, 4, world)
    places = places_of([batch for rank in range(world) for batch in batches_of(rounds, rank)])
    assert set(places.values()) == {1}
    assert len(places) == samples.sum()
    assert len(rounds) <= 1.05 * -(-int((-(-samples // 4)).sum()) // world)


def test_batch_sizes_may_differ_from_bucket_to_bucket():
    rounds = rounds_of([10, 10], [2, 5], 1)
    sizes_ = {(bucket, size) for bucket, _, size in batches_of(rounds, 0)}
    assert sizes_ == {(0, 2), (1, 5)}


def test_batches_of_a_bucket_are_nearly_equal():
    # 17 samples at 4 to a batch and 2 ranks: 5 batches would do, 6 make three whole rounds
    rounds = rounds_of([17] + [16] * 50, 4, 2)
    ranks = [batches_of(rounds, rank) for rank in range(2)]
    assert sorted(size for rank in ranks for bucket, _, size in rank if bucket == 0) == [
        2, 3, 3, 3, 3, 3,
    ]  # fmt: skip


def test_orders_differ_from_key_to_key_and_agree_for_one():
    def buckets(key):
        return [bucket for bucket, _, _ in batches_of(rounds_of([99, 99, 99], 3, 1, key=key), 0)]

    assert buckets(5) == buckets(5) != buckets(6)
    assert buckets(None) == sorted(buckets(5))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"world_size": 0}, "world_size=0 must be at least 1"),
        ({"batch_sizes": 0}, "batch_size=0 must be at least 1"),
        ({"sync": "none"}, "sync='none' must be one of same_bucket, mixed, strict"),
        ({"short_batch": "pad"}, "short_batch='pad' must be one of keep, drop, repeat"),
    ],
)
def test_arguments_out_of_range_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        rounds_of(**({"samples": [4], "batch_sizes": 2, "world_size": 1} | changes))


@pytest.mark.parametrize(
    ("samples", "size", "world", "batches"),
    [
        ([], 4, 3, []),
        ([0], 4, 3, [0]),
        ([1], 4, 3, [3]),  # two places filled
        ([3], 4, 3, [3]),
        ([4], 4, 3, [3]),
        ([13], 4, 3, [6]),  # 4 batches are needed, 6 make equal steps
        ([5, 3, 2], 4, 2, [2, 1, 1]),
        ([1, 1, 1], 4, 2, [2, 1, 1]),  # one place filled
        ([5, 1], 1, 2, [5, 1]),
        ([5, 2], 1, 4, [5, 3]),  # one place filled
    ],
)
def test_allotments_worked_out_by_hand(samples, size, world, batches):
    found = allot(np.array(samples, dtype=np.int64), np.full(len(samples), size), world_size=world)
    assert found.batches.tolist() == batches
