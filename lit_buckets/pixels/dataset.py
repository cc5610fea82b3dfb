"""Whole batches of pixels, made in the loader's workers.

    BucketBatch ──▶ read ──▶ augment ──▶ transform ──▶ one tensor, and what is known of it
    (sampler)       a file that fails is               (a plain dict)
                    replaced, named, counted

Everything random follows from (seed, epoch, image, repetition), so a sample is the same bytes in
whichever process, on whichever rank and after however many resumes it is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from torch.utils.data import Dataset

from lit_buckets.errors import DataError
from lit_buckets.geometry import Size
from lit_buckets.headers import MAX_IMAGE_PIXELS
from lit_buckets.keyed import key_of
from lit_buckets.pixels.augment import Transform, apply_transform, augment, seeded
from lit_buckets.pixels.collate import collate
from lit_buckets.pixels.decode import Colour, DecodeError
from lit_buckets.pixels.failures import Failures
from lit_buckets.pixels.focus import FocusUnit
from lit_buckets.pixels.jpeg import Quality
from lit_buckets.pixels.resize import Interpolation
from lit_buckets.pixels.sample import Images, Kind, Sample, SampleReader
from lit_buckets.placement import Crop
from lit_buckets.plan import BucketPlan
from lit_buckets.sampler import BucketBatch

__all__ = ["BucketDataset", "OnError"]

OnError = Literal["replace", "raise"]

_TRANSFORM = 1  # what the sample's key is mixed with for its transforms


class BucketDataset(Dataset[dict[str, Any]]):
    """Takes a whole batch of a sampler and returns its pixels, captions and sizes.

    A batch is a plain dictionary: ``image`` (B, 3, H, W) uint8, contiguous; ``mask`` (B, 1, H, W)
    bool, true where there is picture, where the plan pads; ``caption`` and ``path``, lists of B
    strings; ``index`` (B,) int64 rows of the manifest; ``original_size``, ``crop_top_left`` and
    ``target_size`` (B, 2) int64, (height, width) and (top, left) in pixels; ``valid`` (B,) bool.
    Every further column of the manifest comes as a tensor (B,) where its values are numbers or
    booleans, and as a list otherwise, or where one is missing. Integers come as int64, and decimal
    numbers as float32, to which float64 is rounded. A column of paired images comes as (B, 3, H, W)
    uint8, or as (B, H, W) int64 where they are labels.

    A file that fails in decoding, or whose size is no longer the manifest's, leaves its place to
    another sample of the batch, or else to another image of the bucket (of any bucket, if
    none is left in this one). All fields of that place,
    ``index`` and ``caption`` included, then describe the picture that is really there, and its
    ``valid`` is false: ``index[valid]`` never counts an image that was not seen, nor one twice.

    Args:
        manifest: Paths, captions and sizes of the images.
        plan: Which bucket each image is in.
        crop: Which part of a resized picture is kept.
        focus: Columns that tell what the crop ``"focus"`` keeps: [x, y] or
            [left, top, right, bottom].
        focus_unit: Whether these are shares of the displayed image's sides, or pixels.
        flip: Probability that a picture is mirrored left to right.
        quality: How much larger a JPEG is decoded than it will be; see
            :func:`lit_buckets.pixels.jpeg.eighths`.
        interpolation: How pictures are resized; see
            :func:`lit_buckets.pixels.resize.resize_crop`.
        icc: Whether colours are converted to sRGB where a file has a profile.
        background: Red, green and blue under transparent pixels and of padding.
        paired: Columns that hold paths of paired images, relative to the root of their image's
            source: ``"image"``, or ``"labels"`` for integers that stay as they are.
        seed: What everything random depends on, besides the epoch and the sample.
        augment: Transforms of torchvision v2, applied after resize, crop and flip to the image,
            the mask and the paired images jointly.
        transform: Called on (image, sample) after all that. For it and for ``augment`` torch's,
            NumPy's and Python's global generators are seeded for this sample. The image is uint8
            (3, H, W); the sample holds the batch's other fields for this image, mask and paired
            images as torchvision's ``Mask`` and ``Image``. Returns an image of the
            same size and type, or a pair of one and the sample, as transforms of torchvision v2
            do. What it changes in the sample (a caption, say) is kept.
        transform_name: What messages call it.
        on_error: What happens if a file fails: ``"replace"`` it, or ``"raise"``.
        max_failures: Files that may fail, in all workers together, before one more stops the run.
        max_image_pixels: Largest image that is decoded at all, in pixels.
        failures_file: Where failures are remembered for the next setup pass, one
            :class:`~lit_buckets.manifest.Failure` as JSON on each line. Only those that would
            come again: not a file that is missing or has changed its size, nor a paired image.

    Attributes:
        manifest, plan, seed, augment, transform, on_error: As given.
        reader: What reads each sample, with all that is said here of how pictures are put into
            their buckets.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        *,
        manifest: Images,
        plan: BucketPlan,
        crop: Crop = "center",
        focus: Sequence[str] = (),
        focus_unit: FocusUnit = "share",
        flip: float = 0.0,
        quality: Quality = "balanced",
        interpolation: Interpolation = "bicubic",
        icc: bool = True,
        background: Colour = (255, 255, 255),
        paired: Mapping[str, Kind] | None = None,
        seed: int = 0,
        augment: Sequence[Callable[..., Any]] = (),
        transform: Transform | None = None,
        transform_name: str = "the transform",
        on_error: OnError = "replace",
        max_failures: int = 100,
        max_image_pixels: int = MAX_IMAGE_PIXELS,
        failures_file: Path | None = None,
    ) -> None:
        if on_error not in get_args(OnError):
            raise ValueError(
                f"on_error={on_error!r} must be one of {', '.join(get_args(OnError))}."
            )
        if len(manifest) != plan.images:
            raise ValueError(
                f"the manifest has {len(manifest):,} images, the plan {plan.images:,}. "
                "Plan the buckets of this very manifest."
            )
        self.manifest, self.plan, self.seed = manifest, plan, seed
        self.augment, self.transform = tuple(augment), transform
        self._transform_name = transform_name
        self.on_error: OnError = on_error
        self.reader = SampleReader(
            manifest=manifest,
            crop=crop,
            focus=tuple(focus),
            focus_unit=focus_unit,
            flip=flip,
            quality=quality,
            interpolation=interpolation,
            icc=icc,
            background=background,
            paired=dict(paired or {}),
            max_image_pixels=max_image_pixels,
        )
        self._failures = Failures(max_failures, len(manifest), failures_file)

    def __len__(self) -> int:
        """Rows of the plan that are in a bucket."""
        return int(self.plan.counts.sum())

    def __getitem__(self, batch: BucketBatch) -> dict[str, Any]:
        """Load a batch.

        Args:
            batch: From a sampler of the same plan.

        Returns:
            The batch, as the class describes it.

        Raises:
            DecodeError: If a file fails and ``on_error`` is ``"raise"``.
            DataError: If more than ``max_failures`` files have failed, or all there are, or a
                column cannot become a tensor.
            UnfitError: If the transform returns something other than an image of the same size, or
                spoils a field of the sample.
        """
        samples = [
            self._try(batch.bucket, row, batch.epoch, repetition)
            for row, repetition in zip(
                batch.indices.tolist(), batch.repetition.tolist(), strict=True
            )
        ]
        failed = np.array([sample is None for sample in samples])
        if failed.any():
            # to be repeated: valid samples, or else fillers, or else another image of the bucket
            donors = np.flatnonzero(~failed & batch.valid)
            donors = donors if donors.size else np.flatnonzero(~failed)
            spare = [samples[i] for i in donors.tolist()] or [self._stand_in(batch)]
            for turn, place in enumerate(np.flatnonzero(failed).tolist()):
                samples[place] = spare[turn % len(spare)]
        complete = [sample for sample in samples if sample is not None]
        return collate(complete, batch.valid & ~failed, self.manifest.numbers)

    def _try(self, bucket: int, row: int, epoch: int, repetition: int) -> Sample | None:
        """A sample, or ``None`` if its file failed and may be replaced."""
        try:
            return self._load(bucket, row, epoch, repetition)
        except DecodeError as error:
            if self.on_error == "raise":
                raise
            index = self.plan.image_of(row)
            self._failures.add(index, error, partial(self.manifest.stamp, index))
            return None

    def _load(self, bucket: int, row: int, epoch: int, repetition: int) -> Sample:
        key = key_of(self.seed, epoch, row, repetition)
        size = Size(*self.plan.bucket_sizes[bucket].tolist())
        # a stand-in may come from another bucket than its own, for which it has to be resized
        resizes = self.plan.fit == "native" and self.plan.bucket_of[row] != bucket
        fit = "crop" if resizes else self.plan.fit
        sample = self.reader.read(self.plan.image_of(row), size, key, fit=fit)
        if not self.augment and self.transform is None:
            return sample
        with seeded(key_of(key, _TRANSFORM)):
            if self.augment:
                sample = augment(sample, self.augment)
            if self.transform is None:
                return sample
            numbers = self.manifest.numbers
            return apply_transform(sample, self.transform, self._transform_name, numbers)

    def _stand_in(self, batch: BucketBatch) -> Sample:
        """An image in place of a batch that failed altogether: of its bucket, or else any other.

        One rotten file alone in its bucket must not end a run on many ranks.
        """
        members, count = self.plan.members, int(self.plan.counts[batch.bucket])
        start = int(self.plan.counts[: batch.bucket].sum())
        first = key_of(self.seed, batch.epoch, *batch.indices.tolist()) % count
        for step in range(len(members)):
            place = start + ((first + step) % count if step < count else step)
            row = int(members[place % len(members)])
            if self.plan.image_of(row) in self._failures:
                continue
            sample = self._try(batch.bucket, row, batch.epoch, 0)
            if sample is not None:
                return sample
        raise DataError(
            f"none of the {len(members):,} images can be decoded; {self._failures.last}. "
            "Repair or remove these files, and run the setup pass again."
        )
