"""Under LightningCLI."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from cli_job import Mean
from lightning.pytorch.cli import LightningCLI

from lit_buckets import BucketDataModule, ConfigError, load_config

JOB = Path(__file__).with_name("cli_job.py")
QUIET = [
    "--trainer.accelerator=cpu",
    "--trainer.devices=1",
    "--trainer.max_steps=2",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--trainer.callbacks+=lit_buckets.BucketMonitor",
    "--trainer.log_every_n_steps=1",
    "--trainer.logger=CSVLogger",
    "--trainer.logger.save_dir=.",
]


@pytest.fixture
def config(images, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "config.yaml"
    file.write_text(
        f"data: {{train: {images}}}\n"
        "buckets: {max_area: 4096, divisor: 16}\n"
        "batches: {batch_size: 4}\n"
        "loader: {num_workers: 0}\n"
    )
    return file


def parsed(settings: dict) -> BucketDataModule:
    """What LightningCLI makes of a configuration file, in this process."""
    cli = LightningCLI(Mean, BucketDataModule, args=settings, run=False, seed_everything_default=0)
    return cli.datamodule


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "PL_"))}
    command = [sys.executable, "-W", "ignore", str(JOB), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)


@pytest.mark.slow
def test_a_configuration_by_its_path_with_overrides(config, tmp_path):
    done = run("fit", "--data.config=config.yaml", "--data.overrides+=batches.seed=7", *QUIET)
    assert done.returncode == 0, done.stderr[-3000:]
    out = tmp_path / "lightning_logs" / "version_0"
    told = yaml.safe_load((out / "hparams.yaml").read_text())
    assert told["config"]["batches"] == told["config"]["batches"] | {"batch_size": 4, "seed": 7}
    assert told["train_data"]["plan"]["images"] == 45
    assert "data/images_per_second" in (out / "metrics.csv").read_text()
    # what it saved describes the same run
    assert parsed({"data": yaml.safe_load((out / "config.yaml").read_text())["data"]}).config == (
        load_config(config, ["batches.seed=7"])
    )
    (checkpoint,) = (out / "checkpoints").iterdir()
    kept = torch.load(checkpoint, weights_only=True)
    assert kept["BucketDataModule"]["train"]["seed"] == 7
    loaded = BucketDataModule.load_from_checkpoint(checkpoint, weights_only=True)
    assert loaded.config == load_config(config, ["batches.seed=7"])


def test_a_configuration_within_the_trainers_own(config):
    sections = yaml.safe_load(config.read_text())
    assert parsed({"data": {"config": sections}}).config == load_config(config)
    sections["buckets"]["divisr"] = sections["buckets"].pop("divisor")
    with pytest.raises(ConfigError, match=r"Did you mean buckets\.divisor\?"):
        parsed({"data": {"config": sections}})
