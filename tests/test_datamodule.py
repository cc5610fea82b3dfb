"""Buckets of every kind through the datamodule: from YAML to batches."""

from __future__ import annotations

import errno
import os
from collections import Counter
from io import StringIO

import numpy as np
import pytest
from conftest import paint
from PIL import Image
from pyarrow import csv
from rich.console import Console

from lit_buckets import BucketDataModule, DataError, geometry
from lit_buckets.testing import assert_resumable


def module_of(folder, tmp_path, **sections) -> BucketDataModule:
    base = {
        "data": {"train": str(folder), "cache_dir": str(tmp_path / "cache")},
        "buckets": {"max_area": 64 * 64, "divisor": 16},
        "loader": {"num_workers": 0},
    }
    dm = BucketDataModule(base | sections)
    dm.prepare_data()
    dm.setup("fit")
    return dm


@pytest.mark.parametrize("val", [None, 0.2])
def test_a_read_only_cache_serves_a_second_start(tmp_path, monkeypatch, val):
    folder, cache = paint(tmp_path / "images", 10), str(tmp_path / "cache")
    first = module_of(folder, tmp_path, data={"train": str(folder), "val": val, "cache_dir": cache})

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for name in ("files.replace_file", "mapped.replace_file"):
        monkeypatch.setattr(f"lit_buckets.manifest.{name}", refuse)
    again = module_of(folder, tmp_path, data={"train": str(folder), "val": val, "cache_dir": cache})
    assert again.plan.hash == first.plan.hash
    with pytest.raises(DataError, match=r"cache_dir=.*cache' cannot be written: Read-only"):
        module_of(folder, tmp_path, data={"train": str(folder), "val": 0.5, "cache_dir": cache})


def test_without_any_image_the_first_reason_is_told(tmp_path):
    folder = paint(tmp_path / "images", 4)
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes()[:-30])
    dm = module_of(folder, tmp_path, batches={"batch_size": 2})
    with pytest.raises(DataError, match="none of the 4 images can be decoded"):
        next(iter(dm.train_dataloader()))
    reason = r"none of the 4 train images is in the plan; of '.*image_0000.png': .*truncated"
    with pytest.raises(DataError, match=reason):
        module_of(folder, tmp_path)


def test_an_evaluation_without_any_image_is_told(images, tmp_path, caplog):
    val = str(paint(tmp_path / "val", 3, sizes=[(61, 43)]))
    data = {"train": str(images), "val": val, "cache_dir": str(tmp_path / "cache")}
    dm = module_of(images, tmp_path, data=data, buckets={"rule": "native", "divisor": 16})
    assert "none of the 3 val images is in the plan; of " in caplog.text
    assert list(dm.val_dataloader()) == []


@pytest.mark.parametrize("world", [1, 3])
def test_several_resolutions_repeats_and_batches_by_pixels(tmp_path, world):
    paint(tmp_path / "often", 20)
    paint(tmp_path / "once", 41)
    dm = module_of(
        tmp_path,
        tmp_path,
        data={
            "train": [
                {"path": str(tmp_path / "often"), "repeats": 3},
                {"path": str(tmp_path / "once")},
            ],
            "cache_dir": str(tmp_path / "cache"),
        },
        buckets={"max_area": [64 * 64, 32 * 32, 96 * 96], "divisor": 16},
        batches={"batch_size": None, "max_pixels": 96 * 96},
    )
    paths, repeats = dm.manifest_of("train").paths, dm.manifest_of("train").repeats
    assert len(set(dm.plan.bucket_sizes.prod(axis=1) > 64 * 64)) == 2
    for epoch in range(2):
        came: Counter[int] = Counter()
        steps = set()
        for rank in range(world):
            loader = dm.loader("train", num_replicas=world, rank=rank)
            loader.set_epoch(epoch)
            batches = list(loader)
            steps.add(len(batches))
            for batch in batches:
                count, _, height, width = batch["image"].shape
                assert count * height * width <= 96 * 96
                came += Counter(batch["index"][batch["valid"]].tolist())
        assert len(steps) == 1
        assert came == {i: int(repeats[i]) for i in range(len(paths))}
    assert Counter(repeats.tolist()) == {3: 20, 1: 41}
    console = Console(width=200, record=True, file=StringIO())
    console.print(dm.summary())
    text = console.export_text()
    assert f"{tmp_path / 'often'}: 20 images x 3 = 60 samples" in text
    assert f"{tmp_path / 'once'}: 41 images x 1 = 41 samples" in text
    assert "together: 61 images, 101 samples" in text
    assert "resolutions: 7 images at 9,216 pixels + 54 at 4,096 = 61 in all" in text


@pytest.mark.parametrize("world", [1, 3])
@pytest.mark.parametrize("upscale", [True, False])
def test_every_image_at_all_of_its_resolutions(tmp_path, world, upscale):
    paint(tmp_path / "often", 12)
    paint(tmp_path / "once", 21)
    areas = [32 * 32, 96 * 96, 64 * 64]
    dm = module_of(
        tmp_path,
        tmp_path,
        data={
            "train": [
                {"path": str(tmp_path / "often"), "repeats": 2},
                {"path": str(tmp_path / "once")},
            ],
            "cache_dir": str(tmp_path / "cache"),
        },
        buckets={"max_area": areas, "divisor": 16, "resolutions": "all", "upscale": upscale},
        batches={"batch_size": None, "max_pixels": 96 * 96},
    )
    manifest = dm.manifest_of("train")
    wanted: Counter[tuple[int, tuple[int, ...]]] = Counter()
    for index, size in enumerate(manifest.sizes.tolist()):
        for area in areas:
            bucket = geometry.fit([size], max_area=area, divisor=16)[0].tolist()
            if upscale or (bucket[0] <= size[0] and bucket[1] <= size[1]):
                wanted[index, tuple(bucket)] += int(manifest.repeats[index])
    for epoch in range(2):
        came: Counter[tuple[int, tuple[int, ...]]] = Counter()
        for rank in range(world):
            loader = dm.loader("train", num_replicas=world, rank=rank)
            loader.set_epoch(epoch)
            for batch in loader:
                for index in batch["index"][batch["valid"]].tolist():
                    came[index, tuple(batch["image"].shape[2:])] += 1
        assert came == wanted
    assert sum(dm.plan.resolutions.values()) == len(dm.plan) - len(dm.plan.excluded)
    assert dm.plan.images == len(manifest) == 33
    if upscale:
        assert list(dm.plan.resolutions.values()) == [33, 33, 33]
    assert_resumable(dm, world_sizes=(1, 2), num_workers=(0,), every=9)


def test_a_trimmed_image_keeps_its_pixels(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (3, 70, 101, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{number}.png")
    Image.fromarray(pixels[0, :20, :15]).save(folder / "small.png")
    limits = {"rule": "native", "trim": True, "max_area": 64 * 96, "divisor": 16}
    dm = module_of(folder, tmp_path, buckets=limits, batches={"batch_size": 3})
    assert dm.plan.bucket_sizes.tolist() == [[64, 96]]
    assert dm.plan.excluded == {3: "its 20x15 pixels are less than divisor=16"}
    assert dm.plan.crop_loss[0] == pytest.approx(1 - 64 * 96 / (70 * 101))
    batch = next(iter(dm.train_dataloader()))
    assert batch["crop_top_left"].tolist() == [[3, 2]] * 3
    for index, image in zip(batch["index"].tolist(), batch["image"], strict=True):
        assert np.array_equal(image.permute(1, 2, 0), pixels[index, 3 : 3 + 64, 2 : 2 + 96])
    dm.write_plan(tmp_path / "plan.csv")
    row = csv.read_csv(tmp_path / "plan.csv").to_pylist()[0]
    assert (row["resized_height"], row["resized_width"]) == (70, 101)


@pytest.mark.parametrize(
    "buckets",
    [
        {"rule": "ladder", "max_area": 64 * 64, "divisor": 16},
        {"rule": "list", "sizes": [[64, 64], [48, 80], [80, 48]], "divisor": 16},
        {"rule": "list", "sizes": "pixart_512", "divisor": 32},
        {"rule": "native", "divisor": 16},
        {"max_buckets": 2, "max_area": 64 * 64, "divisor": 16},
        {"upscale": False, "divisor": 16},
    ],
)
def test_every_rule_makes_batches(images, tmp_path, buckets):
    dm = module_of(images, tmp_path, buckets=buckets)
    came: Counter[int] = Counter()
    for batch in dm.train_dataloader():
        assert tuple(batch["image"].shape[2:]) in set(map(tuple, dm.plan.bucket_sizes.tolist()))
        came += Counter(batch["index"][batch["valid"]].tolist())
    assert came == Counter(set(range(len(dm.plan))) - set(dm.plan.excluded))
    if buckets.get("rule") == "native":
        assert len(dm.plan.excluded) == 12
        assert all("no multiples of divisor=16" in why for why in dm.plan.excluded.values())
    else:
        assert not dm.plan.excluded


def test_what_the_plan_says_is_what_comes(images, tmp_path):
    dm = module_of(images, tmp_path)
    dm.write_plan(tmp_path / "plan.csv")
    told = {row["path"]: row for row in csv.read_csv(tmp_path / "plan.csv").to_pylist()}
    for batch in dm.train_dataloader():
        for path, corner in zip(batch["path"], batch["crop_top_left"].tolist(), strict=True):
            row = told[path]
            assert corner == [row["crop_top"], row["crop_left"]]
            assert [row["bucket_height"], row["bucket_width"]] == list(batch["image"].shape[2:])


def test_a_pinned_plan_stays_whatever_the_settings(tmp_path):
    folder = paint(tmp_path / "images", 30)
    first = module_of(folder, tmp_path)
    first.plan.save(tmp_path / "plan.arrow")
    pinned = {"max_area": 32 * 32, "divisor": 16, "plan": str(tmp_path / "plan.arrow")}
    again = module_of(folder, tmp_path, buckets=pinned)
    assert again.plan.hash == first.plan.hash
    orders = [[b["index"].tolist() for b in dm.train_dataloader()] for dm in (first, again)]
    assert orders[0] == orders[1]
    assert np.array_equal(again.plan.bucket_sizes, first.plan.bucket_sizes)
    with pytest.raises(DataError, match=r"was made with transform\.fit=crop; now it is pad"):
        module_of(folder, tmp_path, buckets=pinned, transform={"fit": "pad"})
    paint(folder, 31)
    with pytest.raises(DataError, match=r"it has 30 images, data\.train has 31"):
        module_of(folder, tmp_path, buckets=pinned)
