"""One image as a file, written in the workers of a loader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from lit_buckets.manifest import replace_file
from lit_buckets.pixels.dataset import BucketDataset
from lit_buckets.pixels.decode import DecodeError
from lit_buckets.sampler import BucketBatch

__all__ = ["FORMATS", "Encoding", "ImageFormat", "ImageWriter", "Outcome"]

ImageFormat: TypeAlias = Literal["png", "jpg", "webp"]

#: What Pillow calls a format.
FORMATS: dict[ImageFormat, str] = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}


@dataclass(frozen=True)
class Encoding:
    """How pixels are kept."""

    format: ImageFormat = "png"
    quality: int = 95  #: 1 to 100; of no meaning for PNG, which keeps every pixel

    @property
    def options(self) -> dict[str, Any]:
        """Further arguments of Pillow's ``save``."""
        if self.format == "jpg":
            return {"quality": self.quality, "subsampling": 0}  # colours as sharp as brightness
        return {"quality": self.quality} if self.format == "webp" else {}


class Outcome(NamedTuple):
    """What became of an image."""

    row: int  #: of the plan
    facts: dict[str, Any] | None = None  #: its row in the tables, if it was written
    failed: str = ""  #: why it could not be decoded
    unwritten: str = ""  #: why its file could not be written


class ImageWriter(Dataset[Outcome]):
    """Takes a row of the plan, and writes that image and its caption.

    Args:
        dataset: Gives the image as training would, and raises if it cannot be decoded.
        names: Of the files, by row of the plan.
        folder: Where they go.
        encoding: How pixels are kept.
    """

    def __init__(
        self, dataset: BucketDataset, names: Sequence[str], folder: Path, encoding: Encoding
    ) -> None:
        self.dataset, self.names, self.folder = dataset, names, folder
        self.encoding = encoding

    def __getitem__(self, row: int) -> Outcome:
        """Write an image, unless it cannot be decoded or written."""
        bucket = int(self.dataset.plan.bucket_of[row])
        once = np.array([True])
        try:
            batch = self.dataset[BucketBatch(bucket, np.array([row]), once, 0, np.array([0]))]
        except DecodeError as error:
            return Outcome(row, failed=error.reason)
        try:
            self._write(self.names[row], batch)
        except OSError as error:
            return Outcome(row, unwritten=error.strerror or str(error))
        return Outcome(row, self._facts(row, batch))

    def _write(self, name: str, batch: dict[str, Any]) -> None:
        """The caption first: a picture that is there is complete."""
        file, caption = self.folder / name, batch["caption"][0]
        picture = Image.fromarray(batch["image"][0].permute(1, 2, 0).contiguous().numpy())
        if caption:
            replace_file(file.with_suffix(".txt"), lambda path: _write_text(path, caption))
        options = {"format": FORMATS[self.encoding.format], **self.encoding.options}
        replace_file(file, lambda path: picture.save(path, **options))

    def _facts(self, row: int, batch: dict[str, Any]) -> dict[str, Any]:
        index = int(batch["index"][0])
        original, corner, size = (
            batch[key][0].tolist() for key in ("original_size", "crop_top_left", "target_size")
        )
        manifest, repeats = self.dataset.manifest, self.dataset.plan.repeats
        facts: dict[str, Any] = {
            "file_name": self.names[row],
            "text": batch["caption"][0],
            "source": batch["path"][0],
            "original_height": original[0],
            "original_width": original[1],
            "crop_top": corner[0],
            "crop_left": corner[1],
            "height": size[0],
            "width": size[1],
            "repeats": 1 if repeats is None else int(repeats[row]),
        }
        further = {name: manifest.value(index, name) for name in manifest.columns}
        return further | facts


def _write_text(path: Path, text: str) -> None:
    path.write_bytes(text.encode())
