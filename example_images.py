"""The pictures around ``train_example.py``: those it learns from, and those it leaves behind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

__all__ = ["draw_curve", "make_images", "paint_landscape", "stack_rows"]

Array = npt.NDArray[np.float64]

# Five hours of a day: zenith, sky at the horizon, sun, land far away, land close by.
HOURS = np.array(
    [
        [(38, 44, 104), (255, 138, 76), (255, 226, 130), (150, 82, 104), (40, 22, 46)],
        [(94, 82, 160), (255, 196, 170), (255, 244, 214), (176, 132, 160), (56, 52, 92)],
        [(52, 116, 206), (206, 232, 250), (255, 250, 214), (142, 184, 164), (30, 96, 54)],
        [(30, 120, 160), (250, 226, 150), (255, 255, 236), (196, 170, 112), (112, 74, 36)],
        [(10, 14, 44), (64, 84, 146), (238, 240, 250), (50, 62, 112), (10, 14, 30)],
    ]
)
BALLOONS = np.array([(222, 48, 48), (250, 190, 40), (40, 160, 100), (244, 244, 250)])

# How a turned camera stores an upright scene, by the EXIF orientation that undoes the turn.
TURNS = {
    3: Image.Transpose.ROTATE_180,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}
ORIENTATION = 0x0112


def make_images(folder: Path, count: int = 400, seed: int = 0) -> Path:
    """Fill a folder with landscapes of many shapes, once. It appears whole or not at all.

    One in eight stands upright only by its EXIF orientation, one in ten is grey, one in four PNG.

    Args:
        folder: Where the images shall lie; one that exists is left as it is.
        count: Number of images.
        seed: Another number paints other landscapes.

    Returns:
        The folder.

    Raises:
        OSError: If the images cannot be written.
    """
    if folder.exists():
        return folder
    unfinished = folder.with_name(f"{folder.name}.{os.getpid()}.unfinished")
    unfinished.mkdir(parents=True)
    try:
        for index in range(count):
            _save_landscape(unfinished, index, np.random.default_rng([seed, index]))
        unfinished.rename(folder)
    except OSError:
        if not folder.exists():  # else another process was faster, with the very same images
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def paint_landscape(height: int, width: int, rng: np.random.Generator) -> Image.Image:
    """Paint a sky with its sun, perhaps some balloons, and three ranges of hills before it."""
    unit = min(height, width)
    bottom, right = height / unit, width / unit
    y, x = np.mgrid[0:height, 0:width] / unit
    zenith, sky, sun, far, near = HOURS[rng.integers(len(HOURS))] + rng.normal(0, 8, (5, 3))
    horizon = bottom * rng.uniform(0.55, 0.75)

    def lay(over: Array, colour: Array, cover: Array) -> Array:
        share = cover.clip(0, 1)[..., None]
        return over * (1 - share) + colour * share

    def disc(top: float, left: float, radius: float) -> Array:
        return np.asarray((radius - np.hypot(y - top, x - left)) * unit)

    canvas = lay(np.broadcast_to(zenith, (height, width, 3)), sky, y / horizon)
    place = horizon * rng.uniform(0.2, 0.95), right * rng.uniform(0.15, 0.85)
    radius = rng.uniform(0.1, 0.2)
    canvas = lay(canvas, sun, 0.7 * np.exp(disc(*place, radius) / unit / radius / 1.5))
    canvas = lay(canvas, sun, disc(*place, radius))
    for colour in rng.permutation(BALLOONS)[: rng.integers(0, 3)]:
        place = horizon * rng.uniform(0.1, 0.8), right * rng.uniform(0.1, 0.9)
        canvas = lay(canvas, colour, disc(*place, rng.uniform(0.04, 0.08)))
    for depth in (0.0, 0.5, 1.0):
        phase, pitch = rng.uniform(0, 2 * np.pi), rng.uniform(2, 5)
        waves = np.sin(pitch * x + phase) + 0.4 * np.sin(2.7 * pitch * x + 2 * phase)
        ridge = horizon + depth * (bottom - horizon) * 0.7 + 0.06 * waves
        canvas = lay(canvas, far + depth * (near - far), (y - ridge) * unit)
    return Image.fromarray(canvas.clip(0, 255).round().astype(np.uint8))


def _save_landscape(folder: Path, index: int, rng: np.random.Generator) -> None:
    short, ratio = rng.uniform(80, 200), 3 ** rng.uniform(-1, 1)
    height = round(short * max(1, 1 / ratio))
    width = round(short * max(1, ratio))
    image = paint_landscape(height, width, rng)
    if index % 10 == 9:
        image = image.convert("L")
    if index % 4 == 3:
        image.save(folder / f"{index:04d}.png")
        return
    exif = Image.Exif()
    if index % 8 == 6:
        exif[ORIENTATION] = orientation = int(rng.choice(list(TURNS)))
        image = image.transpose(TURNS[orientation])
    image.save(folder / f"{index:04d}.jpg", quality=92, exif=exif)


def stack_rows(rows: Sequence[Sequence[Image.Image]], zoom: int = 2, gap: int = 8) -> Image.Image:
    """Lay rows of images below one another on white, enlarged."""
    boxes = [[(image.width * zoom, image.height * zoom) for image in row] for row in rows]
    width = max(sum(w + gap for w, _ in row) for row in boxes) + gap
    height = sum(max(h for _, h in row) + gap for row in boxes) + gap
    sheet = Image.new("RGB", (width, height), "white")
    top = gap
    for row, sizes in zip(rows, boxes, strict=True):
        left = gap
        for image, box in zip(row, sizes, strict=True):
            sheet.paste(image.resize(box, Image.Resampling.BICUBIC), (left, top))
            left += box[0] + gap
        top += max(h for _, h in sizes) + gap
    return sheet


def draw_curve(losses: Sequence[float], width: int = 800, height: int = 450) -> Image.Image:
    """Draw the loss of every step, and its running mean as a stronger line."""
    sheet = Image.new("RGB", (width, height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    return sheet
