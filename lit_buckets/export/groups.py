"""Images of one stage and source that come equally often: a source of the new configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch
from rich.console import Console
from rich.progress import track
from torch.utils.data import DataLoader

from lit_buckets.errors import DataError
from lit_buckets.export.folder import Journal
from lit_buckets.export.images import CAPTION, Encoding, ImageWriter, suffix_of
from lit_buckets.export.names import safe_name, unique_stems
from lit_buckets.loader import as_it_is

if TYPE_CHECKING:
    from lit_buckets.datamodule import BucketDataModule
    from lit_buckets.stages import Stage

__all__ = ["Group", "groups_of"]


@dataclass
class Group:
    """Images on their way to a folder of their own.

    Attributes:
        stage: train, val, test or predict.
        folder: Where they go.
        repeats: How often each of them comes in an epoch.
        writer: Writes one of them.
        paths: Where they came from.
        done: How many are written, once :meth:`write` has come back.
        there: How many of these were there before.
    """

    stage: Stage
    folder: Path
    repeats: int
    writer: ImageWriter
    paths: list[str]
    done: int = 0
    there: int = 0

    def write(self, workers: int, context: str | None, *, show: bool) -> dict[str, str]:
        """Write what is not there yet, and the tables.

        Args:
            workers: Processes that write; 0 = this one.
            context: How they are started.
            show: Whether to show a bar.

        Returns:
            Images that cannot be decoded, by path, and why.

        Raises:
            DataError: If a file cannot be written.
        """
        names = [self.writer.name(place) for place in range(len(self.writer))]
        journal = Journal(self.folder, names)
        todo = [place for place, name in enumerate(names) if name not in journal.rows]
        self.there, failed = len(names) - len(todo), {}
        outcomes = DataLoader(
            self.writer,
            batch_size=None,
            sampler=todo,
            num_workers=min(workers, len(todo)),
            collate_fn=as_it_is,
            multiprocessing_context=context if min(workers, len(todo)) else None,
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
            if outcome.unwritten:
                file = str(self.folder / names[outcome.place])
                raise DataError(
                    f"{file!r} cannot be written: {outcome.unwritten}. Make room for it, and call "
                    "again: what is there stays."
                )
            if outcome.facts is None:
                failed[self.paths[outcome.place]] = outcome.failed
            else:
                journal.add(outcome.facts)
        journal.close()
        self.done = len(journal.rows)
        return failed


def groups_of(
    dm: BucketDataModule,
    stage: Stage,
    folder: Path,
    encoding: Encoding,
    columns: Mapping[str, str],
) -> list[Group]:
    """The groups of a stage: each in a folder within the stage's, or in that if there is one.

    Args:
        dm: A datamodule that is set up.
        stage: train, val, test or predict.
        folder: The stage's.
        encoding: How pixels are kept.
        columns: What the tables call the further columns.

    Returns:
        Groups of the images that have a bucket, each in the order of the plan.
    """
    plan, manifest = dm.plan_of(stage), dm.manifest_of(stage)
    dataset = dm.dataset(stage)
    paired = {k: kind for k, kind in dm.config.transform.paired.items() if k in manifest.columns}
    suffixes = [encoding.suffix, CAPTION, *(suffix_of(k, v, encoding) for k, v in paired.items())]
    rows = np.flatnonzero(plan.bucket_of >= 0)
    images = [plan.image_of(row) for row in rows.tolist()]
    repeats = np.ones(len(plan), dtype=np.int64) if plan.repeats is None else plan.repeats
    pairs = np.stack([np.asarray(manifest.source_of)[images], repeats[rows]], axis=1)
    kinds, group_of = np.unique(pairs, axis=0, return_inverse=True)
    folders = _folders([manifest.sources[source]["root"] for source in kinds[:, 0].tolist()])
    names = manifest.table.column("path").take(pa.array(images, pa.int64())).to_pylist()
    groups = []
    for number, times in enumerate(kinds[:, 1].tolist()):
        members = np.flatnonzero(group_of.ravel() == number).tolist()
        place = folder if len(kinds) == 1 else folder / folders[number]
        stems = unique_stems([names[k] for k in members], suffixes)
        writer = ImageWriter(
            dataset, rows[members].tolist(), stems, place, encoding, paired, columns
        )
        paths = [manifest.path(images[k]) for k in members]
        groups.append(Group(stage, place, times, writer, paths))
    return groups


def _folders(roots: list[str]) -> list[str]:
    """A name for each root, numbered where several are called the same.

    Example:
        >>> _folders(["/data/photos", "/more/photos", "s3://bucket/best"])
        ['photos', 'photos-2', 'best']
    """
    names = [f"{safe_name(PurePath(root).name)}.x" for root in roots]
    return unique_stems(names, [""])
