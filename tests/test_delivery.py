"""From YAML to what a model takes: fits, columns, augmentation, precision; equal wherever made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import paint
from job import trainer_of
from PIL import Image
from pyarrow import csv, parquet
from test_dataset import assert_equal

from lit_buckets import BucketDataModule, ConfigError, DataError

AUGMENT = [
    {"name": "RandomAffine", "degrees": 10, "translate": [0.1, 0.1]},
    {"name": "ColorJitter", "brightness": 0.4, "saturation": 0.4},
    {"name": "RandomErasing", "p": 0.5},
]


def config_of(folder: Path, cache: Path, **sections: dict) -> dict:
    config: dict[str, Any] = {
        "data": {"train": str(folder), "cache_dir": str(cache)},
        "buckets": {"max_area": 64 * 64, "divisor": 16},
        "batches": {"batch_size": 3},
        "loader": {"num_workers": 0},
    }
    for name, values in sections.items():
        config[name] = config.get(name, {}) | values
    return config


def module_of(folder: Path, cache: Path, columns: dict | None = None, **sections) -> Any:
    """A datamodule that is set up to train, on a table of these columns if there are any."""
    config = config_of(folder, cache, **sections)
    if columns is not None:
        config["data"]["train"] = table_of(folder, cache, columns)
    dm = BucketDataModule(config)
    dm.prepare_data()
    dm.setup("fit")
    return dm


def table_of(folder: Path, cache: Path, columns: dict) -> dict:
    """A source: a table of a folder's images, with further columns."""
    cache.mkdir(exist_ok=True)
    paths = {"path": sorted(file.name for file in folder.glob("*.png"))}
    csv.write_csv(pa.table(paths | columns), cache / "table.csv")
    return {"path": str(cache / "table.csv"), "image_root": str(folder)}


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "cache"


# -- the plan tells what comes -----------------------------------------------------------------


@pytest.mark.parametrize(
    "transform",
    [
        {"crop": "top"},
        {"crop": "bottom"},
        {"crop": "focus", "focus": ["left", "top", "right", "bottom"], "focus_unit": "pixels"},
        {"fit": "pad", "background": [0, 0, 0]},
        {"fit": "stretch"},
    ],
    ids=lambda transform: transform.get("fit") or transform["crop"],
)
def test_what_the_plan_says_is_what_comes(images, cache, tmp_path, transform):
    random = np.random.default_rng(0)
    low, high = random.integers(0, 20, (45, 2)), random.integers(20, 48, (45, 2))
    boxes = dict(zip(("left", "top", "right", "bottom"), [*low.T, *high.T], strict=True))
    options = {"columns": boxes, "buckets": {"rule": "list", "sizes": [[64, 64]], "divisor": 16}}
    dm = module_of(images, cache, transform=transform, **options)
    dm.write_plan(tmp_path / "plan.csv")
    told = {row["path"]: row for row in csv.read_csv(tmp_path / "plan.csv").to_pylist()}
    corners = set()
    for batch in dm.train_dataloader():
        assert ("mask" in batch) == (transform.get("fit") == "pad")
        for place, (path, corner) in enumerate(
            zip(batch["path"], batch["crop_top_left"].tolist(), strict=True)
        ):
            row = told[path]
            assert corner == [row["crop_top"], row["crop_left"]]
            corners.add(tuple(corner))
            if "mask" in batch:
                shown = batch["mask"][place, 0].nonzero()
                assert shown.min(0).values.tolist() == [row["pad_top"], row["pad_left"]]
                size = (shown.max(0).values - shown.min(0).values + 1).tolist()
                assert size == [row["resized_height"], row["resized_width"]]
    assert (corners == {(0, 0)}) == (transform.get("fit") is not None)


# -- columns -----------------------------------------------------------------------------------


def test_focus_and_paired_images_under_a_trainer(tmp_path, cache):
    """From a table, in workers: what a training step gets."""
    folder = paint(tmp_path / "images", 20)
    for file in folder.glob("*.png"):
        labels = np.asarray(Image.open(file))[..., 1]
        (folder / "labels").mkdir(exist_ok=True)
        Image.fromarray(labels).save(folder / "labels" / file.name)
    names = sorted(file.name for file in folder.glob("*.png"))
    columns = {
        "x": [10.0] * 20,
        "z": [5.0 if i % 2 else None for i in range(20)],
        "again": names,
        "classes": [f"labels/{name}" for name in names],
    }
    transform = {
        "crop": "focus",
        "focus": ["x", "z"],
        "focus_unit": "pixels",
        "flip": 0.5,
        "augment": AUGMENT,
        "paired": {"again": "image", "classes": "labels"},
    }
    config = config_of(folder, cache, transform=transform, loader={"num_workers": 2})
    config["data"]["train"] = table_of(folder, cache, columns)
    model = LookAtPairs()
    trainer_of(tmp_path, max_epochs=1).fit(model, datamodule=BucketDataModule(config))
    assert model.count == 20


class LookAtPairs(L.LightningModule):
    """Holds pairs against their images."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.count = 0

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        assert batch["image"].dtype == batch["again"].dtype == torch.float32
        assert torch.equal(batch["image"], batch["again"])
        assert batch["classes"].dtype == torch.int64
        assert batch["classes"].shape == batch["image"].shape[:1] + batch["image"].shape[2:]
        assert batch["classes"].max() > 0
        self.count += len(batch["image"])
        return self.layer.weight.square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_images_without_a_pair_are_left_out_beforehand(images, cache, tmp_path, caplog):
    names = sorted(file.name for file in images.glob("*.png"))
    more = paint(tmp_path / "more", 3)
    columns = {"again": [None, "", *names[2:]]}
    config = config_of(images, cache, transform={"paired": {"again": "image"}})
    config["data"] |= {"train": [table_of(images, cache, columns), str(more)], "max_failures": 0}
    dm = BucketDataModule(config)
    dm.prepare_data()
    dm.setup("fit")
    reason = "its again names no image"
    assert dm.plan.excluded == dict.fromkeys([0, 1, 45, 46, 47], reason)
    first = str(images / names[0])
    assert f"5 of 48 images are left out, such as {first!r}: {reason}." in caplog.text
    batches = list(dm.train_dataloader())
    assert sorted(i for batch in batches for i in batch["index"].tolist()) == list(range(2, 45))


def test_columns_that_are_missing_are_refused_in_training(images, cache):
    for transform, message in (
        (
            {"crop": "focus", "focus": ["x", "z"]},
            "transform.focus=[x, z] must name columns of the training images; z is not among x. "
            "Correct the name, or add the column to the table.",
        ),
        (
            {"paired": {"depth": "image"}},
            "transform.paired=[depth] must name columns of the training images; depth is not among "
            "x. Correct the name, or add the column to the table.",
        ),
    ):
        with pytest.raises(ConfigError) as error:
            module_of(images, cache, {"x": [0.5] * 45}, transform=transform)
        assert str(error.value) == message


def test_other_stages_may_lack_them(images, cache, tmp_path, caplog):
    transform = {"crop": "focus", "focus": ["x", "z"], "paired": {"depth": "image"}}
    config = config_of(images, cache, data={"test": str(images)}, transform=transform)
    dm = BucketDataModule(config)
    dm.prepare_data()
    dm.setup("test")
    assert "the test images have no column x, z" in caplog.text
    batch = next(iter(dm.test_dataloader()))
    resized = [row["resized_width"] for row in rows_of(dm, tmp_path, batch["path"])]
    lefts = [(width - batch["image"].shape[3]) // 2 for width in resized]
    assert batch["crop_top_left"][:, 1].tolist() == lefts
    assert "depth" not in batch
    dm.on_after_batch_transfer(batch)


def rows_of(dm: Any, tmp_path: Path, paths: list[str]) -> list[dict]:
    dm.write_plan(tmp_path / "plan.csv", "test")
    rows = {row["path"]: row for row in csv.read_csv(tmp_path / "plan.csv").to_pylist()}
    return [rows[path] for path in paths]


def test_columns_that_do_not_hold_what_they_should_are_refused(images, cache):
    transform = {"crop": "focus", "focus": ["x", "z"]}
    with pytest.raises(DataError, match="lies outside of its image; x=900, z=1"):
        module_of(images, cache, {"x": [900.0] * 45, "z": [1.0] * 45}, transform=transform)
    with pytest.raises(DataError, match="column 'depth' must hold paths of paired images; it"):
        module_of(images, cache, {"depth": [1] * 45}, transform={"paired": {"depth": "image"}})


@pytest.mark.parametrize("largest", [2**63 - 1, 2**63])
def test_integers_beyond_those_of_a_batch_are_refused_at_the_start(images, cache, largest):
    cache.mkdir()
    names = sorted(file.name for file in images.glob("*.png"))
    hashes = pa.array([largest, *range(len(names) - 1)], pa.uint64())
    parquet.write_table(pa.table({"path": names, "hash": hashes}), cache / "table.parquet")
    source = {"path": str(cache / "table.parquet"), "image_root": str(images)}
    if largest < 2**63:
        dm = module_of(images, cache, data={"train": source})
        assert any(largest in batch["hash"].tolist() for batch in dm.train_dataloader())
        return
    message = r"column 'hash' must hold integers below 2\*\*63.* its largest is 9223372036854775808"
    with pytest.raises(DataError, match=message):
        module_of(images, cache, data={"train": source})


def test_decimal_numbers_come_as_float32(images, cache):
    dm = module_of(images, cache, {"time": [1_700_000_000.25] * 45, "count": [3] * 45})
    batch = next(iter(dm.train_dataloader()))
    assert batch["time"].dtype == torch.float32
    assert batch["count"].dtype == torch.int64


def test_paired_images_are_normalised_and_labels_are_not(images, cache):
    names = sorted(file.name for file in images.glob("*.png"))
    columns = {"control": names, "score": [0.5] * 45}
    how = {"mean": [0.25, 0.5, 0.75], "std": [0.5, 0.25, 1.0]}
    transform = {"paired": {"control": "image"}, "normalize": how, "channels_last": True}
    dm = module_of(images, cache, columns, transform=transform)
    raw = next(iter(dm.train_dataloader()))
    batch = dm.on_after_batch_transfer(raw)
    assert raw["image"].dtype == torch.uint8
    mean, std = (torch.tensor(how[name]).reshape(3, 1, 1) for name in ("mean", "std"))
    expected = (raw["image"] / 255 - mean) / std
    for name in ("image", "control"):
        assert batch[name].is_contiguous(memory_format=torch.channels_last)
        assert torch.allclose(batch[name], expected, atol=1e-5)
    assert batch["score"].tolist() == [0.5] * len(raw["image"])
    again = dm.on_after_batch_transfer(batch)  # what is no bytes any more stays
    assert torch.equal(again["image"], batch["image"])


# -- augmentation ------------------------------------------------------------------------------


def test_augmentation_applies_to_training_only(images, cache):
    data = {"val": 0.2}
    plain = module_of(images, cache, data=data)
    changed = module_of(images, cache, data=data, transform={"augment": AUGMENT})
    for stage, same in (("train", False), ("val", True)):
        one, other = (next(iter(dm.loader(stage))) for dm in (plain, changed))
        assert one["index"].tolist() == other["index"].tolist()
        assert torch.equal(one["image"], other["image"]) == same
        assert type(other["image"]) is torch.Tensor


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (
            {"augment": [{"name": "Resize", "size": [32, 32]}]},
            "transform.augment=[{name: Resize, size: [32, 32]}] must keep every image an image "
            "as large as its bucket, in bytes; transform.augment made torch.uint8 of shape (3, "
            "32, 32) of the image of 'a picture of 32x80 pixels'; all in a batch must keep uint8 "
            "and shape (3, 32, 80). Leave out the transform that does not.",
        ),
        (
            {"augment": [{"name": "RandAugment"}], "fit": "pad"},
            "transform.augment=[{name: RandAugment}] must work on the images of every bucket; "
            "torchvision refuses a picture of 32x80 pixels: Inputs of type Mask are not supported "
            "by RandAugment(). Leave out the transform that fails.",
        ),
    ],
)
def test_transforms_that_cannot_be_used_are_refused_before_training(
    images, cache, transform, message
):
    with pytest.raises(ConfigError) as error:
        module_of(images, cache, transform=transform)
    assert str(error.value) == message


@pytest.mark.parametrize("thin", [(32, 256), (256, 32)])
def test_transforms_are_tried_at_the_extreme_sizes_that_images_have(tmp_path, cache, thin):
    shapes = [(64 + 32 * i, 256) for i in range(9)]
    shapes.insert(5, thin)
    folder = tmp_path / "images"
    folder.mkdir()
    for number, (height, width) in enumerate(shapes):
        Image.new("RGB", (width, height)).save(folder / f"{number}.png")
    buckets = {"rule": "list", "sizes": [*map(list, shapes), [4096, 32]], "divisor": 32}
    elastic = {"name": "ElasticTransform", "sigma": 10}
    options = {"buckets": buckets, "transform": {"augment": [elastic]}}
    message = f"refuses a picture of {thin[0]}x{thin[1]} pixels: .*Padding size"
    with pytest.raises(ConfigError, match=message):
        module_of(folder, cache, **options)
    (folder / "5.png").unlink()
    module_of(folder, cache, **options)  # no image has any of the thin sizes


# -- precision ---------------------------------------------------------------------------------


class Look(L.LightningModule):
    """Notes what its batches are."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen: set[torch.dtype] = set()

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        self.seen.add(batch["image"].dtype)
        assert batch["mask"].dtype == torch.bool
        return self.layer.weight.square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [
        ("32-true", torch.float32),
        ("64-true", torch.float64),
        ("16-true", torch.float16),
        ("bf16-true", torch.bfloat16),
        ("bf16-mixed", torch.float32),
        pytest.param(
            "16-mixed",
            torch.float32,
            marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
        ),
    ],
)
def test_images_have_the_precision_of_the_weights(images, cache, tmp_path, precision, dtype):
    model = Look()
    accelerator = "gpu" if precision == "16-mixed" else "cpu"
    trainer = trainer_of(tmp_path, precision=precision, max_steps=2, accelerator=accelerator)
    config = config_of(images, cache, transform={"fit": "pad"})
    trainer.fit(model, datamodule=BucketDataModule(config))
    assert model.seen == {dtype}


# -- a sample is the same wherever it is made ----------------------------------------------------


@pytest.fixture
def paired_module(tmp_path, cache) -> Any:
    """Everything random at once, and a paired image."""
    folder = paint(tmp_path / "images", 26)
    names = sorted(file.name for file in folder.glob("*.png"))
    transform = {"crop": "random", "flip": 0.5, "augment": AUGMENT}
    return module_of(
        folder,
        cache,
        {"control": names},
        transform=transform | {"paired": {"control": "image"}},
        batches={"seed": 5},
        loader={"multiprocessing_context": "fork"},
    )


def samples_of(loader: Any) -> dict[int, dict]:
    """What came, sample by sample."""
    found = {}
    for batch in loader:
        for place, index in enumerate(batch["index"].tolist()):
            if batch["valid"][place]:
                found[index] = {name: values[place] for name, values in batch.items()}
    return found


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_samples_are_equal_over_workers_ranks_and_resumes(paired_module):
    dm, epoch = paired_module, 2

    def load(workers: int, world: int = 1, rank: int = 0, state: dict | None = None) -> dict:
        loader = dm.loader("train", num_replicas=world, rank=rank, num_workers=workers)
        if state is not None:
            loader.load_state_dict(json.loads(json.dumps(state)))
        loader.set_epoch(epoch)
        return samples_of(loader)

    whole = load(0)
    assert len(whole) == 26
    source = dm.loader("train", num_workers=0)
    source.set_epoch(epoch)
    state = source.batches.state_dict(4)
    parts = {
        "1 worker": load(1),
        "4 workers": load(4),
        "rank 3 of 4": load(0, 4, 3),
        "rank 3 of 4, 4 workers": load(4, 4, 3),
        "a resume": load(1, state=state),
        "an elastic resume": load(0, 4, 3, state),
    }
    for where, part in parts.items():
        assert 4 <= len(part) <= 26, where
        for index, sample in part.items():
            assert_equal(sample, whole[index])
    source.set_epoch(epoch + 1)
    later = samples_of(source)
    assert sum(torch.equal(later[i]["image"], whole[i]["image"]) for i in whole) < 13
