"""The example: its images are what they should be, and the script trains, stops and resumes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "train_example.py"
ORIENTATION = 0x0112


@pytest.fixture
def example_images(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    return pytest.importorskip("example_images")


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def upright(file: Path) -> Image.Image:
    return ImageOps.exif_transpose(Image.open(file))


def test_images_are_a_function_of_the_seed(example_images, tmp_path):
    one = example_images.make_images(tmp_path / "one", count=9)
    two = example_images.make_images(tmp_path / "two", count=9)
    other = example_images.make_images(tmp_path / "other", count=9, seed=1)
    assert contents(one) == contents(two)
    assert contents(one) != contents(other)


def test_images_are_many_sorts(example_images, tmp_path):
    files = sorted(example_images.make_images(tmp_path / "images", count=40).iterdir())
    assert len(files) == 40
    assert {file.suffix for file in files} == {".jpg", ".png"}
    assert {Image.open(file).mode for file in files} == {"L", "RGB"}
    ratios = [image.width / image.height for image in map(upright, files)]
    assert min(ratios) < 0.5 < 2 < max(ratios)
    assert len({image.size for image in map(upright, files)}) > 35
    assert all(max(r, 1 / r) < 3.05 for r in ratios)


def test_turned_images_stand_upright_by_their_orientation(example_images, tmp_path):
    """The scene that was painted comes back, but for what JPEG loses."""
    folder = example_images.make_images(tmp_path / "images", count=24)
    files = sorted(folder.iterdir())
    turned = [file for file in files if Image.open(file).getexif().get(ORIENTATION, 1) != 1]
    assert len(turned) == 3
    for file in turned:
        painted = example_images.paint_landscape(np.random.default_rng([0, int(file.stem)]))
        seen = upright(file)
        assert seen.size == painted.size
        off = np.abs(np.asarray(seen, dtype=float) - np.asarray(painted, dtype=float)).mean()
        assert off < 3


def test_an_interrupted_painting_leaves_nothing(example_images, tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(example_images, "paint_landscape", fail)
    with pytest.raises(KeyboardInterrupt):
        example_images.make_images(tmp_path / "images")
    assert list(tmp_path.iterdir()) == []


def test_images_that_exist_are_left_alone(example_images, tmp_path):
    (tmp_path / "images").mkdir()
    assert example_images.make_images(tmp_path / "images") == tmp_path / "images"
    assert list((tmp_path / "images").iterdir()) == []


@pytest.mark.parametrize("count", [1, 2, 3, 500])
def test_a_curve_of_any_length_is_drawn(example_images, count):
    curve = example_images.draw_curve(np.geomspace(1, 0.1, count).tolist())
    assert curve.size == (800, 450)
    assert len(curve.getcolors(1 << 16)) > 3


def test_rows_are_stacked(example_images):
    rows = [[Image.new("RGB", (80, 48))] * 2, [Image.new("RGB", (48, 80))]]
    sheet = example_images.stack_rows(rows, zoom=2, gap=8)
    assert sheet.size == (8 + 2 * (160 + 8), 8 + 96 + 8 + 160 + 8)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Where the script runs, so that it paints its images once."""
    return tmp_path_factory.mktemp("home")


def command(out: str, *arguments: str) -> list[str]:
    small = ["buckets.max_area=1024", "batches.batch_size=4"]
    return [sys.executable, str(SCRIPT), "--out", out, "--max-steps", "6", *arguments, *small]


def run(home: Path, out: str, *arguments: str) -> str:
    done = subprocess.run(
        command(out, *arguments), cwd=home, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def interrupt(home: Path, out: str) -> str:
    """Press Ctrl-C, which every process of a terminal feels, as soon as training begins."""
    process = subprocess.Popen(
        command(out),
        cwd=home,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    with process:
        output = ""
        for line in process.stdout:
            output += line
            if line.startswith("an epoch:"):
                os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=600) != 0, output
    return output


def last(home: Path, out: str) -> dict[str, Any]:
    return torch.load(home / out / "last.ckpt", map_location="cpu", weights_only=True)


def assert_drawn(folder: Path) -> None:
    """Both pictures are whole; what a few steps have taught may well be one flat colour."""
    samples, loss = Image.open(folder / "samples.png"), Image.open(folder / "loss.png")
    assert min(samples.size) > 100
    assert len(samples.getcolors(1 << 20)) > 1
    assert len(loss.getcolors(1 << 20)) > 3


@pytest.mark.slow
def test_interrupted_and_resumed_is_the_same_as_straight_through(home):
    assert "400 images" in run(home, "straight")
    assert_drawn(home / "straight")

    assert "--resume stopped/last.ckpt" in interrupt(home, "stopped")
    assert 1 <= last(home, "stopped")["global_step"] < 6
    assert not (home / "stopped" / "samples.png").exists()

    run(home, "resumed", "--resume", "stopped/last.ckpt")
    assert_drawn(home / "resumed")
    straight, resumed = last(home, "straight"), last(home, "resumed")
    assert resumed["global_step"] == 6
    assert resumed["losses"] == straight["losses"]
    for name, weights in straight["state_dict"].items():
        assert torch.equal(resumed["state_dict"][name], weights), name


@pytest.mark.slow
def test_two_devices_train_on_any_folder(home, images):
    output = run(home, "two", "--devices", "2", "--data", str(images), "--max-steps", "2")
    assert "45 images" in output
    assert "on 2 ranks" in output
    assert last(home, "two")["global_step"] == 2
    assert_drawn(home / "two")
