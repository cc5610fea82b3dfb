"""How long a training step waits for its images on a GPU.

    python benchmarks/training.py [--data FOLDER] [--workers N] [--batch-size N] [--network SIZE]

A small U-Net in bfloat16 (autocast, AdamW) learns to see through noise at 512 x 512 pixels, from a
folder of photographs or from JPEGs of 3 to 12 megapixels that are made on the spot. Pairs of
passes, in turn: an epoch through the loader, and the same steps on batches that lie on the device
already. What the first takes longer is what training waits for; the median over the pairs counts.
Printed beside it: what the loader gives where nothing else is done.

Without a GPU it says so, and measures nothing.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from lit_buckets import BucketDataLoader, BucketDataModule

sys.path.append(str(Path(__file__).resolve().parent.parent))

from example_network import UNet

PAIRS = 5
IMAGES = 256
NETWORKS = {
    "small": {"fine": 128, "coarse": 256, "depth": 4},
    "tiny": {"fine": 16, "coarse": 32, "depth": 1},
}
SIZES = [(1536, 2048), (2048, 1536), (2000, 3000), (3000, 4000)]  # height, width

Batch = dict[str, Any]


class Figures(NamedTuple):
    """What was measured, in seconds a step and images a second."""

    with_loader: float
    on_device: float
    wait_share: float
    loader_alone: float


def make_photographs(folder: Path, count: int, sizes: list[tuple[int, int]]) -> None:
    """Smooth noise, which compresses about as photographs do."""
    with ProcessPoolExecutor() as pool:
        list(pool.map(partial(make_photograph, folder, sizes), range(count)))


def make_photograph(folder: Path, sizes: list[tuple[int, int]], number: int) -> None:
    """One of them."""
    height, width = sizes[number % len(sizes)]
    random = np.random.default_rng(number)
    coarse = random.integers(0, 256, (height // 12, width // 12, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    image.save(folder / f"{number:04d}.jpg", quality=92)


class Training:
    """A network and its optimiser."""

    def __init__(self, device: torch.device, network: dict[str, int]) -> None:
        self.device = device
        self.model = UNet(**network).to(device, memory_format=torch.channels_last)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4)

    def step(self, batch: Batch) -> None:
        """One step on images that are normalised and on the device."""
        images = batch["image"]
        times = torch.rand(len(images), device=self.device)
        mixed = torch.lerp(torch.randn_like(images), images, times[:, None, None, None])
        names = ("original_size", "crop_top_left", "target_size")
        sizes = torch.cat([batch[name] for name in names], dim=1).float()
        with torch.autocast(self.device.type, torch.bfloat16):
            seen = self.model(mixed, times, sizes)
        loss = torch.nn.functional.mse_loss(seen.float(), images)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()

    def moved(self, batch: Batch) -> Batch:
        """A batch on the device, without waiting for it to arrive."""
        return {
            name: value.to(self.device, non_blocking=True)
            if isinstance(value, torch.Tensor)
            else value
            for name, value in batch.items()
        }

    def finish(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def measure(
    dm: BucketDataModule, device: torch.device, network: dict[str, int], pairs: int
) -> Figures:
    """Pairs of epochs, with the loader and without it.

    Args:
        dm: Its training images are set up.
        device: What trains.
        network: Arguments of the network.
        pairs: How many pairs of epochs are measured, after one that is not.
    """
    training, loader = Training(device, network), dm.loader("train")
    kept: dict[tuple[int, ...], Batch] = {}
    for batch in loader:  # workers started, files in memory, kernels chosen, batches kept
        shape = tuple(batch["image"].shape)
        kept.setdefault(shape, training.moved(batch))
        training.step(dm.on_after_batch_transfer(kept[shape], 0))

    def loaded() -> Iterator[Batch]:
        return map(training.moved, loader)

    seconds: dict[str, list[float]] = {"loader": [], "device": [], "alone": []}
    for epoch in range(1, pairs + 1):
        loader.set_epoch(epoch)
        shapes = [shape for shape in shapes_of(loader) if shape in kept]
        steps = len(loader)
        seconds["loader"].append(timed(loaded(), training, dm) / steps)
        seconds["device"].append(timed([kept[s] for s in shapes], training, dm) / len(shapes))
        loader.set_epoch(epoch)
        begin = time.perf_counter()
        images = sum(len(batch["image"]) for batch in loader)
        seconds["alone"].append((time.perf_counter() - begin) / images)
    shares = [1 - b / a for a, b in zip(seconds["loader"], seconds["device"], strict=True)]
    return Figures(
        statistics.median(seconds["loader"]),
        statistics.median(seconds["device"]),
        max(0.0, statistics.median(shares)),
        1 / statistics.median(seconds["alone"]),
    )


def shapes_of(loader: BucketDataLoader) -> Iterable[tuple[int, ...]]:
    """Shapes of the batches of the epoch to come."""
    sizes = loader.batches.plan.bucket_sizes
    return [(len(b.indices), 3, *sizes[b.bucket].tolist()) for b in loader.batches]


def timed(batches: Iterable[Batch], training: Training, dm: BucketDataModule) -> float:
    """Seconds that all steps take, until the device has done the last."""
    training.finish()
    begin = time.perf_counter()
    for batch in batches:
        training.step(dm.on_after_batch_transfer(batch, 0))
    training.finish()
    return time.perf_counter() - begin


def module_of(folder: Path, cache: Path, area: int, batch_size: int, workers: int) -> Any:
    """Images in buckets of an area, ready to train."""
    dm = BucketDataModule(
        {
            "data": {"train": str(folder), "cache_dir": str(cache)},
            "buckets": {"max_area": area, "divisor": 64},
            # every batch full, so that the steps without the loader are the same
            "batches": {"batch_size": batch_size, "short_batch": "repeat"},
            "transform": {"crop": "random", "flip": 0.5, "channels_last": True},
            "loader": {"num_workers": workers},
        }
    )
    dm.prepare_data()
    dm.setup("fit")
    return dm


def main() -> None:
    """Measure, if there is a GPU."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of photographs")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--network", choices=NETWORKS, default="small")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("There is no GPU: nothing was measured. Run this where torch.cuda.is_available().")
        return
    device = torch.device("cuda")
    with tempfile.TemporaryDirectory() as name:
        folder = options.data or Path(name) / "images"
        if options.data is None:
            folder.mkdir()
            make_photographs(folder, IMAGES, SIZES)
        dm = module_of(folder, Path(name), 512 * 512, options.batch_size, options.workers)
        found = measure(dm, device, NETWORKS[options.network], PAIRS)
    per_second = options.batch_size / found.with_loader
    print(f"{torch.cuda.get_device_name(device)}, {options.workers} workers, bfloat16, 512 x 512")
    print(f"a step on batches that lie on the device  {1000 * found.on_device:8.1f} ms")
    print(f"a step through the loader                 {1000 * found.with_loader:8.1f} ms")
    print(f"share of it that waits for data           {found.wait_share:8.1%}")
    print(f"trained                                   {per_second:8.1f} images/s")
    print(f"the loader alone                          {found.loader_alone:8.1f} images/s")


if __name__ == "__main__":
    main()
