"""How much the shapes of a dataset's buckets cut, and what planning costs.

    python benchmarks/buckets.py              # the table of benchmarks/README.md
    python benchmarks/buckets.py --million    # and the time for a million sizes

Every way gets the same images, each of which takes the shape that cuts least, and the crop loss is
counted in whole pixels. Fixed lists are used as they usually are: a bucket's last batch is dropped
unless it is full, and the images in it are lost to the epoch. Ours are used as our sampler does.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from math import sqrt

import numpy as np
import numpy.typing as npt

from lit_buckets import BucketBatchSampler, BucketPlan, geometry, plan_buckets
from lit_buckets.plan.shapes import distinct

AREA, DIVISOR = 1024 * 1024, 64
LIMIT = 0.25  # crop loss beyond which little is left of a picture's composition
BATCH_SIZE = 8
REPEATS = 5

IntArray = npt.NDArray[np.int64]


def mixed_sizes(images: int = 3000, seed: int = 0) -> IntArray:
    """Sizes of a mixed collection: 0.36 to 5.8 megapixels, from 3:1 panoramas to 1:3 strips.

    Seven of ten have a camera's or a screen's ratio, some of them trimmed by up to a tenth of a
    side; the rest is spread evenly over the logarithm of the ratio, as cuttings and drawings are.
    """
    dice = np.random.default_rng(seed)
    usual = np.array([1, 4 / 3, 3 / 2, 16 / 9, 5 / 4, 2, 21 / 9])
    ratio = dice.choice(usual, images, p=[0.15, 0.25, 0.3, 0.15, 0.05, 0.05, 0.05])
    ratio = np.where(dice.random(images) < 0.5, ratio, 1 / ratio)
    ratio = np.where(dice.random(images) < 0.4, ratio * dice.uniform(0.9, 1.1, images), ratio)
    free = np.exp(dice.uniform(-np.log(3), np.log(3), images))
    ratio = np.where(dice.random(images) < 0.3, free, ratio)
    area = np.exp(dice.uniform(np.log(0.36e6), np.log(5.8e6), images))
    sides = np.stack([np.sqrt(area / ratio), np.sqrt(area * ratio)], axis=1)
    return sides.round().astype(np.int64)


def log_spaced(count: int, widest: float) -> IntArray:
    """A usual fixed list: ratios from 1:widest to widest:1 at equal steps of the logarithm."""
    ratios = widest ** np.linspace(-1, 1, count)
    wide = np.stack([1e6 / np.sqrt(ratios), 1e6 * np.sqrt(ratios)], axis=1)
    return geometry.fit(wide.astype(np.int64) // 1000, max_area=AREA, divisor=DIVISOR)


def transposed_ratios(count: int) -> IntArray:
    """Nine usual ratios with their transposes; of them the ``count`` nearest to a square."""
    ratios = [(1, 1), (5, 4), (4, 3), (3, 2), (16, 10), (16, 9), (2, 1), (21, 9), (3, 1)]
    both = [pair for w, h in ratios for pair in dict.fromkeys([(h, w), (w, h)])]
    return geometry.fit(np.array(both[:count]) * 100, max_area=AREA, divisor=DIVISOR)


def side_ladder(count: int) -> IntArray:
    """As NovelAI's buckets are made: a side in steps of 64, the other as long as the area allows.

    Of them the ``count`` nearest to a square, with their transposes.
    """
    sides = np.arange(512, 2049, 64)
    other = np.minimum(AREA // sides // 64 * 64, 2048)
    both = np.concatenate([np.stack([sides, other], 1), np.stack([other, sides], 1)])
    shapes = distinct(both)[0]
    skew = np.abs(np.log(shapes[:, 0] / shapes[:, 1]))
    return shapes[np.argsort(skew, kind="stable")[:count]]


def most_wanted(images: IntArray, count: int) -> IntArray:
    """The plain rule ``fit``, held to a number of shapes: those that most images want."""
    shapes, which = distinct(geometry.fit(images, max_area=AREA, divisor=DIVISOR))
    return shapes[np.argsort(-np.bincount(which), kind="stable")[:count]]


def table(images: IntArray) -> None:
    """Crop loss and lost images for each number of shapes and each way to choose them."""
    print(f"{len(images):,} images, {AREA:,} pixels, divisor {DIVISOR}, batches of {BATCH_SIZE}\n")
    print("| shapes asked for | way | shapes | mean crop loss | cut by over a quarter | lost |")
    print("|---|---|---|---|---|---|")
    for count in (7, 11, 18, 28):
        ways = {
            "log-spaced ratios, 1:2 to 2:1": log_spaced(count, 2),
            "log-spaced ratios, 1:3 to 3:1": log_spaced(count, 3),
            "nine ratios with transposes": transposed_ratios(count),
            "ladder of sides, as NovelAI's": side_ladder(count),
            "plain `fit`, its most wanted shapes": most_wanted(images, count),
        }
        for name, shapes in ways.items():
            plan = of_list(images, shapes)
            row(count, name, plan, int((plan.counts % BATCH_SIZE).sum()))
        plan = plan_buckets(images, max_area=AREA, divisor=DIVISOR, max_buckets=count)
        row(count, f"**`max_buckets: {count}`**", plan, lost_by_us(plan))
    plan = plan_buckets(images, max_area=AREA, divisor=DIVISOR)
    row("any", "plain `fit`, last batches dropped", plan, int((plan.counts % BATCH_SIZE).sum()))


def of_list(images: IntArray, shapes: IntArray) -> BucketPlan:
    """A plan in which each image takes the shape that cuts least."""
    return plan_buckets(
        images, rule="list", sizes=np.unique(shapes, axis=0), divisor=DIVISOR, min_images=1
    )


def lost_by_us(plan: BucketPlan) -> int:
    """Images left out by the plan, or dropped in an epoch of our sampler with its defaults."""
    account = BucketBatchSampler(plan, batch_size=BATCH_SIZE).accounting()
    return len(plan) - account.samples + account.dropped


def row(count: object, name: str, plan: BucketPlan, lost: int) -> None:
    """Print one row of the table."""
    loss, shapes = plan.crop_loss, len(plan.bucket_sizes)
    cut = int((loss > LIMIT).sum())
    print(f"| {count} | {name} | {shapes} | {loss.mean():.2%} | {cut:,} | {lost:,} |")


def plain_loop(images: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The rule ``fit`` as it is first written: a loop over images, in floats."""
    found = []
    for height, width in images:
        scale = sqrt(AREA / (width * height))
        sides = height * scale / DIVISOR, width * scale / DIVISOR
        rounded = round(sides[0]) * DIVISOR, round(sides[1]) * DIVISOR
        if rounded[0] * rounded[1] > AREA:
            rounded = int(sides[0]) * DIVISOR, int(sides[1]) * DIVISOR
        found.append(rounded)
    return found


def seconds(action: Callable[[], object]) -> float:
    """Time one call, the garbage of others cleared away before."""
    gc.collect()
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def million() -> None:
    """Time a million sizes: ``fit`` beside the loop, and a limited plan."""
    images = mixed_sizes(1_000_000)
    pairs = [(h, w) for h, w in images.tolist()]
    times = [
        (
            seconds(lambda: geometry.fit(images, max_area=AREA, divisor=DIVISOR)),
            seconds(lambda: plain_loop(pairs)),
        )
        for _ in range(REPEATS)
    ]
    ours, loop = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(a / b for a, b in times)
    print(f"plain loop, one image at a time  {loop:6.2f} s   1.00")
    print(f"geometry.fit                     {ours:6.2f} s   {ratio:.2f}")
    for name, options in (("fit", {}), ("max_buckets=18", {"max_buckets": 18})):
        plan = statistics.median(
            seconds(lambda o=options: plan_buckets(images, **o)) for _ in "123"
        )
        print(f"plan_buckets, {name:18s} {plan:6.2f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--million", action="store_true")
    arguments = parser.parse_args()
    table(mixed_sizes())
    if arguments.million:
        million()
