"""Keys, uniform numbers and permutations are fixed functions, and fair ones."""

from __future__ import annotations

from collections import Counter
from math import factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lit_buckets.keyed import Permutations, key_of, keys_of, uniforms

keys = st.integers(0, 2**64 - 1)


def permuted(length: int, key: int, places=None):
    places = np.arange(length) if places is None else places
    which = np.zeros(len(places), dtype=np.int64)
    return Permutations(np.array([length]), np.array([key], dtype=np.uint64))(which, places)


@given(st.one_of(st.integers(0, 70), st.integers(0, 5000)), keys)
def test_permutations_are_bijections(length, key):
    assert sorted(permuted(length, key).tolist()) == list(range(length))


@given(st.integers(1, 2**32), keys, st.data())
def test_huge_permutations_stay_inside_and_one_to_one(length, key, data):
    places = data.draw(st.lists(st.integers(0, length - 1), unique=True, min_size=1, max_size=50))
    moved = permuted(length, key, np.array(places))
    assert 0 <= moved.min() <= moved.max() < length
    assert len(set(moved.tolist())) == len(places)


@given(st.lists(st.tuples(st.integers(1, 300), keys), min_size=1, max_size=8), st.data())
def test_many_permutations_at_once_equal_each_alone(pairs, data):
    lengths, each = map(list, zip(*pairs, strict=True))
    permute = Permutations(np.array(lengths), np.array(each, dtype=np.uint64))
    which = np.array(data.draw(st.lists(st.integers(0, len(pairs) - 1), min_size=1, max_size=20)))
    places = np.array([[data.draw(st.integers(0, lengths[w] - 1)) for w in which] for _ in "ab"])
    together = permute(which, places)
    for row, places_ in zip(together, places, strict=True):
        alone = [
            int(permuted(lengths[w], each[w], np.array([place]))[0])
            for w, place in zip(which, places_, strict=True)
        ]
        assert row.tolist() == alone


@pytest.mark.parametrize("length", [2, 3, 4, 5])
def test_every_permutation_of_few_is_about_equally_likely(length):
    trials = 100_000
    permute = Permutations(np.full(trials, length), keys_of(7, np.arange(trials)))
    which = np.repeat(np.arange(trials), length)
    rows = permute(which, np.tile(np.arange(length), trials)).reshape(trials, length)
    found = Counter(map(tuple, rows.tolist()))
    expected = trials / factorial(length)
    assert len(found) == factorial(length)
    assert max(abs(count - expected) for count in found.values()) < 0.25 * expected


@pytest.mark.parametrize("length", [7, 64, 1000])
def test_every_place_is_about_equally_likely(length):
    trials = 20_000
    permute = Permutations(np.full(trials, length), keys_of(8, np.arange(trials)))
    first = permute(np.arange(trials), np.zeros(trials, dtype=np.int64))
    last = permute(np.arange(trials), np.full(trials, length - 1))
    for where in (first, last, (last - first) % length):
        counts = np.bincount(where, minlength=length)
        counts = counts[1:] if where is not first and where is not last else counts
        expected = trials / len(counts)
        # chi-square, five standard deviations above its mean
        freedom = len(counts) - 1
        assert ((counts - expected) ** 2 / expected).sum() < freedom + 5 * (2 * freedom) ** 0.5


def test_lengths_out_of_range_are_refused():
    with pytest.raises(ValueError, match="the largest is 4294967297"):
        Permutations(np.array([2**32 + 1]), np.zeros(1, dtype=np.uint64))


@given(st.lists(st.integers(-(2**70), 2**70), max_size=4), st.integers(0, 3))
def test_keys_depend_on_every_word_and_their_number(words, extra):
    key = key_of(*words)
    assert 0 <= key < 2**64
    assert key == key_of(*words)
    assert key != key_of(*words, extra)


def test_uniforms_are_uniform():
    numbers = np.concatenate([uniforms(key_of(key), 3) for key in range(5000)])
    assert 0 <= numbers.min() <= numbers.max() < 1
    assert np.allclose(np.quantile(numbers, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.02)


def test_golden_values():
    """What a key gives must never change: orders and crops of old checkpoints depend on it."""
    assert key_of() == 0
    assert key_of(1, 2, 3) == GOLDEN_KEY
    assert keys_of(5, [0, 1]).tolist() == GOLDEN_KEYS
    assert permuted(10, 42).tolist() == GOLDEN_PERMUTATION
    assert uniforms(1, 2).tolist() == GOLDEN_UNIFORMS


GOLDEN_KEY = 74078413316773926
GOLDEN_KEYS = [7134611160154358618, 7958955049054603978]
GOLDEN_PERMUTATION = [9, 6, 4, 5, 0, 8, 3, 2, 1, 7]
GOLDEN_UNIFORMS = [0.5665615751722809, 0.8833108082136426]
