"""A training script that leaves everything to LightningCLI: ``python cli_job.py fit --data...``."""

from __future__ import annotations

import lightning as L
import torch
from lightning.pytorch.cli import LightningCLI

from lit_buckets import BucketDataModule


class Mean(L.LightningModule):
    """Learns the mean colour."""

    def __init__(self, learning_rate: float = 1e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.colour = torch.nn.Parameter(torch.zeros(3, 1, 1))

    def training_step(self, batch: dict, batch_idx: int) -> torch.Tensor:
        return (batch["image"] - self.colour).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), self.hparams.learning_rate)


if __name__ == "__main__":
    LightningCLI(Mean, BucketDataModule)
