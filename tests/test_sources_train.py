"""From every kind of source to batches, through the datamodule, with workers: exactly once."""

from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from conftest import paint
from PIL import Image
from places import image_column, served, write_dataset, write_lines, write_tar

from lit_buckets import BucketDataModule

COUNT = 18


@pytest.fixture
def painted(tmp_path: Path) -> dict[str, bytes]:
    """Pictures of many shapes, by name, no two alike."""
    folder = paint(tmp_path / "painted", COUNT)
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def put_folder(root: Path, painted: dict[str, bytes]) -> Any:
    (root / "sub").mkdir(parents=True)
    for i, (name, content) in enumerate(painted.items()):
        file = root / ("sub" if i % 2 else "") / name
        file.write_bytes(content)
        file.with_suffix(".txt").write_text(name)
    return {"path": str(root)}


def rows_of(painted: dict[str, bytes]) -> list[dict[str, Any]]:
    places = ("", "sub/")
    return [
        {"file_name": places[i % 2] + name, "text": name, "number": i}
        for i, name in enumerate(painted)
    ]


def put_table(root: Path, painted: dict[str, bytes]) -> Any:
    put_folder(root, painted)
    return {"path": str(write_lines(root / "table.jsonl", rows_of(painted)))}


def put_sized_table(root: Path, painted: dict[str, bytes]) -> Any:
    put_folder(root, painted)
    rows = rows_of(painted)
    for row, content in zip(rows, painted.values(), strict=True):
        row["width"], row["height"] = Image.open(io.BytesIO(content)).size
    table = pa.Table.from_pylist(rows)
    pyarrow.parquet.write_table(table, root.parent / f"{root.name}.parquet")
    return {"path": f"{root}.parquet", "image_root": str(root)}


def put_image_folder(root: Path, painted: dict[str, bytes]) -> Any:
    put_folder(root, painted)
    write_lines(root / "metadata.jsonl", rows_of(painted))
    return {"path": str(root)}


def put_dataset(root: Path, painted: dict[str, bytes]) -> Any:
    def batch(names: list[str]) -> pa.RecordBatch:
        numbers = [*painted]
        return pa.RecordBatch.from_pydict(
            {
                "image": image_column([painted[name] for name in names], names),
                "text": names,
                "number": [numbers.index(name) for name in names],
            }
        )

    names = [*painted]
    write_dataset(root, [[batch(names[:5]), batch(names[5:9])], [batch(names[9:])]])
    return {"path": str(root)}


def put_shards(root: Path, painted: dict[str, bytes]) -> Any:
    for shard in range(3):
        members: dict[str, bytes | str] = {}
        for i, (name, content) in enumerate(painted.items()):
            if i % 3 == shard:
                stem = name.removesuffix(".png")
                members |= {name: content, f"{stem}.txt": name}
                members[f"{stem}.json"] = json.dumps({"number": i})
        write_tar(root / f"set-{shard:03d}.tar", members)
    return {"path": f"{root}/set-{{000..002}}.tar"}


PUT = {
    "folder": put_folder,
    "table": put_table,
    "sized_table": put_sized_table,
    "image_folder": put_image_folder,
    "dataset": put_dataset,
    "shards": put_shards,
}


def module(tmp_path: Path, train: Any, **data: Any) -> BucketDataModule:
    dm = BucketDataModule(
        {
            "data": {"train": train, "cache_dir": str(tmp_path / "cache"), **data},
            "buckets": {"max_area": 64 * 64, "divisor": 16},
            "batches": {"batch_size": 4},
            "loader": {"num_workers": 2},
        }
    )
    dm.prepare_data()
    dm.setup("fit")
    return dm


def epoch(dm: BucketDataModule) -> Counter[str]:
    """How often each path comes in an epoch; each is held against its caption and its pixels."""
    came: Counter[str] = Counter()
    manifest = dm.manifest_of("train")
    for batch in dm.train_dataloader():
        assert batch["valid"].all()
        for i, (index, path, caption) in enumerate(
            zip(batch["index"].tolist(), batch["path"], batch["caption"], strict=True)
        ):
            assert path == manifest.path(index)
            assert Path(path).name == caption
            shown = batch["image"][i, :, -1, -1]
            number = int(Path(path).stem.removeprefix("image_"))
            expected = torch.tensor([number * 37 % 256, number % 256, 128])
            assert (shown - expected).abs().max() <= 2, path
            if "number" in batch and batch["number"][i] is not None:
                assert int(batch["number"][i]) == number
            came[path] += 1
    return came


def exactly(dm: BucketDataModule) -> Counter[str]:
    manifest = dm.manifest_of("train")
    return Counter(dict(zip(manifest.paths, manifest.repeats.tolist(), strict=True)))


@pytest.mark.parametrize("kind", PUT)
def test_every_kind_trains_exactly_once(kind, painted, tmp_path):
    dm = module(tmp_path, PUT[kind](tmp_path / "root", painted) | {"repeats": 2})
    came = epoch(dm)
    assert came == exactly(dm)
    assert len(came) == COUNT
    assert {*came.values()} == {2}


def test_a_mixture_trains_exactly_as_often_as_it_says(painted, tmp_path):
    train = [
        put(tmp_path / kind, painted) | {"repeats": 1 + place % 3}
        for place, (kind, put) in enumerate(PUT.items())
    ]
    with served(tmp_path / "folder") as (url, _):
        train.append({"path": url, "repeats": 2, "include": ["*3.png"]})
        dm = module(tmp_path, train, val=0.1)
        came = epoch(dm)
        assert came == exactly(dm)
        rest, part = dm.manifest_of("train"), dm.manifest_of("val")
        assert len(rest) + len(part) == len(PUT) * COUNT + 2
        seen = [path for batch in dm.val_dataloader() for path in batch["path"]]
        assert sorted(seen) == sorted(part.paths)


@pytest.mark.parametrize("kind", ["folder", "table", "image_folder", "shards"])
def test_remote_roots_train_exactly_once(kind, painted, tmp_path):
    source = PUT[kind](tmp_path / "root", painted)
    with served(tmp_path / "root") as (url, _):
        source["path"] = source["path"].replace(str(tmp_path / "root"), url)
        dm = module(tmp_path, source | ({"kind": "imagefolder"} if kind == "image_folder" else {}))
        came = epoch(dm)
        assert came == exactly(dm)
        assert len(came) == COUNT
        assert all(path.startswith("http://127.0.0.1") for path in came)


@pytest.mark.slow
def test_workers_that_are_spawned_read_remote_files_too(painted, tmp_path):
    source = put_shards(tmp_path / "root", painted)
    with served(tmp_path / "root") as (url, _):
        source["path"] = source["path"].replace(str(tmp_path / "root"), url)
        dm = module(tmp_path, [source, put_dataset(tmp_path / "set", painted)])
        loader = replace(dm.config.loader, num_workers=1, multiprocessing_context="spawn")
        dm.config = replace(dm.config, loader=loader)
        assert epoch(dm) == exactly(dm)


def test_a_paired_image_comes_from_the_same_shard_or_dataset(painted, tmp_path):
    names = [*painted]
    members: dict[str, bytes | str] = {}
    for name, content in painted.items():
        stem = name.removesuffix(".png")
        members |= {name: content, f"{stem}.edge.png": content, f"{stem}.txt": name}
    write_tar(tmp_path / "root/a.tar", members)
    both = {"image": image_column([*painted.values()], names), "text": names}
    both["edge.png"] = both["image"]
    write_dataset(tmp_path / "set", [[pa.RecordBatch.from_pydict(both)]])
    config = {
        "data": {
            "train": [str(tmp_path / "root/a.tar"), str(tmp_path / "set")],
            "cache_dir": str(tmp_path / "cache"),
        },
        "buckets": {"max_area": 64 * 64, "divisor": 16},
        "batches": {"batch_size": 4},
        "transform": {"paired": {"edge.png": "image"}},
        "loader": {"num_workers": 2},
    }
    dm = BucketDataModule(config)
    dm.prepare_data()
    dm.setup("fit")
    count = 0
    for batch in dm.train_dataloader():
        assert batch["valid"].all()
        assert torch.equal(batch["edge.png"], batch["image"])
        count += len(batch["index"])
    assert count == 2 * COUNT
