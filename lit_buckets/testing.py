"""A check that users can run on their own data and transforms: does a resume go on exactly?"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch

from lit_buckets.config import Config
from lit_buckets.datamodule import BucketDataModule
from lit_buckets.loader import BucketDataLoader

__all__ = ["assert_resumable"]


def assert_resumable(
    config: str | os.PathLike[str] | Mapping[str, Any] | Config | BucketDataModule,
    *,
    world_sizes: Sequence[int] = (1, 2, 3),
    num_workers: Sequence[int] = (0, 2),
    epoch: int = 1,
    every: int = 1,
) -> dict[str, int]:
    """Check that training can be stopped after any step of an epoch and go on exactly.

    Ranks are simulated one after the other in this process; workers are real. Four things are
    checked, on the training images of the configuration:

    1. Over all ranks each sample comes exactly once, and every rank takes equally many steps.
    2. After a stop at every step, the next batch is the one that would have come: the same
       images, crops, flips and pixels, and every other field, whatever the number of workers.
    3. So are the images of all batches after it.
    4. After a stop at every step and a change to every other world size, the rest of the epoch
       holds exactly the images not yet seen.

    Pixels are loaded about twice for each batch, world size and number of workers, so choose a
    sample of a large dataset, or a larger ``every``.

    Args:
        config: What :class:`~lit_buckets.BucketDataModule` takes, or one (with your transforms).
        world_sizes: World sizes, each at least 1.
        num_workers: Numbers of loader workers, each at least 0.
        epoch: The epoch to check.
        every: Stop after every so many steps.

    Returns:
        How many of each were checked: ``stops``, ``batches`` (compared pixel for pixel), and
        ``changes`` of the world size.

    Raises:
        AssertionError: If a resume differs; the message says where.
    """
    dm = config if isinstance(config, BucketDataModule) else BucketDataModule(config)
    dm.prepare_data()
    dm.setup("fit")
    checked: Counter[str] = Counter(stops=0, batches=0, changes=0)
    for world in world_sizes:
        ranks = [_loader(dm, world, rank, 0, epoch) for rank in range(world)]
        _check_once(ranks, epoch)
        stops = range(0, len(ranks[0]) + 1, every)
        for stop in stops:
            _check_changes(dm, ranks, world_sizes, epoch, stop)
        checked.update(stops=len(stops), changes=len(stops) * len(world_sizes))
        for rank in range(world):
            checked["batches"] += _check_next(dm, world, rank, num_workers, epoch, stops)
    return dict(checked)


def _loader(
    dm: BucketDataModule,
    world: int,
    rank: int,
    workers: int,
    epoch: int,
    state: Mapping[str, Any] | None = None,
) -> BucketDataLoader:
    loader = dm.loader("train", num_replicas=world, rank=rank, num_workers=workers)
    if state is not None:
        loader.load_state_dict(json.loads(json.dumps(state)))
    loader.set_epoch(epoch)
    return loader


def _check_once(ranks: Sequence[BucketDataLoader], epoch: int) -> None:
    lengths = {len(list(loader.batches)) for loader in ranks}
    assert lengths == {len(ranks[0])}, f"ranks take {sorted(lengths)} steps in epoch {epoch}"
    if ranks[0].batches.short_batch != "drop":
        came = Counter[Any]()
        for loader in ranks:
            came.update(_samples(loader, 0, None))
        wanted = ranks[0].batches.accounting().samples
        assert set(came.values()) <= {1}, f"{max(came, key=came.__getitem__)} came twice"
        assert len(came) == wanted, f"{len(came)} samples came in epoch {epoch}, not {wanted}"


def _check_next(
    dm: BucketDataModule,
    world: int,
    rank: int,
    num_workers: Sequence[int],
    epoch: int,
    stops: range,
) -> int:
    """Compare the batch after every stop with the one of an uninterrupted epoch."""
    compared = 0
    for workers in num_workers:
        whole = iter(_loader(dm, world, rank, workers, epoch))
        source = _loader(dm, world, rank, 0, epoch)
        for step, batch in enumerate(whole):
            if step not in stops:
                continue
            state = source.batches.state_dict(step)
            resumed = _loader(dm, world, rank, 0, epoch, state)
            where = f"epoch {epoch}, step {step}, rank {rank} of {world}, {workers} workers"
            _assert_equal(next(iter(resumed)), batch, where)
            rest, wanted = _samples(resumed, 0, None), _samples(source, step, None)
            assert list(rest) == list(wanted), f"{where}: later batches hold other images"
            compared += 1
    return compared


def _check_changes(
    dm: BucketDataModule,
    ranks: Sequence[BucketDataLoader],
    world_sizes: Sequence[int],
    epoch: int,
    stop: int,
) -> None:
    """Go on with every other world size: what is left must come exactly once."""
    sampler = ranks[0].batches
    if sampler.short_batch == "drop":
        return
    state = sampler.state_dict(stop)
    before = Counter[Any]()
    for loader in ranks:
        before.update(_samples(loader, 0, stop))
    for world in world_sizes:
        came = before.copy()
        for rank in range(world):
            came.update(_samples(_loader(dm, world, rank, 0, epoch, state), 0, None))
        where = f"epoch {epoch}, from {len(ranks)} to {world} ranks after step {stop}"
        assert set(came.values()) <= {1}, f"{where}: a sample came twice"
        assert len(came) == sampler.accounting().samples, f"{where}: samples were lost"


def _samples(loader: BucketDataLoader, start: int, stop: int | None) -> Iterator[tuple[int, int]]:
    """(image, repetition) of the real samples in some of the batches to come."""
    for batch in islice(loader.batches, start, stop):
        real = batch.valid
        yield from zip(batch.indices[real].tolist(), batch.repetition[real].tolist(), strict=True)


def _assert_equal(found: Mapping[str, Any], wanted: Mapping[str, Any], where: str) -> None:
    assert found.keys() == wanted.keys(), f"{where}: the batch has other fields"
    for name, value in wanted.items():
        if isinstance(value, torch.Tensor):
            equal = torch.equal(found[name], value)
        else:
            equal = found[name] == value
        assert equal, f"{where}: {name} differs"
