"""What loggers are told: the plan in sum, and how fast images come, by a clock of our own."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from conftest import paint
from job import Recorder, trainer_of
from lightning.pytorch.loggers import CSVLogger, Logger

from lit_buckets import BucketDataModule, BucketMonitor, ConfigError, callbacks, loader

LOADING, STEP, VALIDATION = 1.0, 3.0, 100.0  # seconds


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only where a test says so."""
    now = SimpleNamespace(seconds=0.0)
    fake = SimpleNamespace(perf_counter=lambda: now.seconds)
    monkeypatch.setattr(loader, "time", fake)
    monkeypatch.setattr(callbacks, "time", fake)
    return now


class Model(Recorder):
    """Steps and validation take time."""

    def __init__(self, clock) -> None:
        super().__init__()
        self.clock = clock

    def training_step(self, batch, batch_idx):
        self.clock.seconds += STEP
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        self.clock.seconds += VALIDATION
        return super().validation_step(batch, batch_idx)


class Kept(Logger):
    """A logger like a tracking service's: it keeps what it is given."""

    name, version = "kept", 0

    def __init__(self) -> None:
        super().__init__()
        self.metrics: list[tuple[int, dict]] = []
        self.hparams: dict = {}

    def log_metrics(self, metrics, step=None):
        self.metrics.append((step, dict(metrics)))

    def log_hyperparams(self, params):
        self.hparams |= params

    def of(self, name: str) -> dict[int, float]:
        """Values by step."""
        return {step: metrics[name] for step, metrics in self.metrics if name in metrics}


def datamodule(folder: Path, cache: Path, clock=None, **batches) -> BucketDataModule:
    """Twelve images of two shapes in batches of four; each image takes its time to load."""

    def slow(image, _):
        clock.seconds += LOADING / 4
        return image

    config = {
        "data": {"train": str(folder), "val": str(folder), "cache_dir": str(cache)},
        "buckets": {"max_area": 64 * 64, "divisor": 16},
        "batches": {"batch_size": 4} | batches,
        "loader": {"num_workers": 0},
    }
    return BucketDataModule(config, train_transform=slow if clock else None)


@pytest.fixture
def twelve(tmp_path) -> Path:
    return paint(tmp_path / "twelve", 12, [(64, 64), (32, 128), (64, 64)])


def test_waiting_and_speed_are_what_the_clock_says(twelve, tmp_path, clock):
    kept = Kept()
    trainer_of(
        tmp_path,
        [BucketMonitor()],
        logger=kept,
        max_epochs=3,
        log_every_n_steps=1,
        val_check_interval=1,  # a hundred seconds pass between any two steps
        num_sanity_val_steps=1,
        enable_checkpointing=False,
    ).fit(Model(clock), datamodule=datamodule(twelve, tmp_path, clock))
    speed, share = kept.of("data/images_per_second"), kept.of("data/wait_share")
    assert list(speed) == list(range(9))
    assert set(speed.values()) == {4 / (LOADING + STEP)}
    assert set(share.values()) == {LOADING / (LOADING + STEP)}
    heights, widths = kept.of("data/height"), kept.of("data/width")
    sizes = [(heights[step], widths[step]) for step in range(9)]
    assert sorted(sizes) == [(32, 128)] * 3 + [(64, 64)] * 6
    assert len({tuple(sizes[i : i + 3]) for i in (0, 3, 6)}) > 1  # of each step, not of an epoch


def test_steps_between_two_reports_count_together(twelve, tmp_path, clock):
    kept, model = Kept(), Model(clock)
    seconds = iter([3.0, 5.0, 7.0, 9.0, 3.0, 3.0, 3.0, 3.0, 3.0])

    def training_step(batch, batch_idx):
        clock.seconds += next(seconds) - STEP
        return Model.training_step(model, batch, batch_idx)

    model.training_step = training_step
    trainer_of(
        tmp_path,
        [BucketMonitor()],
        logger=kept,
        max_epochs=3,
        log_every_n_steps=4,  # not the three of an epoch
        enable_checkpointing=False,
    ).fit(model, datamodule=datamodule(twelve, tmp_path, clock))
    speed, share = kept.of("data/images_per_second"), kept.of("data/wait_share")
    assert speed == {3: pytest.approx(16 / 28), 7: pytest.approx(16 / 16)}
    assert share == {3: pytest.approx(4 / 28), 7: pytest.approx(4 / 16)}


def test_with_accumulation_every_batch_counts(twelve, tmp_path, clock):
    kept = Kept()
    trainer_of(
        tmp_path,
        [BucketMonitor()],
        logger=kept,
        max_epochs=2,
        log_every_n_steps=1,
        accumulate_grad_batches=3,
        enable_checkpointing=False,
    ).fit(Model(clock), datamodule=datamodule(twelve, tmp_path, clock))
    assert kept.of("data/images_per_second") == {0: 1.0, 1: 1.0}
    assert kept.of("data/wait_share") == {0: 0.25, 1: 0.25}


def test_an_epoch_is_accounted_for(tmp_path, clock):
    folder, kept = paint(tmp_path / "ten", 10, [(64, 64)]), Kept()
    dm = datamodule(folder, tmp_path, clock, short_batch="repeat")
    trainer = trainer_of(tmp_path, [BucketMonitor()], logger=kept, enable_checkpointing=False)
    trainer.fit(Model(clock), datamodule=dm)
    assert set(kept.of("data/epoch_images").values()) == {10}
    assert set(kept.of("data/epoch_filled").values()) == {2}
    told = kept.hparams["train_data"]
    assert told["epoch"]["samples"] == 10
    assert told["epoch"]["filled"] == 2
    assert told["plan"]["hash"] == dm.plan.hash
    assert told["plan"]["images"] == 10
    assert told["plan"]["buckets"] == 1


def test_fillers_are_no_images(tmp_path, clock):
    folder, kept = paint(tmp_path / "ten", 10, [(64, 64)]), Kept()
    dm = datamodule(folder, tmp_path, clock, short_batch="repeat", shuffle=False)
    options = {"logger": kept, "log_every_n_steps": 3, "enable_checkpointing": False}
    trainer_of(tmp_path, [BucketMonitor()], **options).fit(Model(clock), datamodule=dm)
    assert kept.of("data/images_per_second") == {2: pytest.approx(10 / 12)}


def test_several_loaders_make_one_step(twelve, tmp_path, clock):
    """A batch of two loaders is there when both are, and has the images of both."""

    class Two(Model):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch["one"], batch_idx)

        def on_train_batch_end(self, outputs, batch, batch_idx):
            pass

    class Both(BucketDataModule):
        def train_dataloader(self):
            return {"one": self.loader("train"), "other": self.loader("train")}

        def on_after_batch_transfer(self, batch, dataloader_idx=0):
            if "image" in batch:
                return super().on_after_batch_transfer(batch)
            return {k: super(Both, self).on_after_batch_transfer(v) for k, v in batch.items()}

    plain, kept = datamodule(twelve, tmp_path, clock), Kept()
    dm = Both(plain.config, train_transform=plain.train_transform)
    options = {"logger": kept, "log_every_n_steps": 1, "enable_checkpointing": False}
    trainer_of(tmp_path, [BucketMonitor()], **options).fit(Two(clock), datamodule=dm)
    seconds = 2 * LOADING + STEP
    for step in range(3):
        assert kept.of("data/images_per_second")[step] == pytest.approx(8 / seconds)
        assert kept.of("data/wait_share")[step] == pytest.approx(2 * LOADING / seconds)


def test_what_cannot_be_measured_is_refused(twelve, tmp_path):
    plain = torch.utils.data.DataLoader([torch.zeros(1)])
    with pytest.raises(ConfigError, match="there is none among the 1 training loaders"):
        trainer_of(tmp_path, [BucketMonitor()], enable_checkpointing=False).fit(
            Recorder(), train_dataloaders=plain
        )

    class Loses(BucketDataModule):
        def on_after_batch_transfer(self, batch, dataloader_idx=0):
            return {"image": batch["image"].float()}

    class Model(Recorder):
        def training_step(self, batch, batch_idx):
            return self.layer(batch["image"]).mean()

        def on_train_batch_end(self, outputs, batch, batch_idx):
            pass

    with pytest.raises(ConfigError, match="counts the field 'valid'"):
        trainer_of(tmp_path, [BucketMonitor()], enable_checkpointing=False).fit(
            Model(), datamodule=Loses(datamodule(twelve, tmp_path).config)
        )


def test_csv_files_hold_it_all(twelve, tmp_path):
    logger = CSVLogger(tmp_path / "logs")
    trainer = trainer_of(
        tmp_path, [BucketMonitor(prog_bar=True)], logger=logger, log_every_n_steps=1
    )
    trainer.fit(Recorder(), datamodule=datamodule(twelve, tmp_path))
    with (Path(logger.log_dir) / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sum(bool(row["data/wait_share"]) for row in rows) == 3
    hparams = yaml.safe_load((Path(logger.log_dir) / "hparams.yaml").read_text())
    assert hparams["train_data"]["epoch"]["rounds"] == 3
    assert hparams["config"]["batches"]["batch_size"] == 4
    assert {"data/images_per_second", "data/wait_share"} <= set(trainer.progress_bar_metrics)


def test_checkpoints_hold_plain_values_alone(twelve, tmp_path):
    trainer = trainer_of(tmp_path, [BucketMonitor()], logger=CSVLogger(tmp_path / "logs"))
    dm = datamodule(twelve, tmp_path)
    trainer.fit(Recorder(), datamodule=dm)
    file = tmp_path / "last.ckpt"
    trainer.save_checkpoint(file)
    kept = torch.load(file, weights_only=True)
    assert set(kept["datamodule_hyper_parameters"]) == {"config"}
    assert kept["BucketDataModule"]["train"]["plan"] == dm.plan.hash
    again = BucketDataModule.load_from_checkpoint(file, weights_only=True)
    assert again.config == dm.config
