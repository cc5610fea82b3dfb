"""One image as a file with all that belongs to it, written in the workers of a loader."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from lit_buckets.export.names import column_names, safe_name
from lit_buckets.manifest import Manifest, replace_file, replace_text
from lit_buckets.pixels.dataset import BucketDataset
from lit_buckets.pixels.decode import DecodeError
from lit_buckets.pixels.sample import Kind
from lit_buckets.sampler import BucketBatch

__all__ = [
    "CAPTION",
    "FORMATS",
    "LONGEST",
    "Encoding",
    "ImageFormat",
    "ImageWriter",
    "Outcome",
    "exported_columns",
    "suffix_of",
]

ImageFormat: TypeAlias = Literal["png", "jpg", "webp"]

#: What Pillow calls a format.
FORMATS: dict[ImageFormat, str] = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}
#: Pixels that a side may have at most, where their libraries set a limit.
LONGEST: dict[ImageFormat, int] = {"jpg": 65_500, "webp": 16_383}
#: What files of captions end with.
CAPTION = ".txt"

#: Columns that every export's tables have.
_OWN = (
    "file_name",
    "text",
    "height",
    "width",
    "original_path",
    "original_height",
    "original_width",
    "crop_top",
    "crop_left",
)
_MOST_LABEL = 2**16 - 1  # that a grey PNG keeps


@dataclass(frozen=True)
class Encoding:
    """How pixels are kept."""

    format: ImageFormat = "png"
    quality: int = 95  #: 1 to 100; of no meaning for PNG, which keeps every pixel

    @property
    def suffix(self) -> str:
        """What files end with."""
        return f".{self.format}"

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of Pillow's ``save``."""
        options: dict[str, Any] = {"format": FORMATS[self.format]}
        if self.format != "png":
            options["quality"] = self.quality
        if self.format == "jpg":
            options["subsampling"] = 0  # colours as sharp as brightness
        return options


class Outcome(NamedTuple):
    """What became of an image."""

    place: int  #: among the images of the writer
    facts: dict[str, Any] | None = None  #: its row in the tables, if it was written
    failed: str = ""  #: why it could not be decoded
    unwritten: str = ""  #: why a file could not be written


class ImageWriter(Dataset[Outcome]):
    """Writes images of a plan, their captions and their paired images.

    Args:
        dataset: Gives an image as training would, and raises if it cannot be decoded.
        rows: Which rows of the plan.
        stems: Of their files, relative to the folder and without suffix.
        folder: Where they go.
        encoding: How pixels are kept.
        paired: Columns of paired images, and whether each is an image or labels.
        columns: What the tables call the further columns.
    """

    def __init__(
        self,
        dataset: BucketDataset,
        rows: Sequence[int],
        stems: Sequence[str],
        folder: Path,
        encoding: Encoding,
        paired: Mapping[str, Kind],
        columns: Mapping[str, str],
    ) -> None:
        self.dataset, self.rows, self.stems, self.folder = dataset, rows, stems, folder
        self.encoding, self.columns = encoding, columns
        self.paired = {column: suffix_of(column, kind, encoding) for column, kind in paired.items()}

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, place: int) -> str:
        """The image's file, relative to the folder."""
        return self.stems[place] + self.encoding.suffix

    def __getitem__(self, place: int) -> Outcome:
        """Write an image, unless it cannot be decoded or written."""
        row = self.rows[place]
        bucket, once = int(self.dataset.plan.bucket_of[row]), np.array([True])
        try:
            batch = self.dataset[BucketBatch(bucket, np.array([row]), once, 0, np.array([0]))]
            files = {column: _picture(batch[column][0]) for column in self.paired}
        except DecodeError as error:
            return Outcome(place, failed=error.reason)
        try:
            self._write(place, batch, files)
        except OSError as error:
            return Outcome(place, unwritten=error.strerror or str(error))
        return Outcome(place, self._facts(place, batch))

    def _write(self, place: int, batch: dict[str, Any], paired: Mapping[str, Image.Image]) -> None:
        """The image last: where it is, all that belongs to it is."""
        stem = self.stems[place]
        if caption := batch["caption"][0]:
            replace_text(self.folder / f"{stem}{CAPTION}", caption)
        pictures = [(stem + self.paired[column], picture) for column, picture in paired.items()]
        for name, picture in [*pictures, (self.name(place), _picture(batch["image"][0]))]:
            _save(picture, self.folder / name, self.encoding)

    def _facts(self, place: int, batch: dict[str, Any]) -> dict[str, Any]:
        index, stem = int(batch["index"][0]), self.stems[place]
        original, corner, size = (
            batch[key][0].tolist() for key in ("original_size", "crop_top_left", "target_size")
        )
        own = (self.name(place), batch["caption"][0], *size, batch["path"][0], *original, *corner)
        facts: dict[str, Any] = dict(zip(_OWN, own, strict=True))
        manifest = self.dataset.manifest
        for column in manifest.columns:
            paired = column in self.paired
            value = stem + self.paired[column] if paired else manifest.value(index, column)
            facts[self.columns[column]] = value
        return facts


def exported_columns(manifests: Iterable[Manifest]) -> dict[str, str]:
    """What the tables of an export call the further columns of all its images."""
    columns = {column: None for manifest in manifests for column in manifest.columns}
    return column_names(columns, _OWN)


def suffix_of(column: str, kind: Kind, encoding: Encoding) -> str:
    """What the files of a paired image end with; labels are always PNG.

    Example:
        >>> suffix_of("mask", "labels", Encoding("jpg"))
        '.mask.png'
    """
    return f".{safe_name(column)}{'.png' if kind == 'labels' else encoding.suffix}"


def _picture(pixels: torch.Tensor) -> Image.Image:
    """Bytes (3, H, W), or labels (H, W) that are integers.

    Raises:
        DecodeError: If a label is one that a PNG cannot keep.
    """
    if pixels.ndim == 3:
        return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    low, high = int(pixels.min()), int(pixels.max())
    if low < 0 or high > _MOST_LABEL:
        reason = f"its labels go from {low} to {high}, and a PNG keeps 0 to {_MOST_LABEL}"
        raise DecodeError.of("", reason)
    return Image.fromarray(pixels.numpy().astype(np.uint8 if high < 256 else np.uint16))


def _save(picture: Image.Image, file: Path, encoding: Encoding) -> None:
    options = encoding.options if file.suffix == encoding.suffix else {"format": "PNG"}
    replace_file(file, lambda path: picture.save(path, **options))
