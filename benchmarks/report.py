"""What a report costs, beside planning a million images, and beside sizing a folder.

python benchmarks/report.py                    # a million images that are nowhere
python benchmarks/report.py ../shared/photos   # and a folder of real ones, with thumbnails
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa

from lit_buckets import BucketBatchSampler, BucketPlan, Manifest, plan_buckets, scan
from lit_buckets.report.html import write_page

IMAGES = 1_000_000
REPEATS = 3

T = TypeVar("T")


def best(action: Callable[[], T]) -> tuple[T, float]:
    """The result of an action and the least time that it took."""
    taken = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        result = action()
        taken.append(time.perf_counter() - begin)
    return result, min(taken)


def synthetic(folder: Path) -> Manifest:
    """Photographs' ratios, widely spread, 0.1 to 10 megapixels; one file in fifty is refused."""
    rng = np.random.default_rng(0)
    area = np.exp(rng.normal(np.log(1.2e6), 0.9, IMAGES))
    ratio = rng.choice([3 / 2, 2 / 3, 4 / 3, 1, 16 / 9], IMAGES) * np.exp(
        rng.normal(0, 0.15, IMAGES)
    )
    refused = rng.random(IMAGES) < 0.02
    sides = [np.sqrt(area / ratio), np.sqrt(area * ratio)]
    height, width = (
        pa.array(np.where(refused, 0, np.maximum(side, 16)).astype(np.int32)) for side in sides
    )
    paths = [f"shard_{i // 10_000:05}/folder/photo_{i:09}.jpg" for i in range(IMAGES)]
    reason = pa.array(np.where(refused, "the header ends after 120 bytes", ""))
    table = pa.table({"path": paths, "height": height, "width": width, "reason": reason})
    return Manifest.write(folder / "synthetic.arrow", table)


def report(manifest: Manifest, plan: Callable[[], BucketPlan], folder: Path) -> int:
    """Plan and report; how many bytes the page has. The plan is new: nothing of it is known yet."""
    sampler = BucketBatchSampler(plan(), batch_size=8, num_replicas=8)
    write_page(folder / "report.html", manifest, sampler)
    return (folder / "report.html").stat().st_size


def tell(name: str, baseline: str, base: float, seconds: float, size: int) -> None:
    """Print a baseline and a report."""
    print(f"{name}, {baseline:8}    {base * 1e3:8.0f} ms   1.00")
    print(
        f"{name}, reported    {seconds * 1e3:8.0f} ms   {seconds / base:.2f}   {size / 1e6:.2f} MB"
    )


def million(folder: Path) -> None:
    """Many are left out and moved, so that the lists are full; no file can be opened."""
    manifest = synthetic(folder)

    def plan() -> BucketPlan:
        return plan_buckets(manifest.sizes, min_images=10_000, small_bucket="exclude", max_crop=0.1)

    _, planned = best(plan)
    size, both = best(lambda: report(manifest, plan, folder))
    tell("a million images", "planned", planned, both - planned, size)


def photos(source: str, folder: Path) -> None:
    """A folder of real images, 24 of them decoded, beside sizing all of them anew."""
    caches = (str(folder / f"cache_{number}") for number in count())
    manifest, sized = best(lambda: scan(source, cache_dir=next(caches)))
    size, seconds = best(lambda: report(manifest, lambda: plan_buckets(manifest.sizes), folder))
    tell(f"{len(manifest)} photographs", "sized", sized, seconds, size)


def main() -> None:
    """Measure what the command line names."""
    with tempfile.TemporaryDirectory() as folder:
        million(Path(folder))
        for source in sys.argv[1:]:
            photos(source, Path(folder))


if __name__ == "__main__":
    main()
