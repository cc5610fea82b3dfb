"""A configuration that suits the images."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from conftest import paint
from PIL import Image

from lit_buckets import BucketDataModule, DataError, load_config
from lit_buckets.draft import draft


def of_sizes(folder, sizes):
    """Images whose pixels do not matter."""
    folder.mkdir(parents=True)
    for number, (height, width) in enumerate(sizes):
        Image.new("L", (width, height)).save(folder / f"{number:05d}.png")
    return folder


@pytest.mark.parametrize(
    ("sizes", "side", "divisor"),
    [
        ([(1100, 1000)] * 20, 1024, 64),
        ([(1024, 1024)] * 18 + [(100, 100)] * 2, 1024, 64),  # a tenth may be enlarged
        ([(1024, 1024)] * 17 + [(100, 100)] * 3, 64, 8),  # more must not
        ([(600, 800)] * 20, 512, 64),
        ([(375, 500)] * 20, 384, 32),
        ([(300, 300)] * 20, 256, 32),
        ([(130, 130)] * 20, 128, 16),
        ([(10, 10)] * 20, 64, 8),
    ],
)
def test_the_budget_is_what_images_have(tmp_path, sizes, side, divisor):
    found = draft(of_sizes(tmp_path / "images", sizes), cache_dir=str(tmp_path / "cache"))
    buckets = found.config["buckets"]
    assert (buckets["max_area"], buckets["divisor"]) == (side**2, divisor)
    assert f"This is {side} squared" in found.text.replace("\n  # ", " ")


def test_shapes_are_few_where_that_costs_little(tmp_path):
    dice = np.random.default_rng(0)
    sizes = dice.integers(300, 600, (400, 2)).tolist()
    found = draft(of_sizes(tmp_path / "images", sizes), cache_dir=str(tmp_path / "cache"))
    number = found.config["buckets"]["max_buckets"]
    assert 1 < number <= 400 // 32
    dm = BucketDataModule(load_config(found.config))
    dm.prepare_data()
    dm.setup()
    assert len(dm.plan.bucket_sizes) <= number
    free = load_config(found.config, ["buckets.max_buckets=null"])
    all_shapes = BucketDataModule(free)
    all_shapes.setup()
    asked = len(all_shapes.plan.bucket_sizes)
    assert asked > number
    assert f"ask for {asked}, which cut" in found.reasons["buckets.max_buckets"]


@pytest.mark.parametrize("count", [5, 40])
def test_a_small_folder_is_not_cut_to_one_shape(tmp_path, count):
    found = draft(paint(tmp_path / "images", count), cache_dir=str(tmp_path / "cache"))
    losses = []
    for overrides in ([], ["buckets.max_buckets=null"]):
        dm = BucketDataModule(load_config(found.config, overrides))
        dm.prepare_data()
        dm.setup()
        losses.append(dm.plan.crop_loss.mean())
    assert losses[0] <= losses[1] + 0.005


def test_one_shape_needs_no_limit(tmp_path):
    found = draft(of_sizes(tmp_path / "images", [(64, 64)] * 9), cache_dir=str(tmp_path / "c"))
    assert found.config["buckets"]["max_buckets"] is None
    assert found.config["batches"]["batch_size"] == 8


@pytest.mark.parametrize(("count", "share"), [(3, None), (199, None), (200, 0.05), (1000, 0.02)])
def test_a_share_to_validate_on_where_there_are_enough(tmp_path, count, share):
    found = draft(of_sizes(tmp_path / "images", [(8, 8)] * count), cache_dir=str(tmp_path / "c"))
    assert found.config["data"]["val"] == share
    assert found.config["batches"]["batch_size"] == min(8, count)


def test_captions_are_taken_where_there_are_any(tmp_path):
    folder = paint(tmp_path / "images", 5)
    bare = draft(folder, cache_dir=str(tmp_path / "cache"))
    assert bare.config["data"]["train"] == {"path": str(folder), "captions": None}
    (folder / "image_0002.txt").write_text("a caption")
    found = draft(folder, cache_dir=str(tmp_path / "cache"))
    assert found.config["data"]["train"] == {"path": str(folder)}
    assert "5 images, 1 of them with captions" in found.reasons["data.train"]


def test_a_table_is_a_source_like_any_other(tmp_path):
    folder = paint(tmp_path / "images", 5)
    rows = [{"path": file.name, "caption": "x"} for file in sorted(folder.glob("*.png"))]
    table = folder / "rows.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows[:4]))
    found = draft(str(table), cache_dir=str(tmp_path / "cache"))
    assert found.config["data"]["train"] == {"path": str(table)}
    assert "4 images, 4 of them with captions" in found.reasons["data.train"]


def test_the_text_is_the_configuration_and_explains_every_key(tmp_path):
    folder = paint(tmp_path / "odd: #name {x}", 9)
    found = draft(folder, cache_dir=str(tmp_path / "cache"))
    assert yaml.safe_load(found.text) == found.config
    file = tmp_path / "config.yaml"
    file.write_text(found.text)
    assert load_config(file) == load_config(found.config)
    lines = found.text.splitlines()
    for section, values in found.config.items():
        for key in values:
            place = next(i for i, line in enumerate(lines) if line.startswith(f"  {key}:"))
            assert lines[place - 1].startswith("  # "), f"{section}.{key}"
    assert max(map(len, lines)) <= 100 or str(folder) in found.text


def test_a_folder_without_images_is_an_error(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no image"):
        draft(tmp_path / "empty", cache_dir=str(tmp_path / "cache"))
