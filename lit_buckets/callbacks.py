"""What a training run tells its loggers about its data.

Beside ``datamodule`` the only place that knows the Trainer.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils._pytree import tree_leaves

from lit_buckets.errors import ConfigError
from lit_buckets.loader import BucketDataLoader

__all__ = ["BucketMonitor"]


@dataclass
class _Steps:
    """Training steps that are reported together; what lies between them is left out."""

    images: torch.Tensor | int = 0  #: on the device, so that counting does not wait for it
    waiting: float = 0.0  #: seconds in which a step's batch was asked for and not there yet
    seconds: float = 0.0  #: from asking for a batch to the end of its step, over all steps


@dataclass
class _Epoch:
    """What has come of an epoch."""

    images: torch.Tensor | int = 0
    places: int = 0


class BucketMonitor(Callback):
    """Logs how fast images come, and whether training waits for them.

    Together with the model's own metrics, every ``log_every_n_steps`` of the Trainer:

    - ``data/images_per_second``, over all ranks, without samples that only fill a place;
    - ``data/wait_share``: the share of the time in which a step's batch was asked for and not
      there yet, from 0 to 1, the mean of all ranks. Near 0 the loader keeps up, and more workers
      would gain nothing;
    - ``data/height`` and ``data/width`` of this very step's batch, in pixels, on rank 0.

    At the end of every epoch, over all ranks: ``data/epoch_images`` that came, and
    ``data/epoch_filled``, the places that were filled by repeating one of them, both since the
    epoch began or was resumed.

    A step lasts from asking for its batch to ``on_train_batch_end``. Validation, checkpoints and
    whatever else lies between steps does not count. The device is not waited for: as long as it
    is behind, the loader's time may pass while it is busy, so ``data/wait_share`` is then an upper
    bound of the time that it is idle.

    Args:
        prog_bar: Whether the progress bar shows the first two as well.
    """

    def __init__(self, prog_bar: bool = False) -> None:
        self.prog_bar = prog_bar
        self._loaders: list[BucketDataLoader] = []
        self._steps, self._epoch = _Steps(), _Epoch()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to measure."""
        self._steps = _Steps()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the loaders, which may be new ones.

        Raises:
            ConfigError: If none of them is a :class:`~lit_buckets.BucketDataLoader`.
        """
        self._loaders = _loaders_of(trainer)
        self._epoch = _Epoch()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count a step, and report where Lightning does.

        Raises:
            ConfigError: If the batch has lost its field ``valid``.
        """
        now = time.perf_counter()
        parts = list(_batches(batch))
        if not parts:
            raise ConfigError(
                "BucketMonitor counts the field 'valid' of a batch, and there is none in a batch "
                f"of type {type(batch).__name__}. Leave it there in the transfer hooks."
            )
        images = sum(part["valid"].sum() for part in parts)
        self._epoch.places += sum(len(part["valid"]) for part in parts)
        self._epoch.images += images
        self._steps.images += images
        # an epoch that is resumed in its middle does not start
        loaders = self._loaders = self._loaders or _loaders_of(trainer)
        self._steps.waiting += sum(loader.delivered_at - loader.asked_at for loader in loaders)
        self._steps.seconds += now - min(loader.asked_at for loader in loaders)
        if _is_logged(trainer):
            self._report(pl_module, parts[0]["image"].shape)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report what came of the epoch."""
        epoch = self._epoch
        counts = {
            "data/epoch_images": float(epoch.images),
            "data/epoch_filled": float(epoch.places - epoch.images),
        }
        pl_module.log_dict(counts, on_epoch=True, reduce_fx="sum", sync_dist=True, batch_size=1)

    def _report(self, pl_module: LightningModule, shape: torch.Size) -> None:
        steps, self._steps = self._steps, _Steps()
        common: dict[str, Any] = {"on_step": True, "on_epoch": False, "batch_size": 1}
        pl_module.log(
            "data/images_per_second",
            float(steps.images) / steps.seconds,
            prog_bar=self.prog_bar,
            reduce_fx="sum",
            sync_dist=True,
            **common,
        )
        pl_module.log(
            "data/wait_share",
            min(1.0, steps.waiting / steps.seconds),
            prog_bar=self.prog_bar,
            sync_dist=True,
            **common,
        )
        height, width = shape[-2:]
        pl_module.log_dict({"data/height": float(height), "data/width": float(width)}, **common)


def _loaders_of(trainer: Trainer) -> list[BucketDataLoader]:
    leaves = tree_leaves(trainer.train_dataloader)
    loaders = [leaf for leaf in leaves if isinstance(leaf, BucketDataLoader)]
    if not loaders:
        raise ConfigError(
            "BucketMonitor measures a BucketDataLoader, and there is none among the "
            f"{len(leaves)} training loaders. Train with a BucketDataModule, or leave it out."
        )
    return loaders


def _is_logged(trainer: Trainer) -> bool:
    """Whether Lightning hands this step's metrics to the loggers; no public attribute tells."""
    accumulating = trainer.fit_loop._should_accumulate()
    return not accumulating and trainer._logger_connector.should_update_logs


def _batches(batch: Any) -> Iterator[Mapping[str, Any]]:
    """The batch of each loader: training with several of them gives a collection."""
    if isinstance(batch, Mapping) and "valid" in batch:
        yield batch
    elif isinstance(batch, Mapping | list | tuple):
        for part in batch.values() if isinstance(batch, Mapping) else batch:
            yield from _batches(part)
