"""Folders of images that tests share."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

# tests run side by side, and each process of theirs would take all cores for a moment's arithmetic
os.environ.setdefault("OMP_NUM_THREADS", "1")

# a busy machine is no failure: nothing is timed in a test
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

SIZES = [(64, 64), (48, 96), (96, 48), (80, 64), (60, 130), (64, 64), (100, 100)]  # (height, width)
SHARED = Path(__file__).parents[2] / "shared"


def paint(folder: Path, count: int, sizes=SIZES) -> Path:
    """Write small images of many shapes whose colours tell them apart."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        height, width = sizes[number % len(sizes)]
        pixels = np.full((height, width, 3), (number * 37 % 256, number % 256, 128), dtype=np.uint8)
        pixels[: height // 2, : width // 3] = (255, number * 11 % 256, 0)
        Image.fromarray(pixels).save(folder / f"image_{number:04d}.png")
    return folder


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> Path:
    """A folder of 45 images in several shapes."""
    return paint(tmp_path_factory.mktemp("images"), 45)


@pytest.fixture(scope="session")
def photos() -> Path:
    """Real photographs, where they lie beside the checkout."""
    if not (SHARED / "photos").is_dir():
        pytest.skip("no photographs beside the checkout")
    return SHARED / "photos"


@pytest.fixture(scope="session")
def hard_images() -> Path:
    """Images that are hard to read, where they lie beside the checkout."""
    if not (SHARED / "hard_images").is_dir():
        pytest.skip("no hard images beside the checkout")
    return SHARED / "hard_images"
