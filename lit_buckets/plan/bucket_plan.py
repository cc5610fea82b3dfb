"""Which bucket each image goes to, and who is left out and why.

A plan is a function of sizes: the same on every rank, computed with exact integers, with no
float ever a key.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lit_buckets import geometry
from lit_buckets.errors import DataError
from lit_buckets.placement import Fit, resized_sizes
from lit_buckets.plan.strata import Strata

__all__ = ["BucketPlan"]

IntArray = npt.NDArray[np.int64]

_FORMAT = "lit_buckets plan 1"


@dataclass(frozen=True, eq=False)
class BucketPlan:
    """Which bucket each image goes to, in N rows.

    A row is an image. Only where images come at several resolutions, each at a bucket of its own,
    is it an image at one of them, and :attr:`image` says which image it is.

    Attributes:
        sizes: (N, 2) image sizes, in pixels.
        bucket_sizes: (K, 2) bucket sizes, in pixels, in rising order of height, then width.
        bucket_of: (N,) index of each row's bucket; -1 = left out.
        repeats: (N,) how often each image comes in an epoch, or ``None`` for once.
        moved_from: The size of the bucket that an image had to leave, by row.
        excluded: Why an image is left out, by row.
        noted: What to know of an image that comes, by row: it stays in a small bucket, or is cut by
            more than ``max_crop``.
        curve: Where the number of buckets is limited: the least mean crop loss, before whole
            pixels, by number of buckets, from one for each resolution on to twice the limit or
            where one more gains nothing.
        image: (N,) which image each row is, non-decreasing; ``None`` where a row is an image.
        resolutions: How many images come at each area, in pixels, where there are several.
        fit: How images get their bucket's size; see :func:`lit_buckets.placement.place`.
        dataset: Which files the images are: a fingerprint that the plan only carries along, so
            that a resume notices other files of the same sizes.
    """

    sizes: IntArray
    bucket_sizes: IntArray
    bucket_of: npt.NDArray[np.int32]
    repeats: IntArray | None = None
    moved_from: Mapping[int, geometry.Size] = field(default_factory=dict)
    excluded: Mapping[int, str] = field(default_factory=dict)
    noted: Mapping[int, str] = field(default_factory=dict)
    curve: Mapping[int, float] = field(default_factory=dict)
    image: IntArray | None = None
    resolutions: Mapping[int, int] = field(default_factory=dict)
    fit: Fit = "crop"
    dataset: str = ""
    file: Path | None = None  #: where the plan was opened from

    def __len__(self) -> int:
        """Rows, those left out included."""
        return len(self.bucket_of)

    @cached_property
    def images(self) -> int:
        """How many images there are, those left out included."""
        return len(self) if self.image is None else int(self.image[-1]) + 1 if len(self) else 0

    def image_of(self, row: int) -> int:
        """Which image a row is: a row of the manifest."""
        return row if self.image is None else int(self.image[row])

    def resized(self, rows: IntArray | int) -> IntArray:
        """Sizes that images are resized to before they are cut to their buckets, or padded.

        Args:
            rows: (R,) rows that have a bucket, or one such row.

        Returns:
            (R, 2) or (2,) sizes, in pixels.
        """
        return resized_sizes(self.sizes[rows], self.bucket_sizes[self.bucket_of[rows]], self.fit)

    @cached_property
    def counts(self) -> IntArray:
        """(K,) images in each bucket."""
        used = self.bucket_of[self.bucket_of >= 0]
        return np.bincount(used, minlength=len(self.bucket_sizes)).astype(np.int64)

    @cached_property
    def crop_loss(self) -> npt.NDArray[np.float64]:
        """(N,) share of each resized image that the crop removes; 0 for those left out."""
        loss = np.zeros(len(self))
        used = np.flatnonzero(self.bucket_of >= 0)
        buckets = self.bucket_sizes[self.bucket_of[used]].reshape(-1, 2)
        loss[used] = geometry.share_cut(self.resized(used), buckets)
        return loss

    @cached_property
    def members(self) -> IntArray:
        """(M,) rows of bucket 0, then of bucket 1 and so on; see :attr:`strata`."""
        used = np.flatnonzero(self.bucket_of >= 0)
        if self.repeats is None:
            return used[np.argsort(self.bucket_of[used], kind="stable")]
        return used[np.lexsort((self.repeats[used], self.bucket_of[used]))]

    @cached_property
    def strata(self) -> Strata:
        """Stretches of :attr:`members` with one bucket and one number of repeats."""
        if self.repeats is None:
            bucket = np.flatnonzero(self.counts)
            images = self.counts[bucket]
            return Strata(bucket, np.cumsum(images) - images, images, np.ones_like(images))
        both = np.stack([self.bucket_of[self.members], self.repeats[self.members]])
        start = np.flatnonzero(np.diff(both, axis=1, prepend=-1).any(axis=0))
        images = np.diff(start, append=len(self.members))
        bucket, repeats = both[:, start].astype(np.int64)
        return Strata(bucket, start, images, repeats)

    @cached_property
    def hash(self) -> str:
        """Changes exactly when training would: with buckets, their images, pixels or repeats."""
        digest = hashlib.sha256(_FORMAT.encode())
        arrays: list[tuple[npt.NDArray[Any], str]] = [
            (np.array([len(self), len(self.bucket_sizes)]), "<i8"),
            (self.sizes, "<i8"),
            (self.bucket_sizes, "<i8"),
            (self.bucket_of, "<i4"),
        ]
        if self.repeats is not None and (self.repeats != 1).any():
            arrays.append((self.repeats, "<i8"))
        if self.image is not None:
            arrays.append((self.image, "<i8"))
        if self.fit != "crop" and self._differs_from_a_crop():
            arrays.append((np.array([get_args(Fit).index(self.fit)]), "<i8"))
        for array, dtype in arrays:
            digest.update(np.ascontiguousarray(array, dtype=dtype).data)
        return digest.hexdigest()

    def _differs_from_a_crop(self) -> bool:
        """Whether any image has other pixels than it would have if it covered its bucket."""
        used = np.flatnonzero(self.bucket_of >= 0)
        buckets = self.bucket_sizes[self.bucket_of[used]].reshape(-1, 2)
        return bool((geometry.cover(self.sizes[used], buckets) != self.resized(used)).any())

    def save(self, file: str | PathLike[str], *, paths: Sequence[str] | None = None) -> None:
        """Write the plan as an Arrow file that :meth:`open` maps into memory.

        Args:
            file: Where to write; an old file is replaced in one step.
            paths: Where each image lies. The plan has no use for them, but two files with paths
                can be compared image by image; see
                :func:`lit_buckets.plan.ledger.differences_of_files`.
        """
        members = np.full(len(self), -1, dtype=np.int64)
        members[: len(self.members)] = self.members
        columns = {
            "size": pa.FixedSizeListArray.from_arrays(pa.array(self.sizes.ravel()), 2),
            "bucket": pa.array(self.bucket_of),
            "member": pa.array(members),
        }
        if self.repeats is not None:
            columns["repeats"] = pa.array(self.repeats)
        if self.image is not None:
            columns["image"] = pa.array(self.image)
        if paths is not None:
            names = [paths[self.image_of(row)] for row in range(len(self))]
            columns["path"] = pa.array(names, pa.large_string())
        facts = {
            "format": _FORMAT,
            "hash": self.hash,
            "dataset": self.dataset,
            "bucket_sizes": self.bucket_sizes.tolist(),
            "counts": self.counts.tolist(),
            "strata": [column.tolist() for column in self.strata],
            "moved_from": [[index, *size] for index, size in self.moved_from.items()],
            "excluded": list(self.excluded.items()),
            "noted": list(self.noted.items()),
            "curve": list(self.curve.items()),
            "resolutions": list(self.resolutions.items()),
            "fit": self.fit,
        }
        table = pa.table(columns).replace_schema_metadata({"lit_buckets": json.dumps(facts)})
        target = Path(file)
        partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
        with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        partial.replace(target)

    @classmethod
    def open(cls, file: str | PathLike[str]) -> BucketPlan:
        """Map a plan that :meth:`save` wrote. Its arrays stay on disk until they are read.

        Args:
            file: The file.

        Returns:
            An equal plan; pickling it passes on the file's name only.

        Raises:
            DataError: If the file is not a plan of this version.
        """
        path = Path(file)
        try:
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            facts = json.loads((table.schema.metadata or {})[b"lit_buckets"])
        except (pa.ArrowInvalid, KeyError, ValueError) as error:
            raise DataError(f"{path} is not a plan; {error}. Make it anew.") from None
        if facts["format"] != _FORMAT:
            raise DataError(
                f"{path} has format {facts['format']!r}; this version reads {_FORMAT!r}. "
                "Make the plan anew."
            )

        def column(name: str) -> npt.NDArray[Any]:
            chunks = table.column(name).chunks  # one, as it was written: combining would copy
            if not chunks:
                return np.empty(0, dtype=np.int64)
            return (chunks[0].flatten() if name == "size" else chunks[0]).to_numpy()

        plan = cls(
            sizes=column("size").reshape(-1, 2),
            bucket_sizes=np.array(facts["bucket_sizes"], dtype=np.int64).reshape(-1, 2),
            bucket_of=column("bucket"),
            repeats=column("repeats") if "repeats" in table.column_names else None,
            moved_from={index: geometry.Size(*size) for index, *size in facts["moved_from"]},
            excluded=dict(facts["excluded"]),
            noted=dict(facts["noted"]),
            curve=dict(facts["curve"]),
            image=column("image") if "image" in table.column_names else None,
            resolutions=dict(facts["resolutions"]),
            fit=facts["fit"],
            dataset=facts["dataset"],
            file=path,
        )
        counts = np.array(facts["counts"], dtype=np.int64)
        strata = Strata(*(np.array(column, dtype=np.int64) for column in facts["strata"]))
        members = column("member")[: int(counts.sum())]
        vars(plan).update(hash=facts["hash"], counts=counts, strata=strata, members=members)
        return plan

    def __reduce__(self) -> Any:
        """Pickle a mapped plan as its file's name, so that no process copies it."""
        if self.file is not None:
            return BucketPlan.open, (self.file,)
        return super().__reduce__()
