"""Exported images train pixel for pixel as they did, whatever happened on the way."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
import unicodedata
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow.parquet as parquet
import pytest
import torch
from conftest import paint
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from lit_buckets import BucketDataModule, ConfigError, DataError, load_config
from lit_buckets.export import export
from lit_buckets.export.names import safe_name, unique_stems

BUCKETS = {"max_area": 64 * 64, "divisor": 16}


def config_of(train, cache: Path, **sections) -> dict:
    config = {
        "data": {"train": train if isinstance(train, list) else str(train)},
        "buckets": BUCKETS,
        "batches": {"batch_size": 4},
        "loader": {"num_workers": 0},
    }
    config["data"] |= {"cache_dir": str(cache)} | sections.pop("data", {})
    return config | sections


def opened(config) -> BucketDataModule:
    dm = BucketDataModule(config)
    dm.prepare_data()
    dm.setup()
    return dm


def samples(config, stage="train", *, original=False) -> dict[tuple, list[dict]]:
    """What training gets of each image: by the path that it had first, and by its bucket."""
    found: dict[tuple, list[dict]] = {}
    for batch in opened(config).loader(stage, num_workers=0):
        for place in range(len(batch["index"])):
            one = {name: values[place] for name, values in batch.items()}
            path = one["original_path" if original else "path"]
            found.setdefault((path, *one["target_size"].tolist()), []).append(one)
    return found


def tree(folder: Path) -> dict[str, bytes]:
    """Every file but the configuration, which names its own place."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {
        str(file.relative_to(folder)): b"" if file.suffix == ".parquet" else file.read_bytes()
        for file in files
        if file.name != "config.yaml"
    }


def assert_same_pixels(before: dict, after: dict, tolerance: float = 0.0) -> None:
    assert before.keys() == after.keys()
    for key, ones in before.items():
        assert len(ones) == len(after[key])
        for one, other in zip(ones, after[key], strict=True):
            error = (one["image"].double() - other["image"].double()).abs().mean()
            assert error <= tolerance, key
            assert one["caption"] == other["caption"]
            # nothing is resized or cut any more
            assert torch.equal(other["original_size"], other["target_size"])
            assert other["crop_top_left"].tolist() == [0, 0]


# -- pixels ---------------------------------------------------------------------------------------


def test_png_trains_as_before_bit_by_bit(images, tmp_path):
    config = config_of(images, tmp_path / "cache")
    done = export(config, tmp_path / "out")
    assert (done.written, done.there, done.left_out) == (45, 0, {})
    assert_same_pixels(samples(config), samples(done.config, original=True))
    settings = load_config(done.config)
    assert settings.buckets.rule == "native"
    assert settings.batches == load_config(config).batches


def test_real_photographs_train_as_before(photos, tmp_path):
    """Turned by EXIF, grey, of extreme ratios; with the crops of the original run."""
    config = config_of(
        photos,
        tmp_path / "cache",
        buckets={"max_area": 128 * 128, "divisor": 32, "max_buckets": 5},
        transform={"crop": "top"},
    )
    done = export(config, tmp_path / "out", num_workers=2)
    before, after = samples(config), samples(done.config, original=True)
    assert done.written == len(before)
    assert_same_pixels(before, after)
    first = {key: ones[0]["crop_top_left"].tolist() for key, ones in before.items()}
    kept = {key: [int(o["crop_top"]), int(o["crop_left"])] for key, (o,) in after.items()}
    assert first == kept


@pytest.mark.parametrize(("image_format", "quality", "error"), [("jpg", 95, 4), ("webp", 90, 6)])
def test_other_formats_are_as_near_as_their_quality(images, tmp_path, image_format, quality, error):
    config = config_of(images, tmp_path / "cache")
    done = export(config, tmp_path / "out", image_format=image_format, quality=quality)
    assert len(list((tmp_path / "out").rglob(f"*.{image_format}"))) == 45
    assert_same_pixels(samples(config), samples(done.config, original=True), error)


def test_chance_is_left_to_training(images, tmp_path):
    transform = {"crop": "random", "flip": 0.5, "augment": [{"name": "Grayscale"}]}
    config = config_of(images, tmp_path / "cache", transform=transform)
    plain = config_of(images, tmp_path / "cache")
    done = export(config, tmp_path / "out")
    now = load_config(done.config).transform
    assert (now.flip, len(now.augment)) == (0.5, 1)
    quiet = load_config(done.config, ["transform.flip=0", "transform.augment=[]"])
    assert_same_pixels(samples(plain), samples(quiet, original=True))


def test_an_image_at_several_resolutions_is_several_files(images, tmp_path):
    buckets = {"max_area": [64 * 64, 32 * 32], "divisor": 16, "resolutions": "all"}
    config = config_of(images, tmp_path / "cache", buckets=buckets)
    before = samples(config)
    done = export(config, tmp_path / "out")
    assert done.written == len(before) > 45
    assert_same_pixels(before, samples(done.config, original=True))


def test_every_stage_source_and_repeat_is_kept(tmp_path):
    train, best = paint(tmp_path / "a/images", 12), paint(tmp_path / "b/images", 3)
    sources = [{"path": str(train)}, {"path": str(best), "repeats": 3}]
    data = {"val": 0.25, "test": str(best)}
    config = config_of(sources, tmp_path / "cache", data=data)
    done = export(config, tmp_path / "out")
    folders = sorted(file.parent for file in (tmp_path / "out").rglob("metadata.jsonl"))
    # a source of the share to validate on may be empty; two called the same are told apart
    assert {"train/images", "train/images-2", "test"} <= {
        str(folder.relative_to(tmp_path / "out")) for folder in folders
    }
    for stage in ("train", "val", "test"):
        assert_same_pixels(samples(config, stage), samples(done.config, stage, original=True))
    epoch = opened(done.config).facts()["train"]
    assert epoch["repeats"] == opened(config).facts()["train"]["repeats"]


def test_captions_columns_and_paired_images_come_along(tmp_path):
    folder = paint(tmp_path / "table", 6)
    (folder / "masks").mkdir()
    captions = ["plain", "", " spaces \n and lines ", "木に🦉", '"quotes", and, commas', "end"]
    rows = []
    for number, file in enumerate(sorted(folder.glob("*.png"))):
        size = Image.open(file).size
        labels = np.full(size[::-1], number * (200 if number < 5 else 300), dtype=np.uint16)
        labels[: size[1] // 2] = 7
        Image.fromarray(labels).save(folder / "masks" / file.name)
        rows.append(
            {
                "path": file.name,
                "caption": captions[number],
                "score": number / 2,
                "file_name": f"clash {number}",
                "text": f"masks/{file.name}",
                "x": 0.1,
                "y": number / 6,
            }
        )
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    roles = {"image_column": "path", "caption_column": "caption"}
    source = [{"path": str(folder / "rows.jsonl")} | roles]
    transform = {"crop": "focus", "focus": ["x", "y"], "paired": {"text": "labels"}}
    config = config_of(source, tmp_path / "cache", transform=transform)
    done = export(config, tmp_path / "out")
    before, after = samples(config), samples(done.config, original=True)
    assert_same_pixels(before, after)
    assert sorted(ones[0]["caption"] for ones in after.values()) == sorted(captions)
    for key, (one,) in before.items():
        (other,) = after[key]
        assert other["score"] == one["score"]
        assert other["file_name_"] == one["file_name"]
        assert torch.equal(other["text_"].long(), one["text"].long())


def test_a_stage_without_any_image_is_told(images, tmp_path):
    val = paint(tmp_path / "val", 3, sizes=[(61, 43)])
    buckets = {"rule": "native", "divisor": 16}
    config = config_of(images, tmp_path / "cache", data={"val": str(val)}, buckets=buckets)
    with pytest.raises(DataError, match="none of the val images"):
        export(config, tmp_path / "out")


def test_padding_cannot_be_exported(images, tmp_path):
    config = config_of(images, tmp_path / "cache", transform={"fit": "pad"})
    with pytest.raises(ConfigError, match=r"transform\.fit=pad cannot be exported"):
        export(config, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_stretched_images_stay_stretched(images, tmp_path):
    buckets = BUCKETS | {"max_buckets": 1}
    config = config_of(images, tmp_path / "cache", buckets=buckets, transform={"fit": "stretch"})
    done = export(config, tmp_path / "out")
    assert_same_pixels(samples(config), samples(done.config, original=True))


# -- tables ---------------------------------------------------------------------------------------


def test_both_tables_tell_the_same_in_the_plans_order(images, tmp_path):
    export(config_of(images, tmp_path / "cache"), tmp_path / "out", num_workers=2)
    lines = (tmp_path / "out/train/metadata.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert parquet.read_table(tmp_path / "out/train/images.parquet").to_pylist() == rows
    assert [row["original_path"] for row in rows] == sorted(str(f) for f in images.iterdir())
    for row in rows:
        with Image.open(tmp_path / "out/train" / row["file_name"]) as image:
            assert image.size == (row["width"], row["height"])


def test_hugging_face_reads_it(images, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    datasets.disable_progress_bars()
    export(config_of(images, tmp_path / "cache"), tmp_path / "out")
    read = datasets.load_dataset(
        "imagefolder", data_dir=str(tmp_path / "out"), cache_dir=str(tmp_path / "hf")
    )
    assert len(read["train"]) == 45
    assert {"image", "text", "original_height"} <= set(read["train"].features)


def test_images_left_out_are_named(hard_images, tmp_path):
    config = config_of(hard_images, tmp_path / "cache")
    done = export(config, tmp_path / "out")
    with (tmp_path / "out/train/left_out.csv").open(newline="") as file:
        told = {row["path"]: row["reason"] for row in csv.DictReader(file)}
    assert told == done.left_out
    names = {PurePosixPath(path).name for path in told}
    assert {"empty.jpg", "not_an_image.jpg"} & names or len(names) > 3
    assert all(told.values())
    kept = set(samples(done.config, original=True))
    assert not {key[0] for key in kept} & set(told)


def test_nothing_to_export_is_an_error(tmp_path):
    folder = paint(tmp_path / "rotten", 3)
    for file in folder.iterdir():  # the header is right, the rest is missing
        file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(DataError, match="none of the train images can be exported; 3 are named"):
        export(config_of(folder, tmp_path / "cache"), tmp_path / "out")


# -- where to, and going on -----------------------------------------------------------------------


def test_what_is_there_is_left_alone(images, tmp_path):
    config = config_of(images, tmp_path / "cache")
    export(config, tmp_path / "out")
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("*.png")}
    (gone := sorted(before)[7]).unlink()
    done = export(config, tmp_path / "out")
    assert (done.written, done.there) == (1, 44)
    for file, changed in before.items():
        assert file == gone or file.stat().st_mtime_ns == changed
    assert export(config, tmp_path / "out").written == 0


def test_half_a_line_and_half_a_file_do_no_harm(images, tmp_path):
    config = config_of(images, tmp_path / "cache")
    export(config, tmp_path / "whole")
    export(config, tmp_path / "out")
    table = tmp_path / "out/train/metadata.jsonl"
    lines = table.read_bytes().splitlines(keepends=True)
    table.write_bytes(b"".join(lines[9::-1]) + lines[20][:30])
    leftover = tmp_path / "out/train/.x.png.0123456789abcdef.tmp"
    leftover.write_bytes(b"half")
    (tmp_path / "out/config.yaml").unlink()
    done = export(config, tmp_path / "out")
    assert (done.written, done.there) == (35, 10)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT])
def test_killed_and_resumed_it_is_the_same(tmp_path, signal_number):
    folder = paint(tmp_path / "images", 120, [(600, 600), (500, 700), (700, 500)])
    for file in list(folder.iterdir())[::3]:
        file.with_suffix(".txt").write_text(f"caption of {file.name}")
    config = tmp_path / "config.yaml"
    config.write_text(
        f"data: {{train: {folder}, cache_dir: {tmp_path / 'cache'}}}\n"
        "buckets: {max_area: 65536}\nloader: {num_workers: 2}\n"
    )
    command = [sys.executable, "-W", "ignore", "-m", "lit_buckets", "export"]
    process = subprocess.Popen(
        [*command, str(config), str(tmp_path / "out")],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    table = tmp_path / "out/train/metadata.jsonl"
    for _ in range(3000):
        if table.exists() and table.read_bytes().count(b"\n") >= 10:
            break
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    os.killpg(process.pid, signal_number)
    _, errors = process.communicate(timeout=60)
    if signal_number == signal.SIGINT:
        assert process.returncode == 130
        assert errors == "error: interrupted.\n"
    done = export(config, tmp_path / "out", num_workers=2)
    assert done.there >= 10
    assert done.written + done.there == 120
    assert done.written > 0
    export(config, tmp_path / "whole")
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"transform": {"crop": "top"}}, "transform"),
        ({"buckets": BUCKETS | {"divisor": 32}}, "train"),
        ({"data": {"test": "."}}, "test"),
    ],
)
def test_another_export_is_not_mixed_in(images, tmp_path, monkeypatch, change, told):
    monkeypatch.chdir(paint(tmp_path / "here", 2))
    export(config_of(images, tmp_path / "cache"), tmp_path / "out")
    before = tree(tmp_path / "out")
    with pytest.raises(DataError, match=f"holds another export: its {told} differ"):
        export(config_of(images, tmp_path / "cache", **change), tmp_path / "out")
    with pytest.raises(DataError, match="its format and quality differ"):
        export(config_of(images, tmp_path / "cache"), tmp_path / "out", image_format="jpg")
    assert tree(tmp_path / "out") == before


def test_a_changed_caption_is_another_export(tmp_path):
    folder = paint(tmp_path / "images", 3)
    config = config_of(folder, tmp_path / "cache")
    export(config, tmp_path / "out")
    (folder / "image_0001.txt").write_text("new")
    with pytest.raises(DataError, match="its train differ"):
        export(config, tmp_path / "out")


def test_other_files_and_sources_are_safe(images, tmp_path):
    config = config_of(images, tmp_path / "cache")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="holds other files, and no export"):
        export(config, tmp_path / "mine")
    with pytest.raises(ConfigError, match=r"lies in .*, a source of data\.train"):
        export(config, images / "out")
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    assert not (images / "out").exists()
    with pytest.raises(ValueError, match="image_format='bmp' must be one of png, jpg, webp"):
        export(config, tmp_path / "out", image_format="bmp")


# -- names ----------------------------------------------------------------------------------------

PARTS = st.sampled_from(
    ["a", "A", "b.png", "b", "é", "e\u0301", "con", "x-2", "x", "..", ".", "*?", "long" * 60, " "]
) | st.text(st.characters(codec="utf-8", exclude_characters="/"), max_size=8)
PATHS = st.lists(st.lists(PARTS, min_size=1, max_size=3).map("/".join), max_size=12)


@given(PATHS)
@example(["x/y.jpg", "x.png/z.jpg", "x.jpg"])
@example(["a.jpg", "a.png", "a-2.jpg", "A.webp"])
def test_names_are_safe_and_nobody_elses(paths):
    suffixes = [".png", ".txt", ".mask.png"]
    stems = unique_stems(paths, suffixes)
    assert stems == unique_stems(paths, suffixes)
    files = [stem + suffix for stem in stems for suffix in suffixes]
    same = [unicodedata.normalize("NFC", file.casefold()) for file in files]
    assert len(set(same)) == len(same)
    folders = {str(parent) for file in same for parent in PurePosixPath(file).parents}
    assert not folders & set(same)
    for file in files:
        assert not file.startswith("/")
        for part in file.split("/"):
            assert part not in ("", ".", "..")
            assert not part.startswith(".")
            assert not part.endswith((" ", "."))
            assert not set(part) & set('<>:"|?*\\\0\n')
            assert len(part.encode()) < 255


@given(st.text(st.characters(codec="utf-8"), max_size=300))
def test_a_safe_name_stays_as_it_is(text):
    assert safe_name(safe_name(text)) == safe_name(text)


# ------------------------------------------------------------------ what the originals had to be


@pytest.mark.parametrize(
    "limits", [{"min_image_side": 300}, {"max_image_ratio": 2.0}, {"max_image_pixels": 250_000}]
)
def test_limits_of_the_originals_are_not_held_against_what_is_written(tmp_path, limits):
    (tmp_path / "images").mkdir()
    for number, size in enumerate([(300, 570), (570, 300), (400, 400), (490, 500)]):
        Image.new("RGB", size, (number, 9, 9)).save(tmp_path / f"images/{number}.png")
    config = config_of(tmp_path / "images", tmp_path / "cache", data=limits)
    config["buckets"] = {"max_area": 512 * 1024, "divisor": 16, "max_side": 1024}
    exported = export(config, tmp_path / "out", overrides=["buckets.max_area=1024"])
    assert (exported.written, exported.left_out) == (4, {})
    dm = opened(load_config(exported.config))
    assert (len(dm.manifest_of("train")), len(dm.manifest_of("train").refused)) == (4, 0)
    larger = export(config, tmp_path / "larger")
    assert len(opened(load_config(larger.config)).manifest_of("train")) == 4


@pytest.mark.parametrize(("image_format", "most"), [("webp", "16,383"), ("jpg", "65,500")])
def test_a_side_that_a_format_cannot_hold_is_told_before_writing(tmp_path, image_format, most):
    (tmp_path / "images").mkdir()
    Image.new("L", (70_000, 4)).save(tmp_path / "images/long.png")
    config = config_of(tmp_path / "images", tmp_path / "cache")
    config["buckets"] = {"rule": "native", "divisor": 1, "max_area": 10**7}
    with pytest.raises(ConfigError, match=rf"cannot hold the train images; its sides have {most}"):
        export(config, tmp_path / "out", image_format=image_format)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_no_configuration_can_name(images, tmp_path):
    with pytest.raises(ConfigError, match=r"cannot be named in a configuration; '\$\{' stands"):
        export(config_of(images, tmp_path / "cache"), tmp_path / "${out}")
