"""The sampler's promises: exactly once, a function of its arguments, exact and elastic resume."""

from __future__ import annotations

import json
import pickle
import random
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_buckets import BucketBatchSampler, plan_buckets
from lit_buckets.errors import ResumeError

SIDES = [(64, 64), (64, 128), (128, 64), (64, 192), (192, 64)]


def plan_of(counts, repeats=None, **options):
    """A plan with one bucket for each count, of the sizes in ``SIDES``."""
    sizes = [SIDES[number] for number, count in enumerate(counts) for _ in range(count)]
    return plan_buckets(sizes, max_area=64 * 192, divisor=64, repeats=repeats, **options)


def sampler_of(plan, **changes) -> BucketBatchSampler:
    arguments = {"batch_size": 4, "seed": 3} | changes
    return BucketBatchSampler(plan, **arguments)


def seen(batches) -> Counter:
    """How often each image came as a real sample."""
    return Counter(index for batch in batches for index in batch.indices[batch.valid].tolist())


def comparable(batches):
    return [
        (b.bucket, b.indices.tolist(), b.valid.tolist(), b.epoch, b.repetition.tolist())
        for b in batches
    ]


counts_ = st.lists(st.integers(0, 40), min_size=0, max_size=5)
worlds = st.integers(1, 9)
sizes = st.integers(1, 9)
policies = {
    "sync": st.sampled_from(["same_bucket", "mixed", "strict"]),
    "short_batch": st.sampled_from(["keep", "repeat"]),
    "shuffle": st.booleans(),
    "largest_first": st.booleans(),
}


@settings(max_examples=150, deadline=None)
@given(counts_, sizes, worlds, st.integers(0, 3), st.fixed_dictionaries(policies), st.data())
def test_each_image_comes_exactly_as_often_as_it_should(counts, size, world, epoch, policy, data):
    images = sum(counts)
    repeats = data.draw(st.lists(st.sampled_from([1, 1, 2, 5]), min_size=images, max_size=images))
    plan = plan_of(counts, repeats)
    ranks = []
    for rank in range(world):
        sampler = sampler_of(plan, batch_size=size, num_replicas=world, rank=rank, **policy)
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(batches) == len(sampler)
        ranks.append(batches)
    assert len({len(batches) for batches in ranks}) == 1
    every = [batch for batches in ranks for batch in batches]
    assert seen(every) == Counter(dict(enumerate(repeats)))
    for batch in every:
        assert (plan.bucket_of[batch.indices] == batch.bucket).all()
        assert batch.epoch == epoch
    # the repetitions of an image are counted 0, 1, 2, …
    told = Counter(
        (index, repetition)
        for batch in every
        for index, repetition in zip(
            batch.indices[batch.valid].tolist(), batch.repetition[batch.valid].tolist(), strict=True
        )
    )
    assert told == Counter((i, r) for i, times in enumerate(repeats) for r in range(times))


@settings(max_examples=60, deadline=None)
@given(counts_, sizes, worlds, st.integers(0, 2), st.fixed_dictionaries(policies), st.data())
def test_resume_at_any_step_gives_the_very_next_batch(counts, size, world, epoch, policy, data):
    plan = plan_of(counts)
    rank = data.draw(st.integers(0, world - 1))

    def fresh(rank_: int = rank) -> BucketBatchSampler:
        return sampler_of(plan, batch_size=size, num_replicas=world, rank=rank_, **policy)

    whole = fresh()
    whole.set_epoch(epoch)
    expected = comparable(whole)
    done = 0
    state = None
    while done < len(expected):
        resumed = fresh()
        if state is not None:
            resumed.load_state_dict(state)
        resumed.set_epoch(epoch)
        assert len(resumed) == len(expected)
        take = data.draw(st.integers(1, len(expected) - done))
        iterator = iter(resumed)
        assert comparable(next(iterator) for _ in range(take)) == expected[done : done + take]
        done += take
        state = json.loads(json.dumps(resumed.state_dict()))
        # the same on every rank
        other = fresh((rank + 1) % world)
        other.set_epoch(epoch)
        assert other.state_dict(done) == state


@settings(max_examples=60, deadline=None)
@given(
    counts_,
    st.lists(st.tuples(worlds, sizes), min_size=2, max_size=4),
    st.integers(0, 2),
    st.data(),
)
def test_resume_on_other_ranks_sees_what_is_left(counts, runs, epoch, data):
    plan = plan_of(counts)
    state, came, steps = None, Counter(), 0
    for number, (world, size) in enumerate(runs):
        ranks = [
            sampler_of(plan, batch_size=size, num_replicas=world, rank=rank)
            for rank in range(world)
        ]
        for sampler in ranks:
            if state is not None:
                sampler.load_state_dict(state)
            sampler.set_epoch(epoch)
        left = len(ranks[0]) - steps
        take = left if number == len(runs) - 1 else data.draw(st.integers(0, left))
        for sampler in ranks:
            iterator = iter(sampler)
            came += seen(next(iterator) for _ in range(take))
        steps += take
        state = ranks[-1].state_dict()
    assert state["step"] == steps
    assert came == Counter(range(sum(counts)))


def test_no_image_twice_in_a_batch_where_that_can_be_avoided():
    # 4 images 6 times each and 8 once: 32 samples, 8 batches of 4; 6 repeats fit 8 batches
    plan = plan_of([12], repeats=[6] * 4 + [1] * 8)
    for epoch in range(20):
        sampler = sampler_of(plan)
        sampler.set_epoch(epoch)
        assert all(len(set(b.indices.tolist())) == len(b.indices) for b in sampler)


def test_repeats_are_spread_over_the_epoch():
    plan = plan_of([101], repeats=[50] + [1] * 100)
    batches = list(sampler_of(plan, batch_size=10))
    assert all(3 <= (batch.indices == 0).sum() <= 5 for batch in batches)


def test_orders_differ_from_epoch_to_epoch_and_seed_to_seed():
    plan = plan_of([30, 30])

    def order(**changes):
        epoch = changes.pop("epoch", 0)
        sampler = sampler_of(plan, **changes)
        sampler.set_epoch(epoch)
        return comparable(sampler)

    assert order() == order()
    assert order()[0][1] != order(epoch=1)[0][1]
    assert order()[0][1] != order(seed=4)[0][1]


def test_without_shuffle_the_manifest_keeps_its_order():
    batches = list(sampler_of(plan_of([5, 0, 6]), shuffle=False))
    assert [b.indices.tolist() for b in batches] == [[0, 1], [2, 3, 4], [5, 6, 7], [8, 9, 10]]


def test_the_most_expensive_bucket_comes_first_in_the_first_epoch_only():
    plan = plan_of([40, 1, 40])  # the single 64x128 image needs a round of its own or a shared one
    largest = int(plan.bucket_sizes.prod(axis=1).argmax())
    for world in (1, 2, 3):
        ranks = [
            sampler_of(plan, num_replicas=world, rank=rank, largest_first=True)
            for rank in range(world)
        ]
        assert largest in {next(iter(rank)).bucket for rank in ranks}
    firsts = set()
    for epoch in range(1, 30):
        sampler = sampler_of(plan, largest_first=True)
        sampler.set_epoch(epoch)
        firsts.add(next(iter(sampler)).bucket)
    assert len(firsts) > 1


def test_batch_sizes_by_pixels():
    plan = plan_of([20, 20])
    sampler = sampler_of(plan, batch_size=None, max_pixels=64 * 64 * 8)
    areas = plan.bucket_sizes.prod(axis=1)
    assert sampler.batch_sizes.tolist() == [64 * 64 * 8 // area for area in areas]
    assert all(len(b.indices) * areas[b.bucket] <= 64 * 64 * 8 for b in sampler)


def test_no_global_randomness_is_read_or_changed():
    plan = plan_of([50, 20])
    results = []
    for seed in (0, 1):
        random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)  # noqa: NPY002
        before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
        results.append(comparable(sampler_of(plan)))
        after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
        assert before[:2] == after[:2]
        assert torch.equal(before[2], after[2])
    assert results[0] == results[1]


def test_another_process_draws_the_same():
    plan = plan_of([23, 9, 4])
    code = (
        "import pickle, sys\n"
        "sampler = pickle.load(sys.stdin.buffer)\n"
        "print([b.indices.tolist() for b in sampler])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps(sampler_of(plan)),
        capture_output=True,
        check=True,
    )
    expected = [batch.indices.tolist() for batch in sampler_of(plan)]
    assert result.stdout.decode().strip() == str(expected)


def test_golden_order():
    """The order of an epoch must not change from version to version, or no resume is exact."""
    batches = list(sampler_of(plan_of([7, 5]), num_replicas=2, rank=1, seed=2026))
    assert [b.indices.tolist() for b in batches] == GOLDEN


GOLDEN = [[1, 6, 5, 0], [7, 11, 10]]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda: sampler_of(plan_of([9, 9]), seed=4), "its seed is 3, this run's is 4"),
        (lambda: sampler_of(plan_of([9, 9]), shuffle=False), "its shuffle is True"),
        (lambda: sampler_of(plan_of([9, 10])), "its images is 18, this run's is 19"),
        (lambda: sampler_of(plan_of([10, 8])), "its plan is "),
        (lambda: sampler_of(plan_of([9, 9], dataset="b")), "its dataset is a, this run's is b"),
    ],
)
def test_a_state_of_something_else_is_refused_or_begins_the_epoch_anew(change, name):
    source = sampler_of(plan_of([9, 9], dataset="a" if "dataset" in name else ""))
    source.set_epoch(2)
    iterator = iter(source)
    next(iterator), next(iterator)
    state = source.state_dict()
    with pytest.raises(ResumeError, match=name):
        change().load_state_dict(state)
    other = change()
    other.on_change = "restart_epoch"
    other.load_state_dict(state)
    other.set_epoch(2)
    assert seen(other) == Counter(range(len(other.plan)))
    assert len(other) == 2 + len(list(other))  # the two steps that were done still count


def test_the_epoch_is_taken_when_the_first_batch_is_asked_for():
    sampler = sampler_of(plan_of([40]))
    iterator = iter(sampler)
    sampler.set_epoch(5)
    assert next(iterator).epoch == 5


def test_a_caller_that_counts_from_zero_after_a_resume_goes_on():
    plan = plan_of([40])
    source = sampler_of(plan)
    source.set_epoch(3)
    for done, first, second in ((4, 3, 4), (10, 4, 5)):  # in mid-epoch, and on its last step
        sampler = sampler_of(plan)
        sampler.load_state_dict(source.state_dict(done))
        sampler.set_epoch(0)
        assert sampler.epoch == first
        sampler.set_epoch(1)
        assert sampler.epoch == second


def test_a_frozen_epoch_repeats_its_order():
    sampler = sampler_of(plan_of([40]), freeze_epoch=True)
    first = comparable(sampler)
    sampler.set_epoch(1)
    assert comparable(sampler) == first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rank": 2, "num_replicas": 2}, r"rank=2 must be in \[0, num_replicas=2\)"),
        ({"batch_size": 0}, "batch_size=0 must be at least 1"),
        ({"batch_size": None}, "exactly one of the two"),
        ({"max_pixels": 9}, "exactly one of the two"),
        ({"batch_size": [1, 2]}, "give one, or one for each of 1 buckets"),
    ],
)
def test_arguments_out_of_range_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        sampler_of(plan_of([4]), **changes)
