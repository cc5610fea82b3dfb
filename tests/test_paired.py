"""Paired images get exactly what their image gets: the same resize, crop, padding and flip."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from test_dataset import batch_of

from lit_buckets.config.augmentation import make_transforms
from lit_buckets.manifest import Manifest
from lit_buckets.pixels.dataset import BucketDataset
from lit_buckets.pixels.decode import DecodeError
from lit_buckets.pixels.transforms import NO_LABEL
from lit_buckets.placement import Fit
from lit_buckets.plan import BucketPlan, plan_buckets

SIZES = [(120, 240), (130, 100), (96, 96), (201, 67)]
KINDS = {"control": "image", "segments": "labels"}
WAYS = [
    {"crop": "center"},
    {"crop": "random"},
    {"crop": "bottom"},
    {"crop": "focus", "focus": ["x", "y"]},
    {"fit": "pad", "background": (0, 0, 0)},
    {"fit": "stretch"},
]


def shades(height: int, width: int) -> np.ndarray:
    """Smooth enough to be resized and compared."""
    y, x = np.mgrid[:height, :width]
    across, down = 40 + 170 * (x + 0.5) / width, 40 + 170 * (y + 0.5) / height
    return np.stack([across, down, (across + down) / 2], axis=-1).round().astype(np.uint8)


def tiles(height: int, width: int) -> np.ndarray:
    """Ten by ten labels, whatever the size."""
    y, x = np.mgrid[:height, :width]
    return (10 * (10 * y // height) + 10 * x // width).astype(np.uint8)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Images, their controls at half the size, and their label maps at another."""
    for name in ("images", "control", "segments"):
        (tmp_path / name).mkdir()
    for number, (height, width) in enumerate(SIZES):
        Image.fromarray(shades(height, width)).save(tmp_path / "images" / f"{number}.png")
        half = (round(height / 2), round(width / 2))
        Image.fromarray(shades(*half)).save(tmp_path / "control" / f"{number}.jpg", quality=97)
        labels = Image.fromarray(tiles(3 * height, 3 * width), "P")
        labels.putpalette(bytes(range(256)) * 3)
        labels.save(tmp_path / "segments" / f"{number}.png")
    return tmp_path


def manifest_of(folder: Path, **changes) -> Manifest:
    count = len(SIZES)
    columns = {
        "path": [f"images/{i}.png" for i in range(count)],
        "height": [height for height, _ in SIZES],
        "width": [width for _, width in SIZES],
        "control": [f"control/{i}.jpg" for i in range(count)],
        "segments": [f"segments/{i}.png" for i in range(count)],
        "x": [0.3] * count,
        "y": [0.8] * count,
    }
    table = pa.table(columns | changes)
    sources = [{"root": str(folder)}]
    return Manifest.write(folder / "manifest.arrow", table, sources=sources)


def plan_of(manifest: Manifest, bucket=(64, 80)) -> BucketPlan:
    return plan_buckets(manifest.sizes, rule="list", sizes=[bucket], divisor=16)


def dataset(
    folder: Path, manifest: Manifest | None = None, fit: Fit = "crop", **options
) -> BucketDataset:
    manifest = manifest or manifest_of(folder)
    plan = replace(plan_of(manifest), fit=fit)
    return BucketDataset(**{"manifest": manifest, "plan": plan, "paired": KINDS} | options)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.get("fit") or way["crop"])
@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_paired_images_lie_where_their_image_does(folder, way, flip):
    data = dataset(folder, flip=flip, **way)
    found = data[batch_of(data.plan)]
    image, control, labels = (found[name] for name in ("image", "control", "segments"))
    assert control.dtype == torch.uint8
    assert labels.dtype == torch.int64
    assert tuple(control.shape) == (4, 3, 64, 80)
    assert tuple(labels.shape) == (4, 64, 80)
    assert (image.int() - control.int()).abs().float().mean() < 1
    shown = found["mask"][:, 0] if "mask" in found else torch.ones_like(labels).bool()
    assert ((labels == NO_LABEL) == ~shown).all()
    # shades tell the place in the picture, so they tell the tile; edges of tiles are left out
    place = (image[:, :2].float() - 40) / 17
    tile, inside = place.floor(), ((place % 1 - 0.5).abs() < 0.3).all(1) & shown
    assert inside.float().mean() > 0.1
    assert (labels == (10 * tile[:, 1] + tile[:, 0]).long())[inside].all()


def test_paired_images_of_the_same_size_come_byte_by_byte(folder):
    same = manifest_of(folder, control=[f"images/{i}.png" for i in range(len(SIZES))])
    data = dataset(folder, same, crop="random", flip=0.5)
    for epoch in range(4):
        found = data[batch_of(data.plan, epoch=epoch)]
        assert torch.equal(found["image"], found["control"])
    jitter = make_transforms(
        [{"name": "RandomAffine", "degrees": 20}, {"name": "ColorJitter", "brightness": 0.5}]
    )
    moved = dataset(folder, same, augment=jitter)[batch_of(data.plan)]
    assert torch.equal(moved["image"], moved["control"])
    assert not torch.equal(moved["image"], found["image"])


def test_other_columns_come_along(folder):
    data = dataset(folder, paired={"segments": "labels"})
    found = data[batch_of(data.plan)]
    assert found["control"] == [f"control/{i}.jpg" for i in range(len(SIZES))]
    assert list(found)[-4:] == ["control", "segments", "x", "y"]


def spoil_size(folder: Path) -> None:
    Image.fromarray(shades(60, 123)).save(folder / "control" / "0.jpg")


def spoil_labels(folder: Path) -> None:
    Image.fromarray(shades(*SIZES[0])).save(folder / "segments" / "0.png")


@pytest.mark.parametrize(
    ("spoil", "changes", "reason"),
    [
        (
            spoil_size,
            {},
            r"its control 'control/0.jpg' fails: it has 60x123 pixels, which is not the shape of "
            "its image of 120x240",
        ),
        (spoil_labels, {}, "its segments 'segments/0.png' fails: labels must have one channel"),
        (
            lambda folder: (folder / "control" / "0.jpg").unlink(),
            {},
            "its control 'control/0.jpg' fails: .*No such file",
        ),
        (
            lambda folder: (folder / "control" / "0.jpg").write_bytes(b"no"),
            {},
            "its control 'control/0.jpg' fails: not an image",
        ),
        (
            lambda folder: None,
            {"control": [None, *(f"control/{i}.jpg" for i in range(1, 4))]},
            "its control None fails: the table names none",
        ),
        (
            lambda folder: None,
            {"control": ["../secret.jpg", *(f"control/{i}.jpg" for i in range(1, 4))]},
            "its control '../secret.jpg' fails: .* may lead out of",
        ),
    ],
)
def test_a_paired_image_that_fails_is_named(folder, spoil, changes, reason, caplog):
    manifest = manifest_of(folder, **changes)
    spoil(folder)
    memory = folder / "failed.jsonl"
    data = dataset(folder, manifest, failures_file=memory)
    found = data[batch_of(data.plan)]
    data[batch_of(data.plan)]  # named once
    assert found["valid"].tolist() == [False, True, True, True]
    assert found["index"].tolist() == [1, 1, 2, 3]
    assert torch.equal(found["control"][0], found["control"][1])
    assert len(caplog.records) == 1
    assert not memory.exists()  # the image itself is whole
    data = dataset(folder, manifest, on_error="raise")
    with pytest.raises(DecodeError, match=f"images/0.png' cannot be decoded: {reason}"):
        data[batch_of(data.plan)]
