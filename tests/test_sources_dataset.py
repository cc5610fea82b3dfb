"""Datasets as Hugging Face's `datasets` saves them, and as pyarrow alone writes them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from places import image_column, png, write, write_dataset

from lit_buckets.errors import ConfigError, DataError
from lit_buckets.manifest import Manifest
from lit_buckets.scan import scan
from lit_buckets.sources import DatasetSource, kind_of
from lit_buckets.storage import read


def batch(first: int, count: int, **columns: object) -> pa.RecordBatch:
    """Pictures that are 10 + i high and 20 + i wide."""
    numbers = range(first, first + count)
    images = image_column([png(10 + i, 20 + i) for i in numbers], [f"x/{i}.png" for i in numbers])
    captions = pa.array([f"picture {i}" for i in numbers])
    return pa.RecordBatch.from_pydict({"image": images, "text": captions} | columns)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files, the first in two batches."""
    return write_dataset(tmp_path / "set", [[batch(0, 3), batch(3, 2)], [batch(5, 2)]])


def load(source, tmp_path: Path) -> Manifest:
    return scan(source, cache_dir=tmp_path / "cache")


# ------------------------------------------------------------------ written by the library


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A dataset and a dictionary of two, saved by `datasets` itself."""
    datasets = pytest.importorskip("datasets")
    root = tmp_path_factory.mktemp("saved")
    Image.new("RGB", (99, 88), "red").save(root / "cat.png")
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "caption": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
            "outline": datasets.Image(),
            "box": datasets.Sequence(datasets.Value("int32")),
            "grid": datasets.Array2D((2, 2), "int32"),
        }
    )
    pictures = [Image.new("RGB", (20 + i, 10 + i), (i, 0, 0)) for i in range(6)]
    whole = datasets.Dataset.from_dict(
        {
            "image": [*pictures, str(root / "cat.png")],
            "caption": [*(f"picture {i}" for i in range(6)), None],
            "label": [0, 1, 0, 1, 0, 1, 0],
            "outline": [*(picture.convert("L") for picture in pictures), None],
            "box": [[i] for i in range(7)],
            "grid": [[[i, 1], [2, 3]] for i in range(7)],
        },
        features=features,
    )
    whole.save_to_disk(root / "one", num_shards=3)
    chosen = whole.select([4, 2])
    datasets.DatasetDict({"train": whole, "test": chosen}).save_to_disk(root / "two")
    return root


def test_what_the_library_saved(saved, tmp_path):
    datasets = pytest.importorskip("datasets")
    assert kind_of(saved / "one") == kind_of(saved / "two") == "dataset"
    manifest = load(saved / "one", tmp_path)
    theirs = datasets.load_from_disk(str(saved / "one"))
    assert len(manifest) == len(theirs) == 7
    assert not manifest.refused
    raw = theirs.cast_column("image", datasets.Image(decode=False))
    raw = raw.cast_column("outline", datasets.Image(decode=False))
    for i, row in enumerate(raw):
        assert manifest.read(i) == row["image"]["bytes"]
        assert manifest.sizes[i].tolist() == [*theirs[i]["image"].size[::-1]]
        assert manifest.caption(i) == (row["caption"] or "")
        assert manifest.value(i, "label") == row["label"]
        assert manifest.value(i, "box") == row["box"]
        assert manifest.value(i, "grid") == row["grid"]
        outline = manifest.value(i, "outline")
        assert (outline and read(manifest.beside(i, outline))) == (
            row["outline"] and row["outline"]["bytes"]
        )
    assert manifest.path(6).endswith("/data-00002-of-00003.arrow/1/cat.png")
    assert manifest.numbers == {"label"}
    assert len({*manifest.paths}) == 7
    assert load(saved / "one", tmp_path).id == manifest.id


def test_splits(saved, tmp_path):
    test = load(DatasetSource(saved / "two", split="test"), tmp_path)
    assert list(test.captions) == ["picture 4", "picture 2"]
    assert test.sizes.tolist() == [[14, 24], [12, 22]]
    assert len(load(DatasetSource(saved / "two", split="train"), tmp_path)) == 7
    with pytest.raises(ConfigError, match=r"which split is meant; it has 2: train, test\. Set"):
        load(saved / "two", tmp_path)
    with pytest.raises(ConfigError, match=r"split='val' is no split of path=.*; it has 2: train"):
        load(DatasetSource(saved / "two", split="val"), tmp_path)
    with pytest.raises(ConfigError, match=r"is for a dataset that has splits; path=.* has 0"):
        load(DatasetSource(saved / "one", split="train"), tmp_path)


def test_a_single_split_needs_no_name(folder, tmp_path):
    (tmp_path / "dict").mkdir()
    folder.rename(tmp_path / "dict/train")
    (tmp_path / "dict/dataset_dict.json").write_text('{"splits": ["train"]}')
    manifest = load(tmp_path / "dict", tmp_path)
    assert len(manifest) == 7
    assert manifest.path(0).endswith("/dict/train/data-00000-of-00002.arrow/0/0.png")


@pytest.mark.parametrize("splits", ["5", "[]", "[1, 2]", '{"train": 1}', '["../set"]'])
def test_splits_that_are_none_or_lead_out(folder, tmp_path, splits):
    write(tmp_path / "dict/dataset_dict.json", f'{{"splits": {splits}}}')
    assert folder == tmp_path / "set"
    with pytest.raises(DataError, match=r"dict' cannot be read as a dataset: .*split"):
        load(tmp_path / "dict", tmp_path)


# ------------------------------------------------------------------ written by pyarrow


def test_images_where_they_lie(folder, tmp_path):
    manifest = load(folder, tmp_path)
    assert manifest.sizes.tolist() == [[10 + i, 20 + i] for i in range(7)]
    assert [manifest.read(i) for i in range(7)] == [png(10 + i, 20 + i) for i in range(7)]
    assert list(manifest.captions) == [f"picture {i}" for i in range(7)]
    names = [path.removeprefix(f"{folder}/") for path in manifest.paths]
    first, second = "data-00000-of-00002.arrow", "data-00001-of-00002.arrow"
    assert names == [
        *(f"{first}/{i}/{i}.png" for i in range(5)),
        f"{second}/0/5.png",
        f"{second}/1/6.png",
    ]


def test_wide_offsets_slices_and_files_of_arrow(tmp_path):
    wide = pa.struct([("bytes", pa.large_binary()), ("path", pa.string())])
    images = pa.array([{"bytes": png(3 + i, 9), "path": None} for i in range(6)], wide)
    sliced = pa.RecordBatch.from_pydict({"image": images}).slice(2, 3)
    folder = write_dataset(tmp_path / "set", [[sliced]])
    with pa.ipc.new_file(folder / "data-00000-of-00001.arrow", sliced.schema) as writer:
        writer.write_batch(sliced)
    manifest = load(folder, tmp_path)
    assert [manifest.read(i) for i in range(3)] == [png(5 + i, 9) for i in range(3)]
    assert manifest.path(2).endswith(".arrow/2")


def test_rows_without_bytes_are_refused(tmp_path):
    images = image_column(
        [png(3, 4), None, None, b"", b"bad"], [None, "/etc/passwd", None, None, None]
    )
    nothing = pa.nulls(5, images.type)
    rows = pa.RecordBatch.from_pydict({"image": images})
    folder = write_dataset(tmp_path / "set", [[rows], [rows.set_column(0, "image", nothing)]])
    manifest = load(folder, tmp_path)
    assert len(manifest) == 1
    first = f"{folder}/data-00000-of-00002.arrow"
    found = dict(manifest.refused)
    assert found[f"{first}/1/passwd"] == (
        "its row holds no image, only the path '/etc/passwd'; save_to_disk puts it in"
    )
    assert found[f"{first}/2"] == "its row holds no image"
    assert found[f"{first}/3"] == "empty: 0 bytes"
    assert found[f"{first}/4"] == "not an image in a format that is read (3 bytes)"
    assert len(found) == 4 + 5
    assert load(folder, tmp_path).id == manifest.id


def test_which_column_holds_the_image(tmp_path):
    pictures = image_column([png(3, 4)])
    rows = pa.RecordBatch.from_pydict({"photo": pictures, "depth": image_column([png(5, 6)])})
    folder = write_dataset(tmp_path / "set", [[rows]])
    with pytest.raises(ConfigError, match=r"2 of its columns hold some: photo, depth\. Set"):
        load(folder, tmp_path)
    manifest = load(DatasetSource(folder, image_column="depth"), tmp_path)
    assert manifest.sizes.tolist() == [[5, 6]]
    assert manifest.columns == ("photo",)
    plain = write_dataset(tmp_path / "plain", [[pa.RecordBatch.from_pydict({"text": ["a"]})]])
    with pytest.raises(ConfigError, match="0 of its columns hold some: none"):
        load(plain, tmp_path)


def test_sizes_of_the_datasets_own(tmp_path):
    columns = {"height": [10, 11], "width": [20, 21]}
    folder = write_dataset(tmp_path / "set", [[batch(0, 2, **columns)]])
    assert load(folder, tmp_path).sizes.tolist() == [[10, 20], [11, 21]]
    wrong = write_dataset(tmp_path / "wrong", [[batch(0, 2, height=[10, 10], width=[20, 21])]])
    with pytest.raises(DataError, match="1 of 2 that were looked at differ"):
        load(wrong, tmp_path)


def test_damaged_and_missing_files_are_named(folder, tmp_path):
    second = folder / "data-00001-of-00002.arrow"
    content = second.read_bytes()
    for damage in (None, content[: len(content) // 2], b"no Arrow at all"):
        second.unlink(missing_ok=True)
        if damage is not None:
            second.write_bytes(damage)
        manifest = load(folder, tmp_path)
        assert len(manifest) == 5
        assert [path for path, _ in manifest.refused] == [str(second)]
        assert manifest.refused[0].reason.startswith("cannot be opened: ")
    second.write_bytes(content)
    assert len(load(folder, tmp_path)) == 7


def test_compressed_files_are_named(tmp_path):
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    noise = np.random.default_rng(0).integers(0, 4, (3, 4000), dtype=np.uint8)
    rows = pa.RecordBatch.from_pydict({"image": image_column([each.tobytes() for each in noise])})
    folder = write_dataset(tmp_path / "set", [[rows]], options=options)
    with pytest.raises(DataError, match="its images are compressed; save it uncompressed"):
        load(folder, tmp_path)


def test_folders_that_are_no_dataset(folder, tmp_path):
    for state in ("{", "[]", '{"_data_files": [{}]}', '{"_data_files": [{"filename": "../x"}]}'):
        write(folder / "state.json", state)
        with pytest.raises(DataError, match="cannot be read as a dataset: "):
            load(folder, tmp_path)
    with pytest.raises(ConfigError, match="must be a folder of this machine"):
        DatasetSource("s3://bucket/set")


def test_a_file_that_changed_is_read_again(folder, tmp_path):
    first = load(folder, tmp_path)
    state = json.loads((folder / "state.json").read_text())
    write_dataset(folder, [[batch(0, 5)], [batch(7, 2)]])
    assert json.loads((folder / "state.json").read_text()) == state
    second = load(folder, tmp_path)
    assert second.sizes.tolist() == [[10 + i, 20 + i] for i in (0, 1, 2, 3, 4, 7, 8)]
    assert second.fingerprint != first.fingerprint
    assert [second.read(i) for i in (5, 6)] == [png(17, 27), png(18, 28)]
