"""Every file of configs/ loads, plans real images and trains a step."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from conftest import SHARED, paint
from job import Recorder, trainer_of

from lit_buckets import BucketDataModule, load_config

CONFIGS = sorted(file.stem for file in (Path(__file__).parents[1] / "configs").glob("*.yaml"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Real photographs where there are some; otherwise painted images of ordinary sizes."""
    if (SHARED / "photos").is_dir():
        return SHARED / "photos"
    sizes = [(480, 640), (640, 480), (1080, 1920), (600, 600), (700, 500), (400, 900)]
    return paint(tmp_path_factory.mktemp("photos"), 120, sizes)


@pytest.fixture(scope="module")
def table(folder, tmp_path_factory) -> Path:
    """The same images with a label each."""
    file = tmp_path_factory.mktemp("table") / "train.csv"
    names = sorted(p.relative_to(folder) for p in folder.rglob("*") if p.suffix in (".jpg", ".png"))
    with file.open("w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(["path", "label"])
        writer.writerows((name.as_posix(), number % 10) for number, name in enumerate(names))
    return file


def module_of(config: str, source: str | Path, tmp_path: Path, *more: str) -> BucketDataModule:
    """A recipe on the images at hand."""
    file = Path(__file__).parents[1] / "configs" / f"{config}.yaml"
    overrides = [f"data.train={source}", f"data.cache_dir={tmp_path}", "loader.num_workers=0"]
    return BucketDataModule(load_config(file, [*overrides, *more]))


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS)
def test_a_recipe_plans_and_trains(config, folder, table, tmp_path):
    """With areas as they are, and a tiny model."""
    source = f"{{path: {table}, image_root: {folder}}}" if config == "classification" else folder
    more = [f"data.test={folder}"] if config == "evaluation_padding" else []
    dm, model = module_of(config, source, tmp_path, *more), Recorder()
    trainer_of(tmp_path, max_steps=1, limit_val_batches=1).fit(model, datamodule=dm)
    [seen] = [record for record in model.records if record["stage"] == "train"]
    assert all(side % dm.config.buckets.divisor == 0 for side in seen["shape"][1:])
    assert len(seen["index"]) > 1
    assert len(dm.plan) > 100
    assert len(dm.plan.excluded) < 0.05 * len(dm.plan)
    assert dm.plan.crop_loss.mean() < 0.1


def first_batch(*module: Any) -> dict[str, Any]:
    dm = module_of(*module, "data.val=null", "data.test=null")
    dm.prepare_data()
    dm.setup("fit")
    return dm.on_after_batch_transfer(next(iter(dm.train_dataloader())))


@pytest.mark.slow
def test_what_recipes_promise_comes_in_their_batches(folder, table, tmp_path):
    labelled = first_batch("classification", f"{{path: {table}, image_root: {folder}}}", tmp_path)
    assert labelled["label"].shape == (len(labelled["image"]),)
    assert labelled["image"].min() < -1  # the statistics of ImageNet, not -1 to 1
    padded = first_batch("evaluation_padding", folder, tmp_path)
    assert (padded["crop_top_left"] == 0).all()
    assert (padded["image"].masked_select(~padded["mask"].expand_as(padded["image"])) == 0).all()
    told = first_batch("sdxl", folder, tmp_path)
    assert (told["target_size"].prod(dim=1) > 900_000).all()
    assert (told["original_size"] > 0).all()
