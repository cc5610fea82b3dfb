"""From the configuration to a stage's pixels: dataset, table of the plan, bytes as floats."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from lit_buckets.config import Config, NormalizeConfig, TransformConfig
from lit_buckets.config.augmentation import make_transforms
from lit_buckets.config.text import problem
from lit_buckets.errors import DataError
from lit_buckets.geometry import Size
from lit_buckets.pixels.augment import Transform, TransformError, check_augment
from lit_buckets.pixels.dataset import BucketDataset
from lit_buckets.pixels.focus import check_focus, read_focus
from lit_buckets.pixels.normalize import Normalize, Statistics, normalize
from lit_buckets.pixels.sample import Kind
from lit_buckets.placement import Crop
from lit_buckets.plan import BucketPlan, ledger
from lit_buckets.stages import Stage, StageImages

__all__ = ["check_pixels", "make_dataset", "normalized", "plan_rows"]

_LARGEST = 2**63 - 1  # integer in a batch
_MOST_TRIED = 8  # bucket sizes, besides the extremes, that transforms are tried at before training

log = logging.getLogger("lit_buckets")


def check_pixels(config: Config, stage: Stage, images: StageImages) -> None:
    """Refuse settings of the pixels that these images cannot follow.

    Training images must have the columns that the configuration names; those of other stages may
    lack them: their crops are then centred, and their paired images are left out.

    Args:
        config: The whole configuration.
        stage: What the images are for.
        images: The images and their plan.

    Raises:
        ConfigError: If a column is missing, or a transform does not keep an image's size and type.
        DataError: If a column does not hold what it should, or more than a batch can.
    """
    transform, manifest = config.transform, images.manifest
    for key, names in (("focus", transform.focus or ()), ("paired", tuple(transform.paired))):
        missing = [name for name in names if name not in manifest.columns]
        if missing and stage == "train":
            have = ", ".join(manifest.columns) or "no further columns"
            raise problem(
                f"transform.{key}",
                names,
                "must name columns of the training images",
                f"{', '.join(missing)} is not among {have}",
                "Correct the name, or add the column to the table.",
            )
        if missing:
            log.warning("the %s images have no column %s", stage, ", ".join(missing))
    if focus := _focus(transform, images):
        check_focus(manifest, focus, transform.focus_unit)
    for name in _paired(transform, images):
        found = manifest.table.schema.field(name).type
        if not (pa.types.is_string(found) or pa.types.is_large_string(found)):
            raise DataError(
                f"column {name!r} must hold paths of paired images; it holds {found}. "
                "Correct the table, or transform.paired."
            )
    _check_integers(images)
    if stage == "train" and transform.augment:
        _check_augment(transform, images)


def _check_integers(images: StageImages) -> None:
    """Batches hold integers in 64 bits, one of them for the sign."""
    manifest = images.manifest
    for name in sorted(manifest.numbers):
        if manifest.table.schema.field(name).type != pa.uint64():
            continue
        largest = pc.max(manifest.table.column(name)).as_py()
        if largest is not None and largest > _LARGEST:
            raise DataError(
                f"column {name!r} must hold integers below 2**63, as batches hold int64; its "
                f"largest is {largest}. Store it as text, or leave it out of its source's columns."
            )


def _check_augment(transform: TransformConfig, images: StageImages) -> None:
    try:
        check_augment(
            make_transforms(transform.augment),
            _sizes_to_try(images.plan),
            mask=images.plan.fit == "pad",
            paired=_paired(transform, images),
        )
    except ValueError as error:
        failed = isinstance(error, TransformError)
        reason, _, _ = str(error).rstrip(".").partition(". ")
        raise problem(
            "transform.augment",
            transform.augment,
            "must work on the images of every bucket"
            if failed
            else "must keep every image an image as large as its bucket, in bytes",
            reason,
            f"Leave out the transform that {'fails' if failed else 'does not'}.",
        ) from error


def _sizes_to_try(plan: BucketPlan) -> list[Size]:
    """Some of the sizes that images have; among them the extremes, where transforms fail first."""
    sizes = plan.bucket_sizes[plan.counts > 0]
    if not len(sizes):
        return []
    measures = np.column_stack([sizes, sizes.prod(axis=1)])  # height, width, area
    extremes = *measures.argmin(axis=0).tolist(), *measures.argmax(axis=0).tolist()
    some = range(0, len(sizes), -(-len(sizes) // _MOST_TRIED))
    return [Size(*sizes[i].tolist()) for i in sorted({*some, *extremes})]


def make_dataset(
    config: Config, stage: Stage, images: StageImages, transform: Transform | None = None
) -> BucketDataset:
    """The dataset of a stage.

    Args:
        config: The whole configuration.
        stage: What the images are for; only training images are augmented.
        images: The images and their plan.
        transform: A transform in Python.

    Returns:
        The dataset.
    """
    data, pixels, training = config.data, config.transform, stage == "train"
    focus = _focus(pixels, images)
    return BucketDataset(
        manifest=images.manifest,
        plan=images.plan,
        crop=_crop(pixels, stage),
        focus=focus,
        focus_unit=pixels.focus_unit,
        flip=pixels.flip if training else 0.0,
        quality=pixels.quality,
        interpolation=pixels.interpolation,
        icc=pixels.icc,
        background=pixels.background,
        paired=_paired(pixels, images),
        seed=config.batches.seed,
        augment=make_transforms(pixels.augment) if training else (),
        transform=transform,
        transform_name="train_transform" if training else "eval_transform",
        on_error=data.on_error,
        max_failures=data.max_failures,
        max_image_pixels=data.max_image_pixels,
        failures_file=Path(data.cache_dir) / "failed.jsonl",
    )


def plan_rows(
    config: Config, stage: Stage, images: StageImages, *, paths: Sequence[str] | None = None
) -> pa.Table:
    """What happens to each image of a stage, one row for each of the plan's.

    Args:
        config: The whole configuration.
        stage: What the images are for.
        images: The images and their plan.
        paths: Where each image lies, if that is to be told.

    Returns:
        A table as :func:`lit_buckets.plan.ledger.rows`.
    """
    pixels = config.transform
    columns = _focus(pixels, images)
    return ledger.rows(
        images.plan,
        paths=paths,
        crop=_crop(pixels, stage),
        focus=read_focus(images.manifest, columns, pixels.focus_unit) if columns else None,
    )


def normalized(
    batch: Mapping[str, Any], transform: TransformConfig, dtype: torch.dtype
) -> dict[str, Any]:
    """A batch with its image, and its paired images that are no labels, as a model takes them.

    Args:
        batch: From a loader, on any device; images that are no bytes any more stay as they are.
        transform: The section of the configuration.
        dtype: What the model computes in.

    Returns:
        A new batch.
    """
    names = ["image", *(name for name, kind in transform.paired.items() if kind == "image")]
    how = _normalization(transform)
    images = {
        name: normalize(batch[name], how, dtype, channels_last=transform.channels_last)
        for name in names
        if name in batch and batch[name].dtype == torch.uint8
    }
    return {**batch, **images}


def _normalization(transform: TransformConfig) -> Normalize | Statistics | None:
    how = transform.normalize
    return Statistics(how.mean, how.std) if isinstance(how, NormalizeConfig) else how


def _crop(transform: TransformConfig, stage: Stage) -> Crop:
    """Only training images are cropped at random."""
    return "center" if transform.crop == "random" and stage != "train" else transform.crop


def _focus(transform: TransformConfig, images: StageImages) -> Sequence[str]:
    """The columns to follow, if these images have them."""
    columns = transform.focus or ()
    return columns if set(columns) <= set(images.manifest.columns) else ()


def _paired(transform: TransformConfig, images: StageImages) -> dict[str, Kind]:
    """The paired images that these images have."""
    have = images.manifest.columns
    return {name: kind for name, kind in transform.paired.items() if name in have}
