"""A configuration to begin with, fitted to the images that are there."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from lit_buckets.config import (
    Config,
    SourceConfig,
    describe,
    load_config,
    to_plain,
    to_yaml,
)
from lit_buckets.manifest import Manifest
from lit_buckets.plan import plan_buckets
from lit_buckets.sources import kind_of, options_of_kind
from lit_buckets.stages import open_stage, scan_stage
from lit_buckets.storage import absolute

__all__ = ["Draft", "draft"]

IntArray = npt.NDArray[np.int64]

# sides of the squares that models are trained on, and what sides are multiples of, in pixels
_SQUARES = {1024: 64, 768: 64, 512: 64, 384: 32, 256: 32, 128: 16, 64: 8}
_ENLARGED = 0.1  # share of the images that may be smaller than their bucket
_MORE_CUT = 0.005  # mean crop loss that fewer shapes may cost
_FEW_SHAPES, _MOST_SHAPES = 8, 32
_BATCHES = 4  # batches that a bucket should fill, or its images keep meeting one another
_BATCH_SIZE = 8
_VAL = ((1000, 0.02), (200, 0.05))  # from so many images on: which share to validate on
_WORKERS = 4


class Draft(NamedTuple):
    """A configuration and why it is as it is."""

    config: dict[str, dict[str, Any]]  #: sections, for :func:`lit_buckets.load_config`
    reasons: dict[str, str]  #: what was found, by dotted key

    @property
    def text(self) -> str:
        """A YAML file with every key explained."""
        head = "# Chosen for the images that were found. Every key: docs/configuration.md\n\n"
        helps = {option.key: option.help for option in describe()}
        keys = [f"{section}.{name}" for section, values in self.config.items() for name in values]
        comments = {key: f"{helps[key]} {self.reasons.get(key, '')}" for key in keys}
        return head + to_yaml(self.config, comments)


def draft(
    train: str | os.PathLike[str] | dict[str, Any], *, cache_dir: str = ".lit_buckets"
) -> Draft:
    """Size the training images, and choose what suits them.

    The budget is the largest usual one, from 64 to 1024 squared, at which at most a tenth of the
    images is enlarged. Shapes are as few as cut at most half a percentage point more than many
    would, and, beyond a few, as fill four batches each on average.

    Args:
        train: A folder, or whatever else ``data.train`` takes.
        cache_dir: Where the setup pass keeps the sizes.

    Returns:
        The configuration, checked, and the reasons.

    Raises:
        ConfigError: If ``train`` is no such thing.
        DataError: If there is no readable image.
    """
    config = load_config({"data": {"train": train, "cache_dir": cache_dir}})
    scan_stage(config, "train")
    images = open_stage(config, "train")
    assert images is not None  # data.train is never null
    manifest = images.manifest
    reasons: dict[str, str] = {}
    sections = {
        "data": _data(config, manifest, reasons),
        "buckets": _buckets(manifest.sizes.astype(np.int64), reasons),
        "batches": {"batch_size": min(_BATCH_SIZE, len(manifest))},
        "transform": {"crop": "center", "flip": 0.0, "normalize": "minus_one_one"},
        "loader": {"num_workers": min(_WORKERS, os.cpu_count() or 1)},
    }
    reasons["batches.batch_size"] = "As many as fit into memory."
    reasons["loader.num_workers"] = "What is best here, `lit-buckets bench` measures."
    load_config(sections)
    return Draft(sections, reasons)


def _data(config: Config, manifest: Manifest, reasons: dict[str, str]) -> dict[str, Any]:
    """The source with what differs from its defaults, and a share to validate on."""
    captioned = pc.sum(pc.not_equal(manifest.table.column("caption"), "")).as_py()
    found = f"Found: {len(manifest):,} images, {captioned:,} of them with captions"
    refused = f"; {len(manifest.refused):,} files cannot be read" if manifest.refused else ""
    reasons["data.train"] = f"{found}{refused}."
    share = next((share for least, share in _VAL if len(manifest) >= least), None)
    if share is None:
        reasons["data.val"] = f"Null for none: from {_VAL[-1][0]} images on a share is proposed."
    default = {field.name: field.default for field in fields(SourceConfig)}
    sources = []
    for source in to_plain(config)["data"]["train"]:
        changed = {key: value for key, value in source.items() if value != default[key]}
        kind = source["kind"] or kind_of(source["path"])
        without = {"captions": None} if "captions" in options_of_kind(kind) else {}
        changed["path"] = absolute(source["path"])
        sources.append(changed if captioned else changed | without)
    train = sources[0] if len(sources) == 1 else sources
    return {"train": train, "val": share, "cache_dir": config.data.cache_dir}


def _buckets(sizes: IntArray, reasons: dict[str, str]) -> dict[str, Any]:
    """Budget, divisor and number of shapes."""
    areas = sizes.prod(axis=1)
    reached = (side for side in _SQUARES if np.mean(areas < side**2) <= _ENLARGED)
    side = next(reached, min(_SQUARES))
    divisor, enlarged = _SQUARES[side], np.mean(areas < side**2)
    reasons["buckets.max_area"] = (
        f"This is {side} squared: the images have {np.median(areas) / 1e6:.2g} megapixels in the "
        f"median, and {enlarged:.0%} are enlarged."
    )
    number, why = _shapes(sizes, side**2, divisor)
    reasons["buckets.max_buckets"] = why
    return {"rule": "fit", "max_area": side**2, "divisor": divisor, "max_buckets": number}


def _shapes(sizes: IntArray, area: int, divisor: int) -> tuple[int | None, str]:
    """How many shapes suffice, or ``None`` for all that the images ask for, and why."""
    free = plan_buckets(sizes, max_area=area, divisor=divisor)
    asked, filled = len(free.bucket_sizes), len(sizes) // (_BATCHES * _BATCH_SIZE)
    most = min(_MOST_SHAPES, max(_FEW_SHAPES, filled))
    curve = plan_buckets(sizes, max_area=area, divisor=divisor, max_buckets=most).curve
    least = min(curve.values(), default=0.0)
    number = next((n for n, loss in curve.items() if loss <= least + _MORE_CUT), most)
    number = min(number, most)
    if number >= asked:
        return None, f"The images ask for {asked}."
    return number, (
        f"The images ask for {asked}, which cut {free.crop_loss.mean():.1%} on average; these "
        f"would cut {curve[number]:.1%}."
    )
