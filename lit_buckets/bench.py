"""What this machine can load: images a second by number of workers, and where the time goes."""

from __future__ import annotations

import cProfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice
from typing import TYPE_CHECKING, Any, NamedTuple

from torch.utils.data import DataLoader, Sampler

from lit_buckets.manifest import Manifest
from lit_buckets.pixels.decode import decode
from lit_buckets.pixels.resize import resize_crop
from lit_buckets.sampler import BucketBatch, BucketBatchSampler

if TYPE_CHECKING:
    from lit_buckets.datamodule import BucketDataModule
    from lit_buckets.stages import Stage

__all__ = ["Shares", "Speed", "choose", "measure_shares", "measure_speed"]

_ENOUGH = 0.95  # of the best speed: more workers than that takes gain nothing worth their memory


class Speed(NamedTuple):
    """How fast batches come with a number of workers, when nothing is done with them."""

    workers: int
    images_per_second: float
    first_batch: float  #: seconds until the first batch was there
    images: int  #: how many were counted


class Shares(NamedTuple):
    """Where the time of one process goes, in seconds per image."""

    read: float  #: the file's bytes
    decode: float  #: from bytes to a picture
    resize: float  #: and to its bucket
    rest: float  #: captions, crops, transforms, and putting batches together
    images: int  #: how many were counted

    @property
    def total(self) -> float:
        """Seconds per image."""
        return self.read + self.decode + self.resize + self.rest


def measure_speed(
    dm: BucketDataModule,
    workers: int,
    *,
    seconds: float = 5.0,
    stage: Stage = "train",
    epoch: int = 0,
) -> Speed:
    """Load batches for some seconds, epoch after epoch.

    Args:
        dm: A datamodule that is set up.
        workers: Processes that load; 0 = this one.
        seconds: How long, from when all workers are busy; at least one batch is loaded.
        stage: train, val, test or predict.
        epoch: Which epoch comes first. What has been read before comes from memory, so a large
            dataset is measured more truly if each measurement begins with another epoch.

    Returns:
        The speed, samples that only fill a place included: they cost as much.
    """
    loader = dm.loader(stage, num_replicas=1, rank=0, num_workers=workers)
    batches = DataLoader(
        loader.dataset,
        batch_size=None,
        sampler=_Endless(loader.batches, epoch),
        num_workers=workers,
        prefetch_factor=loader.prefetch_factor,
        pin_memory=loader.pin_memory,
        multiprocessing_context=loader.multiprocessing_context,
        collate_fn=loader.collate_fn,
        generator=loader.generator,
    )
    asked = time.perf_counter()
    delivered = iter(batches)
    next(delivered)
    first_batch = time.perf_counter() - asked
    for _ in islice(delivered, workers):  # until none is there that others had a head start with
        pass
    images, begun = 0, time.perf_counter()
    while not images or time.perf_counter() < begun + seconds:
        images += len(next(delivered)["index"])
    return Speed(workers, images / (time.perf_counter() - begun), first_batch, images)


def measure_shares(dm: BucketDataModule, *, seconds: float = 5.0, stage: Stage = "train") -> Shares:
    """Load batches in this process for some seconds under Python's profiler.

    Args:
        dm: A datamodule that is set up.
        seconds: How long; at least one batch is loaded.
        stage: train, val, test or predict.

    Returns:
        Where the time went. The functions that are told apart are few and long, so the profiler
        itself hardly counts.
    """
    loader = dm.loader(stage, num_replicas=1, rank=0, num_workers=0)
    profile, images, spent = cProfile.Profile(), 0, 0.0
    for batch in _Endless(loader.batches, 0):
        begun = time.perf_counter()
        profile.enable()
        loader.dataset[batch]
        profile.disable()
        spent += time.perf_counter() - begun
        images += len(batch.indices)
        if spent >= seconds:
            break
    parts = [_inside(profile, part) for part in (Manifest.read, decode, resize_crop)]
    read, decoding, resizing = (part / images for part in parts)
    return Shares(read, decoding, resizing, (spent - sum(parts)) / images, images)


def choose(speeds: Sequence[Speed]) -> Speed:
    """The fewest workers that come within a twentieth of the best speed.

    Example:
        >>> choose([Speed(0, 50.0, 0, 1), Speed(2, 98.0, 0, 1), Speed(4, 100.0, 0, 1)]).workers
        2
    """
    best = max(speed.images_per_second for speed in speeds)
    enough = [speed for speed in speeds if speed.images_per_second >= _ENOUGH * best]
    return min(enough, key=lambda speed: speed.workers)


class _Endless(Sampler[BucketBatch]):
    """Batches of one epoch after another."""

    def __init__(self, batches: BucketBatchSampler, epoch: int) -> None:
        self.batches, self.epoch = batches, epoch

    def __iter__(self) -> Iterator[BucketBatch]:
        for epoch in count(self.epoch):
            self.batches.set_epoch(epoch)
            self.batches.check_any()
            yield from self.batches


def _inside(profile: cProfile.Profile, function: Callable[..., Any]) -> float:
    """Seconds in a function and all that it called."""
    return sum(entry.totaltime for entry in profile.getstats() if entry.code is function.__code__)
