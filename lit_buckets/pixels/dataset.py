"""Whole batches of pixels, made in the loader's workers.

    BucketBatch ──▶ decode ──▶ to_bucket ──▶ transform ──▶ one tensor, and what is known of it
    (sampler)       a file that fails is                   (a plain dict)
                    replaced, named, counted

Everything random follows from (seed, epoch, image, repetition), so a sample is the same bytes in
whichever process, on whichever rank and after however many resumes it is made.
"""

from __future__ import annotations

import json
import logging
import os
import random
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from lit_buckets import geometry
from lit_buckets.errors import DataError
from lit_buckets.geometry import Size
from lit_buckets.headers import MAX_IMAGE_PIXELS
from lit_buckets.keyed import key_of, uniforms
from lit_buckets.manifest import Failure
from lit_buckets.pixels.decode import Colour, DecodeError, decode, unopened
from lit_buckets.pixels.transforms import Crop, Interpolation, to_bucket
from lit_buckets.plan import BucketPlan
from lit_buckets.sampler import BucketBatch

__all__ = ["BucketDataset", "Images", "OnError", "Transform"]

OnError = Literal["replace", "raise"]
Transform = Callable[[torch.Tensor, dict[str, Any]], Any]

_TRANSFORM = 1  # what the sample's key is mixed with for the user's transform
_PAIRS = ("original_size", "crop_top_left", "target_size")

log = logging.getLogger("lit_buckets")


class Images(Protocol):
    """What is asked of a manifest."""

    @property
    def sizes(self) -> npt.NDArray[Any]:
        """(N, 2) displayed heights and widths, in pixels."""

    def __len__(self) -> int:
        """N."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of further columns."""

    @property
    def numbers(self) -> frozenset[str]:
        """Those of them that hold numbers or booleans, none of them missing."""

    def path(self, index: int, /) -> str:
        """Path of an image, for people."""

    def read(self, index: int, /) -> bytes:
        """Content of an image's file."""

    def stamp(self, index: int, /) -> tuple[int, int]:
        """Its length in bytes and time of last change, as they are now."""

    def value(self, index: int, column: str, /) -> Any:
        """Its value in a further column; None where it has none."""

    def caption(self, index: int, /) -> str:
        """Caption of an image; "" where it has none."""


class BucketDataset(Dataset[dict[str, Any]]):
    """Takes a whole batch of a sampler and returns its pixels, captions and sizes.

    A batch is a plain dictionary: ``image`` (B, 3, H, W) uint8, contiguous; ``caption`` and
    ``path``, lists of B strings; ``index`` (B,) int64 rows of the manifest; ``original_size``,
    ``crop_top_left`` and ``target_size`` (B, 2) int64, (height, width) and (top, left) in pixels;
    ``valid`` (B,) bool. Every further column of the manifest comes as a tensor (B,) where its
    values are numbers or booleans, and as a list otherwise, or where one is missing.

    A file that fails in decoding, or whose size is no longer the manifest's, leaves its place to
    another sample of the batch, or else to another image of the bucket (of any bucket, if
    none is left in this one). All fields of that place,
    ``index`` and ``caption`` included, then describe the picture that is really there, and its
    ``valid`` is false: ``index[valid]`` never counts an image that was not seen, nor one twice.

    Args:
        manifest: Paths, captions and sizes of the images.
        plan: Which bucket each image is in.
        crop: Which part of a resized picture is kept.
        flip: Probability that a picture is mirrored left to right.
        interpolation: How pictures are resized.
        background: Red, green and blue under transparent pixels.
        seed: What everything random depends on, besides the epoch and the sample.
        transform: Called on (image, sample) after resize, crop and flip, with torch's, NumPy's
            and Python's global generators seeded for this sample. The image is uint8 (3, H, W);
            the sample holds the batch's other fields for this image. Returns an image of the
            same size and type, or a pair of one and the sample, as transforms of torchvision v2
            do. What it changes in the sample (a caption, say) is kept.
        on_error: What happens if a file fails: ``"replace"`` it, or ``"raise"``.
        max_failures: Files that may fail in one process before replacing them stops the run.
        max_image_pixels: Largest image that is decoded at all, in pixels.
        failures_file: Where failures are remembered for the next setup pass, one
            :class:`~lit_buckets.manifest.Failure` as JSON on each line. Only those that would
            come again: not a file that is missing or has changed its size.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        *,
        manifest: Images,
        plan: BucketPlan,
        crop: Crop = "center",
        flip: float = 0.0,
        interpolation: Interpolation = "bicubic",
        background: Colour = (255, 255, 255),
        seed: int = 0,
        transform: Transform | None = None,
        on_error: OnError = "replace",
        max_failures: int = 100,
        max_image_pixels: int = MAX_IMAGE_PIXELS,
        failures_file: Path | None = None,
    ) -> None:
        _check_choice("crop", crop, get_args(Crop))
        _check_choice("interpolation", interpolation, get_args(Interpolation))
        _check_choice("on_error", on_error, get_args(OnError))
        if not 0 <= flip <= 1:
            raise ValueError(f"flip={flip} must be a probability, from 0 to 1.")
        if len(manifest) != plan.images:
            raise ValueError(
                f"the manifest has {len(manifest):,} images, the plan {plan.images:,}. "
                "Plan the buckets of this very manifest."
            )
        self.manifest, self.plan = manifest, plan
        self.crop: Crop = crop
        self.flip = flip
        self.interpolation: Interpolation = interpolation
        self.background, self.seed = background, seed
        self.transform = transform
        self.on_error: OnError = on_error
        self.max_image_pixels = max_image_pixels
        self._failures = _Failures(max_failures, failures_file)

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
            DataError: If more than ``max_failures`` files have failed, or all there are.
            ValueError: If the transform returns something other than an image of the same size.
        """
        samples = [
            self._try(batch.bucket, row, batch.epoch, repetition)
            for row, repetition in zip(
                batch.indices.tolist(), batch.repetition.tolist(), strict=True
            )
        ]
        failed = np.array([sample is None for sample in samples])
        if not failed.any():
            return _collate(samples, batch.valid.copy(), self.manifest.numbers)
        # samples to repeat: valid ones, or else fillers, or else another image of the bucket
        donors = np.flatnonzero(~failed & batch.valid)
        donors = donors if donors.size else np.flatnonzero(~failed)
        spare = [samples[i] for i in donors.tolist()] or [self._stand_in(batch)]
        for turn, place in enumerate(np.flatnonzero(failed).tolist()):
            samples[place] = spare[turn % len(spare)]
        return _collate(samples, batch.valid & ~failed, self.manifest.numbers)

    def _try(self, bucket: int, row: int, epoch: int, repetition: int) -> _Sample | None:
        """A sample, or ``None`` if its file failed and may be replaced."""
        try:
            return self._load(bucket, row, epoch, repetition)
        except DecodeError as error:
            if self.on_error == "raise":
                raise
            self._failures.add(error, partial(self.manifest.stamp, self.plan.image_of(row)))
            return None

    def _load(self, bucket: int, row: int, epoch: int, repetition: int) -> _Sample:
        index = self.plan.image_of(row)
        size = Size(*self.plan.bucket_sizes[bucket].tolist())
        original = Size(*self.manifest.sizes[index].tolist())
        path = self.manifest.path(index)
        resized = self._resized(row, bucket)
        key = key_of(self.seed, epoch, row, repetition)
        flip, vertical, horizontal = uniforms(key, 3).tolist()
        image, offset = to_bucket(
            self._decode(index, path, original, resized),
            original=original,
            resized=resized,
            bucket=size,
            crop=self.crop,
            flip=flip < self.flip,
            interpolation=self.interpolation,
            uniforms=(vertical, horizontal),
        )
        sample = _Sample(
            image,
            {
                "index": index,
                "caption": self.manifest.caption(index),
                "original_size": original,
                "crop_top_left": offset,
                "target_size": size,
                "path": path,
                **{name: self.manifest.value(index, name) for name in self.manifest.columns},
            },
        )
        if self.transform is None:
            return sample
        with _seeded(key_of(key, _TRANSFORM)):
            return _transformed(sample, self.transform)

    def _resized(self, row: int, bucket: int) -> Size:
        """Size of an image before it is cut; a stand-in comes from another bucket than its own."""
        size = self.plan.sizes[row]
        if self.plan.bucket_of[row] == bucket:
            return Size(*self.plan.resized(row).tolist())
        return Size(*geometry.cover(size, self.plan.bucket_sizes[bucket]).tolist())

    def _decode(self, index: int, path: str, original: Size, resized: Size) -> torch.Tensor:
        """The picture of a file, not much larger than it shall be where the format allows it."""
        try:
            content = self.manifest.read(index)
        except (OSError, ValueError) as error:
            raise unopened(path, error) from None
        picture = decode(
            content,
            name=path,
            wanted=resized,
            background=self.background,
            max_image_pixels=self.max_image_pixels,
        )
        if picture.original != original:
            raise _changed(path, picture.original, original)
        return picture.image

    def _stand_in(self, batch: BucketBatch) -> _Sample:
        """An image in place of a batch that failed altogether: of its bucket, or else any other.

        One rotten file alone in its bucket must not end a run on many ranks.
        """
        members, count = self.plan.members, int(self.plan.counts[batch.bucket])
        start = int(self.plan.counts[: batch.bucket].sum())
        first = key_of(self.seed, batch.epoch, *batch.indices.tolist()) % count
        for step in range(len(members)):
            place = start + ((first + step) % count if step < count else step)
            row = int(members[place % len(members)])
            if self.manifest.path(self.plan.image_of(row)) in self._failures:
                continue
            sample = self._try(batch.bucket, row, batch.epoch, 0)
            if sample is not None:
                return sample
        raise DataError(
            f"none of the {len(members):,} images can be decoded; {self._failures.last}. "
            "Repair or remove these files, and run the setup pass again."
        )


class _Sample(NamedTuple):
    image: torch.Tensor  # uint8 (3, H, W)
    fields: dict[str, Any]  # the batch's other fields, for this image


def _collate(
    samples: list[_Sample | None], valid: npt.NDArray[np.bool_], numbers: Collection[str]
) -> dict[str, Any]:
    """Put samples together, none of which is missing any more; further columns come last."""
    complete = [sample for sample in samples if sample is not None]
    fields = {name: [sample.fields[name] for sample in complete] for name in complete[0].fields}
    batch = {
        "image": torch.stack([sample.image for sample in complete]),
        "caption": fields.pop("caption"),
        "index": torch.tensor(fields.pop("index"), dtype=torch.int64),
        **{name: torch.tensor(fields.pop(name), dtype=torch.int64) for name in _PAIRS},
        "valid": torch.from_numpy(valid),
    }
    further = {
        name: torch.tensor(values) if name in numbers else values for name, values in fields.items()
    }
    return batch | further


# -- the user's transform ----------------------------------------------------------------------


def _transformed(sample: _Sample, transform: Transform) -> _Sample:
    """Apply a transform, and refuse what could not stand in a batch."""
    fields = dict(sample.fields)
    image = transform(sample.image.contiguous(), fields)
    if isinstance(image, tuple) and len(image) == 2:
        image, fields = image
    if not isinstance(image, torch.Tensor):
        raise ValueError(
            f"the transform returned {type(image).__name__} for {sample.fields['path']!r}, not an "
            "image. Return the image, or the pair (image, sample)."
        )
    if image.shape != sample.image.shape or image.dtype != torch.uint8:
        raise ValueError(
            f"the transform made {image.dtype} of shape {tuple(image.shape)} of "
            f"{sample.fields['path']!r}; all images of a batch must keep uint8 and shape "
            f"{tuple(sample.image.shape)}. Leave resizing to the buckets and floats to "
            "transform.normalize."
        )
    return _Sample(image, {name: fields[name] for name in sample.fields})


@contextmanager
def _seeded(key: int) -> Iterator[None]:
    """Seed torch's, NumPy's and Python's global generators; leave all as they were found."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        torch.default_generator.manual_seed(key >> 1)  # the CPU's alone: no device is asked for
        np.random.seed([key & 0xFFFFFFFF, key >> 32])  # noqa: NPY002
        random.seed(key)
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])


# -- files that fail -----------------------------------------------------------------------------


class _Failures:
    """Names, remembers and counts files that failed in this process."""

    def __init__(self, most: int, file: Path | None) -> None:
        self._most, self._file = most, file
        self._paths: set[str] = set()
        self.last = ""

    def __contains__(self, path: str) -> bool:
        return path in self._paths

    def add(self, error: DecodeError, stamp: Callable[[], tuple[int, int]]) -> None:
        """Take note of a failure.

        Args:
            error: What happened.
            stamp: Asks for the length and the time of last change of the file.

        Raises:
            DataError: If it is one file too many.
        """
        if error.path in self._paths:
            return
        self._paths.add(error.path)
        self.last = f"{error.path!r}: {error.reason}"
        known = self._remember(error, stamp)
        # workers begin anew in each epoch: what one of them has named is not named again
        log.log(
            logging.INFO if known else logging.WARNING,
            "%r fails, and another image takes its place: %s",
            error.path,
            error.reason,
        )
        if len(self._paths) > self._most:
            raise DataError(
                f"{len(self._paths)} files failed in decoding, more than "
                f"max_failures={self._most}; the last is {self.last}. "
                "Repair or remove them, or raise data.max_failures."
            )

    def _remember(self, error: DecodeError, stamp: Callable[[], tuple[int, int]]) -> bool:
        """Append to the file what would fail again; return whether it was there already."""
        if self._file is None or not error.lasting:
            return False
        try:
            failure = Failure(error.path, *stamp(), error.reason)
            line = json.dumps(failure).encode() + b"\n"
            if self._file.exists() and line in self._file.read_bytes():
                return True
            _append(self._file, line)
        except OSError as problem:
            log.warning("%s does not remember it: %s", self._file, problem)
        return False


def _append(file: Path, line: bytes) -> None:
    """Append in one write, so that lines of several processes do not mix."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def _changed(path: str, found: Size, expected: Size) -> DecodeError:
    reason = (
        f"changed since the setup pass: it is {found.height}x{found.width} pixels, "
        f"not {expected.height}x{expected.width}"
    )
    message = f"{path!r} {reason}. Run the setup pass again."
    # not lasting: that pass will take it with its new size
    return DecodeError(message, path=path, reason=reason, lasting=False)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name}={value!r} must be one of {', '.join(choices)}.")
