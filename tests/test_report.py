"""What a user reads before training starts."""

from __future__ import annotations

import numpy as np
from rich.console import Console

from lit_buckets import BucketBatchSampler, plan_buckets
from lit_buckets.report import summary


def text_of(sampler: BucketBatchSampler, **options) -> str:
    console = Console(width=100, record=True, file=None, force_terminal=False, no_color=True)
    with console.capture() as capture:
        console.print(summary("train", sampler, **options))
    return capture.get()


def test_the_table_adds_up():
    sizes = [[64, 64]] * 9 + [[64, 128]] * 5 + [[100, 70]]
    plan = plan_buckets(
        sizes, max_area=64 * 128, divisor=32, min_images=2, max_crop=0.4, repeats=[2] * 15
    )
    text = text_of(BucketBatchSampler(plan, batch_size=4, num_replicas=2), refused=3)
    rows = [line.split("│")[1:-1] for line in text.splitlines() if "│" in line]
    numbers = np.array([[int(cell) for cell in row[1:4]] for row in rows])
    assert (numbers[:-1].sum(axis=0) == numbers[-1]).all()
    assert numbers[-1][0] == 15
    assert numbers[-1][1] == 30
    assert "30 samples in 4 steps on 2 ranks" in text
    assert "3 files could not be read" in text
    assert "moved: 1 images: 14: from 96x64" in text


def test_what_stays_in_a_small_bucket_or_is_cut_much_is_named():
    sizes = [[512, 512]] * 50 + [[500, 2000]] * 2
    plan = plan_buckets(sizes, min_images=8, max_crop=0.25)
    text = text_of(BucketBatchSampler(plan, batch_size=4))
    assert "noted: 2 images: 50: stays: bucket 256x1024 has fewer than min_images=8" in text
    plan = plan_buckets(sizes, max_buckets=1, repeats=[2] * 52)
    text = text_of(BucketBatchSampler(plan, batch_size=4))
    assert "noted: 2 images: 50: 75% is cut, more than max_crop=0.25, 51: 75% is cut" in text
    assert "repeats: 52 images x 2 = 104 samples" in text
    assert "crop loss at 1 bucket: 2.9%, at 2: 0.0%" in text


def test_names_are_not_markup():
    plan = plan_buckets([[64, 64]] * 3, max_area=64 * 64, left_out={1: "[red]odd[/] name"})
    assert "left out: 1 images: 1: [red]odd[/] name" in text_of(
        BucketBatchSampler(plan, batch_size=2)
    )


def test_policies_say_what_they_cost():
    plan = plan_buckets([[64, 64]] * 9, max_area=64 * 64)
    drop = text_of(BucketBatchSampler(plan, batch_size=4, short_batch="drop"))
    assert "8 samples in 2 steps on 1 rank, 1 samples dropped; batches 100% full" in drop
    repeat = text_of(BucketBatchSampler(plan, batch_size=4, short_batch="repeat"))
    assert "9 samples in 3 steps on 1 rank, 3 places filled by repeating a sample" in repeat
    shared = plan_buckets([[64, 64]] * 5 + [[64, 128]] * 5, max_area=64 * 128)
    text = text_of(BucketBatchSampler(shared, batch_size=5, num_replicas=2))
    assert "10 samples in 1 steps on 2 ranks, 1 of them shared by buckets" in text


def test_dropping_names_what_never_comes():
    plan = plan_buckets([[64, 64]] * 9 + [[64, 128]] * 3, max_area=64 * 128)
    sampler = BucketBatchSampler(plan, batch_size=4, short_batch="drop")
    assert np.allclose(sampler.visits(), [8 / 9] * 9 + [0] * 3)
    assert "3 images never come: their buckets are smaller than a batch" in text_of(sampler)
    filled = BucketBatchSampler(plan, batch_size=4, short_batch="repeat")
    assert np.allclose(filled.visits(), [12 / 9] * 9 + [4 / 3] * 3)
    assert (BucketBatchSampler(plan, batch_size=4).visits() == 1).all()


def test_images_are_told_by_their_paths_where_these_are_known():
    sizes = [[64, 64]] * 3 + [[64, 128]] * 13
    plan = plan_buckets(sizes, max_area=64 * 128, left_out=dict.fromkeys(range(3, 15), "rotten"))
    paths = [f"/data/{i}\x1b[31m.png" for i in range(16)]
    lines = text_of(BucketBatchSampler(plan, batch_size=2), paths=paths).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("left out: 12 images"))
    told = [line.strip() for line in lines[start + 1 :]]
    assert told == [rf"/data/{i}\x1b[31m.png: rotten" for i in range(3, 13)] + ["and 2 more"]
