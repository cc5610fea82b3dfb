"""The whole of an export, and the configuration that trains on it."""

from __future__ import annotations

import hashlib
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch.utils.data import DataLoader

from lit_buckets.config import Config, load_config, to_plain, to_yaml
from lit_buckets.datamodule import BucketDataModule
from lit_buckets.errors import ConfigError, DataError
from lit_buckets.export.folder import Journal, claim, write_left_out
from lit_buckets.export.images import FORMATS, Encoding, ImageFormat, ImageWriter, Outcome
from lit_buckets.export.names import file_names, safe_name
from lit_buckets.manifest import Manifest, replace_file
from lit_buckets.manifest.columns import hash_strings
from lit_buckets.pixels.dataset import BucketDataset
from lit_buckets.plan import BucketPlan
from lit_buckets.stages import STAGES, Stage

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
    training to do: images are not mirrored, and a random crop becomes one of the centre.

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
    dm = BucketDataModule(_without_chance(wanted))
    dm.prepare_data()
    dm.setup()
    place = Path(os.path.abspath(directory))  # noqa: PTH100 - links are kept
    encoding = Encoding(image_format, quality)
    stages = [stage for stage in STAGES if getattr(wanted.data, stage) is not None]
    parts = [_Part(dm, stage, place / stage, encoding) for stage in stages]
    _check_outside(place, parts)
    claim(place, _identity(dm.config, parts, encoding))
    for part in parts:
        part.write(
            min(wanted.loader.num_workers, os.cpu_count() or 1)
            if num_workers is None
            else num_workers,
            sys.stderr.isatty() if progress is None else progress,
        )
    file = place / "config.yaml"
    text = _HEAD + to_yaml(_config_of(wanted, parts))
    replace_file(file, lambda path: _write(path, text))
    return Exported(
        file,
        sum(part.written for part in parts),
        sum(part.there for part in parts),
        {path: reason for part in parts for path, reason in part.left_out.items()},
    )


class _Group(NamedTuple):
    """Images of one source that come equally often: a source of the new configuration."""

    folder: str  #: relative to the stage's, with a final "/"; "" where there is one group
    repeats: int


class _Part:
    """The images of one stage, on their way to the disk."""

    def __init__(
        self, dm: BucketDataModule, stage: Stage, folder: Path, encoding: Encoding
    ) -> None:
        loader = dm.loader(stage, num_replicas=1, rank=0, num_workers=0)
        assert isinstance(loader.dataset, BucketDataset)
        self.stage, self.folder = stage, folder
        self.context = dm.config.loader.multiprocessing_context
        self.plan, self.manifest = dm.plan_of(stage), dm.manifest_of(stage)
        self.groups, self.group_of = _groups(self.manifest, self.plan)
        self.names = _names(self, f".{encoding.format}")
        self.writer = ImageWriter(loader.dataset, self.names, folder, encoding)
        self.written = self.there = 0
        self.left_out = {refused.path: refused.reason for refused in self.manifest.refused}
        for row, reason in self.plan.excluded.items():
            self.left_out[self._path(row)] = reason

    def write(self, workers: int, show: bool) -> None:
        """Write what is not there yet, and the tables.

        Raises:
            DataError: If a file cannot be written, or no image can be decoded.
        """
        journal = Journal(self.folder, self.names)
        used = np.flatnonzero(self.plan.bucket_of >= 0).tolist()
        todo = [row for row in used if self.names[row] not in journal.rows]
        self.there = len(used) - len(todo)
        outcomes = DataLoader(
            self.writer,
            batch_size=None,
            sampler=todo,
            num_workers=workers,
            collate_fn=_as_it_is,
            multiprocessing_context=self.context if workers else None,
            generator=torch.Generator(),  # starting workers draws nothing from the global one
        )
        for outcome in track(
            outcomes,
            f"writing {self.stage}",
            len(todo),
            console=Console(stderr=True),
            transient=True,
            disable=not show,
        ):
            self._note(outcome, journal)
        if not journal.rows:
            raise DataError(f"none of the {len(used):,} {self.stage} images can be decoded.")
        journal.close()
        write_left_out(self.folder, self.left_out)

    def sources(self) -> list[dict[str, Any]]:
        """Folders of what was written, for the new configuration."""
        held = {self.group_of[row] for row in np.flatnonzero(self.plan.bucket_of >= 0).tolist()}
        return [
            {"path": str(self.folder / group.folder), "repeats": group.repeats, "captions": ".txt"}
            for number, group in enumerate(self.groups)
            if number in held and (self.folder / group.folder).is_dir()
        ]

    def _note(self, outcome: Outcome, journal: Journal) -> None:
        if outcome.unwritten:
            name = str(self.folder / self.names[outcome.row])
            raise DataError(f"{name!r} cannot be written: {outcome.unwritten}. Make room for it.")
        if outcome.facts is None:
            self.left_out[self._path(outcome.row)] = outcome.failed
        else:
            self.written += 1
            journal.add(outcome.facts)

    def _path(self, row: int) -> str:
        return self.manifest.path(self.plan.image_of(row))


def _without_chance(config: Config) -> Config:
    """The configuration without what is random, and with batches that may be as small as one."""
    crop = config.transform.crop
    return replace(
        config,
        data=replace(config.data, on_error="raise"),
        batches=replace(config.batches, batch_size=1, max_pixels=None),
        transform=replace(
            config.transform,
            crop="center" if crop == "random" else crop,
            flip=0.0,
            augment=(),
        ),
    )


def _groups(manifest: Manifest, plan: BucketPlan) -> tuple[list[_Group], list[int]]:
    """The groups of images, and which one each row of the plan is in."""
    images = [plan.image_of(row) for row in range(len(plan))]
    repeats = np.ones(len(plan), dtype=np.int64) if plan.repeats is None else plan.repeats
    pairs = np.stack([np.asarray(manifest.source_of)[images], repeats], axis=1)
    kinds, group_of = np.unique(pairs, axis=0, return_inverse=True)
    if len(kinds) == 1:
        return [_Group("", int(kinds[0][1]))], [0] * len(plan)
    roots = [PurePath(source["root"]).name for source in manifest.sources]
    wanted = [f"{safe_name(roots[source])}.x" for source, _ in kinds.tolist()]
    folders = file_names(wanted, "")  # numbered where several are called the same
    times = kinds[:, 1].tolist()
    return [_Group(f"{f}/", n) for f, n in zip(folders, times, strict=True)], group_of.tolist()


def _names(part: _Part, suffix: str) -> list[str]:
    """Names of the files, by row of the plan."""
    paths = part.manifest.table.column("path").to_pylist()
    names = [""] * len(part.plan)
    for number, group in enumerate(part.groups):
        rows = [row for row, its in enumerate(part.group_of) if its == number]
        inside = file_names([paths[part.plan.image_of(row)] for row in rows], suffix)
        for row, name in zip(rows, inside, strict=True):
            names[row] = group.folder + name
    return names


def _check_outside(place: Path, parts: list[_Part]) -> None:
    """Refuse to write among the images that are read."""
    for part in parts:
        for source in part.manifest.sources:
            root = source["root"]
            if root and "://" not in root and place.resolve().is_relative_to(Path(root).resolve()):
                raise ConfigError(
                    f"{str(place)!r} lies in {root!r}, a source of data.{part.stage}: the next "
                    "setup pass would find what is written there. Name a folder outside it."
                )


def _identity(config: Config, parts: list[_Part], encoding: Encoding) -> dict[str, Any]:
    """What decides each byte of an export."""
    quality = {"quality": encoding.quality} if encoding.options else {}
    stages: dict[str, Any] = {
        part.stage: {
            "plan": part.plan.hash,
            "images": part.manifest.fingerprint,
            "files": _digest(part.manifest),
        }
        for part in parts
    }
    transform = to_plain(config)["transform"]
    transform.pop("normalize", None)  # happens on the device
    return {"format": encoding.format, **quality, "transform": transform, **stages}


def _digest(manifest: Manifest) -> str:
    """Changes if a file or a caption does, in hexadecimal digits."""
    digest = hashlib.sha256()
    for name in ("bytes", "mtime_ns"):
        digest.update(np.ascontiguousarray(manifest.table.column(name).to_numpy()).data)
    captions = manifest.table.column("caption").combine_chunks()
    digest.update(hash_strings(captions).data)
    return digest.hexdigest()


def _config_of(wanted: Config, parts: list[_Part]) -> dict[str, dict[str, Any]]:
    """The configuration that trains on what was written."""
    tree = to_plain(wanted)
    sides = np.concatenate([part.plan.bucket_sizes for part in parts])
    for part in parts:
        tree["data"][part.stage] = part.sources()
    tree["buckets"] = {
        "rule": "native",
        "divisor": math.gcd(wanted.buckets.divisor, *sides.ravel().tolist()),
        "max_area": int(sides.prod(axis=1).max()),
    }
    return tree


def _as_it_is(outcome: Any) -> Any:
    """Take the place of torch's conversion."""
    return outcome


def _write(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8", newline="\n")
