"""What the order of an epoch costs, beside torch's own shuffled batches.

    python benchmarks/sampler.py              # one million images
    python benchmarks/sampler.py --huge       # and a hundred million, from a mapped plan

Every figure is printed with its ratio to the named baseline of the same run.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import BatchSampler, RandomSampler

from lit_buckets import BucketBatchSampler, BucketPlan
from lit_buckets.plan import plan_buckets

BATCH_SIZE = 8
REPEATS = 7


def synthetic_plan(images: int, buckets: int = 40) -> BucketPlan:
    """Images of ratios spread as in a photograph collection, over some tens of buckets."""
    shapes = np.stack([np.linspace(300, 900, buckets), np.linspace(900, 300, buckets)], axis=1)
    plan = plan_buckets(shapes.astype(int), max_area=512 * 512, divisor=32)
    shares = np.random.default_rng(0).dirichlet(np.ones(len(plan.bucket_sizes)))
    cuts = (np.cumsum(shares) * images).astype(int)
    bucket_of = np.searchsorted(cuts, np.arange(images), side="right")
    bucket_of = np.minimum(bucket_of, len(shares) - 1).astype(np.int32)
    sizes = plan.bucket_sizes[bucket_of]
    return BucketPlan(sizes=sizes, bucket_sizes=plan.bucket_sizes, bucket_of=bucket_of)


def seconds(action: Callable[[], object]) -> float:
    """Time one call, the garbage of others cleared away before."""
    gc.collect()
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def exhaust(batches: Iterable[object]) -> int:
    """Iterate to the end; every batch is looked at, as a loader would."""
    return sum(1 for _ in batches)


def million() -> None:
    """One million images: cost for each batch, first batch, and world size."""
    plan = synthetic_plan(1_000_000)
    assert plan.members is not None
    ours = BucketBatchSampler(plan, batch_size=BATCH_SIZE)
    theirs = BatchSampler(RandomSampler(range(len(plan))), BATCH_SIZE, drop_last=False)
    pairs = [
        (seconds(lambda: exhaust(ours)) / len(ours), seconds(lambda: exhaust(theirs)) / len(theirs))
        for _ in range(REPEATS)
    ]
    mine, base = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"torch BatchSampler(RandomSampler)   {base * 1e6:8.2f} us a batch   1.00")
    print(f"BucketBatchSampler                  {mine * 1e6:8.2f} us a batch   {ratio:.2f}")
    first = statistics.median(
        seconds(lambda: next(iter(BucketBatchSampler(plan, batch_size=BATCH_SIZE))))
        for _ in range(REPEATS)
    )
    print(f"first batch, sampler made anew      {first * 1e3:8.2f} ms")
    world_sizes()


def world_sizes() -> None:
    """The same number of steps of one rank in a small and in a large world, batches of one."""
    plan = synthetic_plan(10_000_000)
    assert plan.members is not None
    steps, costs = 8192, {}
    for world in (1, 1024):
        rank = BucketBatchSampler(plan, batch_size=1, num_replicas=world, rank=world // 2)
        times = [seconds(lambda rank=rank: exhaust(islice(rank, steps))) for _ in range(REPEATS)]
        costs[world] = statistics.median(times) / steps
    for world, cost in costs.items():
        ratio = cost / costs[1]
        print(f"one rank of {world:5d}                  {cost * 1e6:8.2f} us a batch   {ratio:.2f}")


def resident() -> float:
    """Private memory of this process in MB: resident, less what is mapped from files."""
    pages = Path("/proc/self/statm").read_text().split()
    return (int(pages[1]) - int(pages[2])) * 4096 / 1e6


def measure_mapped(file: str) -> None:
    """In a process of its own: first batch and resume from a mapped plan."""
    small = f"{file}.small"  # what a process imports when it first opens a plan is not measured
    synthetic_plan(1000).save(small)
    warm = BucketBatchSampler(BucketPlan.open(small), batch_size=BATCH_SIZE)
    exhaust(warm)
    warm.state_dict()
    before = resident()
    begin = time.perf_counter()
    sampler = BucketBatchSampler(BucketPlan.open(file), batch_size=BATCH_SIZE)
    next(iter(sampler))
    first = time.perf_counter() - begin
    state = sampler.state_dict(len(sampler) * 9 // 10)
    begin = time.perf_counter()
    resumed = BucketBatchSampler(BucketPlan.open(file), batch_size=BATCH_SIZE)
    resumed.load_state_dict(state)
    next(iter(resumed))
    resume = time.perf_counter() - begin
    print(f"first batch, plan opened anew       {first * 1e3:8.2f} ms")
    print(f"resume at 90 % of the epoch         {resume * 1e3:8.2f} ms")
    print(f"growth of private memory            {resident() - before:8.2f} MB")


def huge() -> None:
    """A hundred million images, the plan mapped from disk."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "plan.arrow"
        synthetic_plan(100_000_000).save(file)
        print(f"-- 100,000,000 images, plan of {file.stat().st_size / 1e9:.1f} GB mapped")
        subprocess.run([sys.executable, __file__, "--mapped", str(file)], check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--huge", action="store_true")
    parser.add_argument("--mapped")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.mapped:
        measure_mapped(arguments.mapped)
    else:
        million()
        if arguments.huge:
            huge()
