"""A training job with a stock Trainer, run as real processes: ``python job.py SETTINGS.json``.

Lightning starts the other ranks then; `ranks.py` starts all of them, as a cluster would. Every rank
writes what it saw to ``<out>/<run>-rank<r>.jsonl``, a line for each finished step, and its last
metrics to ``<out>/<run>-rank<r>-metrics.json``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import DDPStrategy
from torch.distributed import distributed_c10d

from lit_buckets import BucketDataModule, BucketMonitor


class Recorder(L.LightningModule):
    """A model that learns next to nothing and writes down everything."""

    def __init__(
        self,
        file: Path | None = None,
        *,
        kill_at: int | None = None,
        kill_signal: str = "SIGKILL",
        kill_rank: int = 0,
        fail_at: int | None = None,
        one_cycle: bool = False,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 2, 1)
        self.norm = torch.nn.BatchNorm2d(2) if batch_norm else torch.nn.Identity()
        self.file, self.one_cycle = file, one_cycle
        self.kill_at, self.kill_signal, self.kill_rank = kill_at, kill_signal, kill_rank
        self.fail_at = fail_at
        self.records: list[dict[str, Any]] = []

    def note(self, stage: str, batch: dict[str, Any], batch_idx: int) -> None:
        record = {
            "stage": stage,
            "epoch": self.current_epoch,
            "batch_idx": batch_idx,
            "step": self.global_step,
            "index": batch["index"].tolist(),
            "valid": batch["valid"].tolist(),
            "shape": list(batch["image"].shape[1:]),
            "crop": batch["crop_top_left"].tolist(),
            "pixels": batch["image"].double().sum(dim=(1, 2, 3)).tolist(),
        }
        self.records.append(record)
        if self.file is not None and not self.trainer.sanity_checking:
            with self.file.open("a") as lines:
                lines.write(json.dumps(record) + "\n")

    def loss(self, batch: dict[str, Any]) -> torch.Tensor:
        return self.norm(self.layer(batch["image"])).square().mean()

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        if self.fail_at is not None and self.trainer.fit_loop.total_batch_idx == self.fail_at:
            raise RuntimeError("failed on purpose")
        loss = self.loss(batch)
        self.log("loss", loss)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: dict[str, Any], batch_idx: int) -> None:
        self.note("train", batch, batch_idx)
        if self.kill_at == self.trainer.fit_loop.total_batch_idx and (
            self.global_rank == self.kill_rank
        ):
            os.kill(os.getpid(), getattr(signal, self.kill_signal))

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.note("val", batch, batch_idx)
        self.log("val_loss", self.loss(batch), sync_dist=True)

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.note("test", batch, batch_idx)

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        self.note("predict", batch, batch_idx)
        return batch["index"]

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=1e-3)
        if not self.one_cycle:
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def trainer_of(out: Path, callbacks: list[Any] | None = None, **changes: Any) -> L.Trainer:
    """A quiet Trainer on CPU."""
    settings: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": 1,
        "logger": False,
        "enable_checkpointing": bool(callbacks),
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "default_root_dir": str(out),
        "callbacks": callbacks,
    }
    return L.Trainer(**(settings | changes))


class Impatient(DDPStrategy):
    """Gives up an ordinary barrier after a few seconds; processes may take longer to come up."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def setup_distributed(self) -> None:
        super().setup_distributed()
        distributed_c10d._set_pg_timeout(timedelta(seconds=self.seconds))


def every_step(folder: Path, **options: Any) -> ModelCheckpoint:
    """A checkpoint after each step, named by it."""
    return ModelCheckpoint(
        folder, filename="{step}", save_top_k=-1, **({"every_n_train_steps": 1} | options)
    )


def main(file: str) -> None:
    """Run what a settings file says, as one rank."""
    job = json.loads(Path(file).read_text())
    out = Path(job["out"])
    rank = int(os.environ.get("LOCAL_RANK", 0))
    config = job.get("config_of_rank", {}).get(str(rank), job["config"])
    model = Recorder(out / f"{job['run']}-rank{rank}.jsonl", **job.get("model", {}))
    fitting = job["action"] == "fit"
    callbacks = [every_step(out / "checkpoints"), BucketMonitor()] if fitting else None
    settings = job.get("trainer", {})
    if "impatient" in job:
        settings["strategy"] = Impatient(job["impatient"])
    trainer = trainer_of(out, callbacks, **settings)
    arguments = {"ckpt_path": job["checkpoint"]} if job.get("checkpoint") else {}
    getattr(trainer, job["action"])(model, datamodule=BucketDataModule(config), **arguments)
    metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
    (out / f"{job['run']}-rank{rank}-metrics.json").write_text(json.dumps(metrics))


if __name__ == "__main__":
    main(sys.argv[1])
