"""The whole of an export, and the configuration that trains on it."""

from __future__ import annotations

import hashlib
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lit_buckets.config import Config, load_config, to_plain, to_yaml
from lit_buckets.datamodule import BucketDataModule
from lit_buckets.errors import ConfigError, DataError
from lit_buckets.export.folder import claim, write_left_out
from lit_buckets.export.groups import Group, groups_of
from lit_buckets.export.images import (
    FORMATS,
    LONGEST,
    Encoding,
    ImageFormat,
    exported_columns,
)
from lit_buckets.manifest import Manifest, replace_text
from lit_buckets.manifest.columns import hash_strings
from lit_buckets.stages import STAGES, Stage
from lit_buckets.storage import is_remote

__all__ = ["Exported", "export"]

_HEAD = "# Trains on images that have their buckets' sizes already: nothing is resized.\n\n"


class Exported(NamedTuple):
    """What an export did."""

    config: Path  #: trains on the images
    written: int  #: images that were written now
    there: int  #: images that were there already
    left_out: dict[str, str]  #: images that are not there, by path, and why


def export(
    config: str | os.PathLike[str] | Mapping[str, Any] | Config,
    directory: str | os.PathLike[str],
    *,
    overrides: Sequence[str] = (),
    image_format: ImageFormat = "png",
    quality: int = 95,
    num_workers: int | None = None,
    progress: bool | None = None,
) -> Exported:
    """Write all images resized and cropped to their buckets, with captions, tables and a config.

    The configuration that is written has the rule ``native``, so nothing is resized any more: from
    PNG files training gets the very pixels that it would get now. What is random stays for the
    training to do: images are not mirrored, and a random crop becomes one of the centre. Further
    columns keep their names, with underscores behind those that the tables have of their own
    (``text``, ``height`` and so on).

    An export that was stopped, in whatever way, goes on where it was; one that is complete writes
    nothing. One process at a time may write to a folder.

    Args:
        config: As for :class:`~lit_buckets.BucketDataModule`.
        directory: Where to; a folder that is empty, missing, or holds this very export.
        overrides: Strings ``section.key=value`` that are put into the configuration.
        image_format: png, which keeps every pixel, jpg or webp.
        quality: Of jpg and webp, 1 to 100.
        num_workers: Processes that write; ``None`` = the configuration's, 0 = this one.
        progress: Whether to show a bar; ``None`` shows one in a terminal.

    Returns:
        How many images were written, and which were left out.

    Raises:
        ConfigError: If the configuration has a mistake, or the folder holds other files or lies in
            a source.
        DataError: If there is no readable image, the folder holds another export, or a file cannot
            be written.
        ValueError: If the format or the quality is out of its range.
    """
    if image_format not in FORMATS or not 1 <= quality <= 100:
        raise ValueError(
            f"image_format={image_format!r} must be one of {', '.join(FORMATS)}, and "
            f"quality={quality} from 1 to 100."
        )
    wanted = load_config(config, overrides)
    if wanted.transform.fit == "pad":
        raise ConfigError(
            "transform.fit=pad cannot be exported; files keep no mask of what is padded. "
            "Set transform.fit=crop."
        )
    dm = BucketDataModule(_without_chance(wanted))
    dm.prepare_data()
    dm.setup()
    place = Path(os.path.abspath(directory))  # noqa: PTH100 - links are kept
    if "${" in str(place):
        raise ConfigError(
            f"directory={str(place)!r} cannot be named in a configuration; '${{' stands for a "
            f"variable there. Choose another name."
        )
    encoding = Encoding(image_format, quality)
    stages = [stage for stage in STAGES if getattr(wanted.data, stage) is not None]
    _check_sides(dm, stages, image_format)
    _check_outside(place, {stage: dm.manifest_of(stage) for stage in stages})
    claim(place, _identity(dm, stages, encoding))
    columns = exported_columns(dm.manifest_of(stage) for stage in stages)
    groups = [
        group
        for stage in stages
        for group in groups_of(dm, stage, place / stage, encoding, columns)
    ]
    workers = min(wanted.loader.num_workers, os.cpu_count() or 1)
    workers = workers if num_workers is None else num_workers
    show = sys.stderr.isatty() if progress is None else progress
    left_out: dict[str, str] = {}
    for stage in stages:
        reasons = _left_out(dm, stage)
        for group in (group for group in groups if group.stage == stage):
            reasons |= group.write(workers, wanted.loader.multiprocessing_context, show=show)
        write_left_out(place / stage, reasons)
        left_out |= reasons
        if not any(group.done for group in groups if group.stage == stage):
            raise DataError(
                f"none of the {stage} images can be exported; {len(reasons):,} are named with "
                f"reasons in {str(place / stage / 'left_out.csv')!r}. Repair them, or change the "
                f"section buckets."
            )
    file = place / "config.yaml"
    replace_text(file, _HEAD + to_yaml(_config_of(wanted, dm, groups, columns)))
    there = sum(group.there for group in groups)
    return Exported(file, sum(group.done for group in groups) - there, there, left_out)


def _check_sides(dm: BucketDataModule, stages: list[Stage], image_format: ImageFormat) -> None:
    """Refuse a format that cannot hold the largest of the images, before any is written."""
    most = LONGEST.get(image_format)
    for stage in stages:
        plan = dm.plan_of(stage)
        sides = plan.bucket_sizes[plan.counts > 0]
        if most is not None and sides.size and sides.max() > most:
            raise ConfigError(
                f"image_format={image_format!r} cannot hold the {stage} images; its sides have "
                f"{most:,} pixels at most, and a bucket has {sides.max():,}. Choose png."
            )


def _without_chance(config: Config) -> Config:
    """The configuration without what is random, and with batches that may be as small as one."""
    crop = config.transform.crop
    return replace(
        config,
        data=replace(config.data, on_error="raise"),
        batches=replace(config.batches, batch_size=1, max_pixels=None),
        transform=replace(
            config.transform, crop="center" if crop == "random" else crop, flip=0.0, augment=()
        ),
    )


def _check_outside(place: Path, manifests: Mapping[Stage, Manifest]) -> None:
    """Refuse to write among the images that are read."""
    for stage, manifest in manifests.items():
        for source in manifest.sources:
            root = source["root"]
            if not root or is_remote(root):
                continue
            if place.resolve().is_relative_to(Path(root).resolve()):
                raise ConfigError(
                    f"{str(place)!r} lies in {root!r}, a source of data.{stage}: the next setup "
                    "pass could find what is written there. Name a folder outside it."
                )


def _identity(dm: BucketDataModule, stages: list[Stage], encoding: Encoding) -> dict[str, Any]:
    """What decides each byte of an export."""
    transform = to_plain(dm.config)["transform"]
    for name in ("normalize", "channels_last"):  # of the device
        del transform[name]
    quality = {} if encoding.format == "png" else {"quality": encoding.quality}
    images: dict[str, Any] = {
        stage: {
            "plan": dm.plan_of(stage).hash,
            "images": dm.manifest_of(stage).fingerprint,
            "files": _digest(dm.manifest_of(stage)),
        }
        for stage in stages
    }
    return {"format": encoding.format, **quality, "transform": transform, **images}


def _digest(manifest: Manifest) -> str:
    """Changes if a file, a caption or a further column does, in hexadecimal digits."""
    digest = hashlib.sha256()
    for name in ("bytes", "mtime_ns"):
        digest.update(np.ascontiguousarray(manifest.table.column(name).to_numpy()).data)
    digest.update(hash_strings(manifest.table.column("caption").combine_chunks()).data)
    for name in sorted(manifest.columns):
        digest.update(repr((name, manifest.table.column(name).to_pylist())).encode())
    return digest.hexdigest()


def _left_out(dm: BucketDataModule, stage: Stage) -> dict[str, str]:
    """Images that the setup pass or the plan leaves out, and why."""
    manifest, plan = dm.manifest_of(stage), dm.plan_of(stage)
    reasons = {refused.path: refused.reason for refused in manifest.refused}
    return reasons | {
        manifest.path(plan.image_of(row)): reason for row, reason in plan.excluded.items()
    }


def _config_of(
    wanted: Config, dm: BucketDataModule, groups: list[Group], columns: Mapping[str, str]
) -> dict[str, Any]:
    """The configuration that trains on what was written."""
    tree = to_plain(wanted)
    stages = list(dict.fromkeys(group.stage for group in groups))
    for stage in stages:
        tree["data"][stage] = [
            {
                "path": str(group.folder),
                "repeats": group.repeats,
                "kind": "imagefolder",
                "caption_column": "text",
            }
            for group in groups
            if group.stage == stage and group.done
        ]
    sides = np.concatenate([dm.plan_of(stage).bucket_sizes for stage in stages])
    tree["buckets"] = {
        "rule": "native",
        "divisor": math.gcd(wanted.buckets.divisor, *sides.ravel().tolist()),
        "max_area": int(sides.prod(axis=1).max()),
    }
    tree["transform"] |= {"fit": "crop", "crop": "center", "focus": None}
    paired = tree["transform"]["paired"]
    tree["transform"]["paired"] = {columns[name]: kind for name, kind in paired.items()}
    # what the originals had to be: these are of other sizes, and all of them are meant
    tree["data"] |= {"min_image_side": 1, "max_image_ratio": None}
    tree["data"]["max_image_pixels"] = max(
        wanted.data.max_image_pixels, tree["buckets"]["max_area"]
    )
    return tree
