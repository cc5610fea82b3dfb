"""The images of a stage: from the configuration to a manifest on disk and a plan in memory.

The setup pass (:func:`scan_stage`) runs on one process of a node; :func:`open_stage` on every
rank, with the same result.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lit_buckets.config import Config, as_source
from lit_buckets.errors import DataError
from lit_buckets.manifest import Manifest, read_failures, replace_text, writing
from lit_buckets.placement import Fit
from lit_buckets.plan import BucketPlan, plan_buckets
from lit_buckets.scan import manifest_file, scan

__all__ = ["STAGES", "Stage", "StageImages", "open_stage", "plan_stage", "scan_stage"]

Stage = Literal["train", "val", "test", "predict"]

STAGES: tuple[Stage, ...] = ("train", "val", "test", "predict")

_log = logging.getLogger("lit_buckets")


@dataclass(frozen=True)
class StageImages:
    """The images of one stage and the plan for them."""

    manifest: Manifest
    left_out: Mapping[int, str]  #: images that failed in decoding before this run, or lack a pair
    plan: BucketPlan


def scan_stage(config: Config, stage: Stage, *, progress: bool | None = None) -> None:
    """Size the images of a stage and write its manifest, and what to leave out of it.

    Args:
        config: The whole configuration.
        stage: Which images; nothing happens where none are configured.
        progress: Whether to show a bar; ``None`` shows one in a terminal.

    Raises:
        DataError: If there is no readable image, or the cache cannot be written.
    """
    data = config.data
    if _is_share(config, stage):
        return  # made with the training images that it is a part of
    if (sources := getattr(data, stage)) is None:
        return
    manifest = scan(
        [as_source(source) for source in sources],
        cache_dir=data.cache_dir,
        on_unreadable=data.on_unreadable,
        max_image_pixels=data.max_image_pixels,
        min_image_side=data.min_image_side,
        max_image_ratio=data.max_image_ratio,
        verify=data.verify,
    )
    with writing(Path(data.cache_dir)):
        manifests = [manifest]
        if stage == "train" and isinstance(data.val, float):
            manifests = list(manifest.split(data.val, data.cache_dir))
        failures = read_failures(Path(data.cache_dir))
        for each in manifests:
            _write_left_out(each, each.failed(failures))
    _tell_unpaired(manifest, _unpaired(config, manifest))


def open_stage(config: Config, stage: Stage) -> StageImages | None:
    """Map the manifest of a stage and plan its buckets.

    Args:
        config: The whole configuration.
        stage: Which images.

    Returns:
        The images, or ``None`` where none are configured.

    Raises:
        DataError: If the setup pass has not run.
    """
    data = config.data
    sources = data.train if _is_share(config, stage) else getattr(data, stage)
    if sources is None:
        return None
    file = manifest_file(
        [as_source(source) for source in sources],
        data.cache_dir,
        max_image_pixels=data.max_image_pixels,
        min_image_side=data.min_image_side,
        max_image_ratio=data.max_image_ratio,
    )
    if not file.exists():
        raise DataError(
            f"{file} does not exist; the images are not sized yet. Call prepare_data()."
        )
    manifest = Manifest.open(file)
    if isinstance(data.val, float) and stage in ("train", "val"):
        rest, part = manifest.split(data.val, data.cache_dir)
        manifest = rest if stage == "train" else part
    left_out = _unpaired(config, manifest) | _read_left_out(manifest)
    return plan_stage(config, stage, manifest, left_out)


def plan_stage(
    config: Config, stage: Stage, manifest: Manifest, left_out: Mapping[int, str]
) -> StageImages:
    """Plan the buckets of a manifest.

    Args:
        config: The whole configuration.
        stage: Which images; only training repeats any.
        manifest: The images.
        left_out: Images that shall not come, and why.

    Returns:
        The images with their plan.

    Raises:
        DataError: If ``buckets.plan`` names a plan for other images.
    """
    buckets = config.buckets
    if buckets.plan is not None and stage == "train":
        pinned = _pinned(buckets.plan, manifest, config.transform.fit)
        return StageImages(manifest, left_out, pinned)
    plan = plan_buckets(
        manifest.sizes,
        rule=buckets.rule,
        max_area=buckets.max_area,
        divisor=buckets.divisor,
        min_side=buckets.min_side,
        max_side=buckets.max_side,
        sizes=buckets.sizes,
        max_buckets=buckets.max_buckets,
        resolutions=buckets.resolutions,
        upscale=buckets.upscale,
        trim=buckets.trim,
        min_images=buckets.min_images,
        small_bucket=buckets.small_bucket,
        max_crop=buckets.max_crop,
        fit=config.transform.fit,
        repeats=manifest.repeats if stage == "train" else None,
        left_out=left_out,
        dataset=manifest.fingerprint,
    )
    return StageImages(manifest, left_out, plan)


def _pinned(file: str, manifest: Manifest, fit: Fit) -> BucketPlan:
    """A saved plan, if it was made for these very images, put into their buckets in this way."""
    plan = BucketPlan.open(file)
    made_for = "crop" if plan.fit == "native" else plan.fit
    if made_for != fit:
        raise DataError(
            f"buckets.plan={file} was made with transform.fit={made_for}; now it is {fit}. "
            f"Set transform.fit={made_for}, or buckets.plan=null to plan anew."
        )
    if plan.dataset == manifest.fingerprint:
        return plan
    numbers = f"it has {plan.images} images, data.train has {len(manifest)}"
    if plan.images == len(manifest):
        now = manifest.sizes if plan.image is None else manifest.sizes[plan.image]
        sizes = int((plan.sizes != now).any(axis=1).sum())
        numbers = f"both have {plan.images} images, {sizes} of them of another size"
    raise DataError(
        f"buckets.plan={file} was made for other images, paths or repeats; {numbers}. "
        "Set buckets.plan=null to plan anew."
    )


def _is_share(config: Config, stage: Stage) -> bool:
    return stage == "val" and isinstance(config.data.val, float)


def _left_out_file(manifest: Manifest) -> Path:
    return manifest.file.with_name(f"{manifest.file.stem}-left-out.json")


def _write_left_out(manifest: Manifest, reasons: Mapping[int, str]) -> None:
    """Fix which images this run leaves out: others may note failures while its ranks begin."""
    note = json.dumps({"manifest": manifest.id, "reasons": list(reasons.items())})
    file = _left_out_file(manifest)
    if not file.exists() or file.read_text() != note:  # the cache may be read-only
        replace_text(file, note)


def _read_left_out(manifest: Manifest) -> dict[int, str]:
    try:
        note = json.loads(_left_out_file(manifest).read_text())
    except FileNotFoundError:
        return {}
    return dict(note["reasons"]) if note["manifest"] == manifest.id else {}


def _unpaired(config: Config, manifest: Manifest) -> dict[int, str]:
    """Images of which a column of paired images, if there is such a column, names none."""
    reasons: dict[int, str] = {}
    for column in config.transform.paired:
        if column not in manifest.columns:
            continue
        names = manifest.table.column(column)
        is_text = pa.types.is_string(names.type) or pa.types.is_large_string(names.type)
        given = pc.not_equal(names, "") if is_text else pc.is_valid(names)
        lacking = ~pc.fill_null(given, False).to_numpy()
        reasons |= dict.fromkeys(np.flatnonzero(lacking).tolist(), f"its {column} names no image")
    return reasons


def _tell_unpaired(manifest: Manifest, reasons: Mapping[int, str]) -> None:
    if reasons:
        row, reason = next(iter(reasons.items()))
        _log.warning(
            "%s of %s images are left out, such as %r: %s.",
            f"{len(reasons):,}",
            f"{len(manifest):,}",
            manifest.path(row),
            reason,
        )
