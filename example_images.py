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
        [(48, 40, 112), (255, 120, 60), (255, 236, 140), (142, 62, 92), (40, 18, 48)],
        [(92, 84, 176), (248, 164, 160), (255, 250, 220), (168, 112, 156), (58, 48, 100)],
        [(40, 104, 208), (150, 206, 248), (255, 252, 214), (120, 184, 120), (24, 92, 48)],
        [(24, 124, 160), (246, 190, 96), (255, 252, 226), (196, 140, 80), (96, 56, 28)],
        [(8, 12, 48), (52, 70, 140), (244, 244, 236), (38, 50, 104), (8, 10, 32)],
    ]
)
BALLOONS = np.array([(226, 44, 60), (255, 176, 32), (36, 170, 110), (206, 60, 190)])

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
    zenith, sky, sun, far, near = HOURS[rng.integers(len(HOURS))] + rng.normal(0, 6, (5, 3))
    horizon = bottom * rng.uniform(0.55, 0.75)

    def lay(over: Array, colour: Array, cover: Array) -> Array:
        share = cover.clip(0, 1)[..., None]
        return over * (1 - share) + colour * share

    def disc(top: float, left: float, radius: float) -> Array:
        return np.asarray((radius - np.hypot(y - top, x - left)) * unit)

    canvas = lay(np.broadcast_to(zenith, (height, width, 3)), sky, y / horizon)
    place = horizon * rng.uniform(0.2, 0.9), right * rng.uniform(0.15, 0.85)
    radius = rng.uniform(0.13, 0.22)
    canvas = lay(canvas, sun, 0.5 * np.exp(disc(*place, radius) / unit / radius))
    canvas = lay(canvas, sun, disc(*place, radius))
    for colour in rng.permutation(BALLOONS)[: rng.integers(2)]:
        place = horizon * rng.uniform(0.1, 0.8), right * rng.uniform(0.1, 0.9)
        canvas = lay(canvas, colour, disc(*place, rng.uniform(0.06, 0.1)))
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
    """Draw the loss of every step in grey, and its running mean in colour, on a log scale."""
    sheet = Image.new("RGB", (width, height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    values = np.log10(np.maximum(losses, 1e-6))
    window = max(1, len(values) // 20)
    mean = np.convolve(values, np.ones(window) / window, "valid")
    low, high = float(values.min()), float(values.max())
    left, right, top, bottom = 70, width - 20, 40, height - 50

    def points(ys: Array, first: int) -> list[tuple[float, float]]:
        xs = left + (np.arange(len(ys)) + first) / max(1, len(values) - 1) * (right - left)
        places = bottom - (ys - low) / max(high - low, 1e-9) * (bottom - top)
        return list(zip(xs.tolist(), places.tolist(), strict=True))

    for value in np.linspace(low, high, 6):
        (_, y), *_ = points(np.array([value]), 0)
        pen.line([(left, y), (right, y)], fill=(228, 228, 232))
        pen.text((left - 8, y), f"{10**value:.2g}", "black", font, anchor="rm")
    for step in np.linspace(0, len(values) - 1, 6).round().astype(int).tolist():
        x = left + step / max(1, len(values) - 1) * (right - left)
        pen.line([(x, bottom), (x, bottom + 5)], fill="black")
        pen.text((x, bottom + 10), str(step + 1), "black", font, anchor="mt")
    pen.line(points(values, 0), fill=(190, 196, 210))
    pen.line(points(mean, window // 2), fill=(214, 84, 42), width=3)
    pen.line([(left, top), (left, bottom), (right, bottom)], fill="black")
    pen.text((left, top - 12), "loss", "black", font, anchor="lb")
    pen.text((right, height - 6), "step", "black", font, anchor="rb")
    return sheet
