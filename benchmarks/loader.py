"""What the resumable loader adds to a plain ``DataLoader`` of the same dataset and batches.

    python benchmarks/loader.py

Photographs are made on the spot: JPEGs of 0.8 megapixels, loaded into buckets of 256 x 256.
Pairs of passes, in turn; the ratio is the median over the pairs.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

from lit_buckets import BucketDataLoader, BucketDataModule

PAIRS = 9
IMAGES = 160


def make_photographs(folder: Path) -> None:
    """Smooth noise in several shapes, which compresses about as photographs do."""
    random = np.random.default_rng(0)
    for number in range(IMAGES):
        height, width = [(768, 1024), (1024, 768), (880, 880), (640, 1200)][number % 4]
        coarse = random.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        image.save(folder / f"{number:04d}.jpg", quality=90)


def seconds(loader: Iterable[object]) -> float:
    """One pass."""
    begin = time.perf_counter()
    for _ in loader:
        pass
    return time.perf_counter() - begin


def main() -> None:
    """Compare both loaders with and without workers."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_photographs(folder)
        dm = BucketDataModule(
            {
                "data": {"train": name, "cache_dir": f"{name}/.cache"},
                "buckets": {"max_area": 256 * 256, "divisor": 32},
            }
        )
        dm.prepare_data()
        dm.setup("fit")
        for workers in (0, 2):
            ours = dm.loader("train", num_workers=workers)
            assert isinstance(ours, BucketDataLoader)
            plain: DataLoader[object] = DataLoader(
                ours.dataset,
                sampler=list(ours.batches),
                batch_size=None,
                num_workers=workers,
                persistent_workers=workers > 0,
                collate_fn=lambda batch: batch,
            )
            seconds(ours), seconds(plain)  # workers started, files in memory
            pairs = [(seconds(ours), seconds(plain)) for _ in range(PAIRS)]
            mine, base = (statistics.median(column) for column in zip(*pairs, strict=True))
            ratio = statistics.median(a / b for a, b in pairs)
            print(f"{workers} workers: plain DataLoader  {IMAGES / base:7.1f} images/s   1.000")
            print(
                f"{workers} workers: BucketDataLoader  {IMAGES / mine:7.1f} images/s   {ratio:.3f}"
            )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
