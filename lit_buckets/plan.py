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
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lit_buckets import geometry
from lit_buckets.choice import Choice, Limits, Rule, choose
from lit_buckets.errors import DataError
from lit_buckets.order import Strata
from lit_buckets.shapes import distinct, nearest

__all__ = ["BucketPlan", "Rule", "SmallBucket", "plan_buckets"]

IntArray = npt.NDArray[np.int64]

SmallBucket = Literal["move", "keep", "exclude"]

_FORMAT = "lit_buckets plan 1"


@dataclass(frozen=True, eq=False)
class BucketPlan:
    """Which bucket each of N images goes to.

    Attributes:
        sizes: (N, 2) image sizes, in pixels.
        bucket_sizes: (K, 2) bucket sizes, in pixels, in rising order of height, then width.
        bucket_of: (N,) index of each image's bucket; -1 = left out.
        repeats: (N,) how often each image comes in an epoch, or ``None`` for once.
        moved_from: The size of the bucket that an image had to leave, by image.
        excluded: Why an image is left out, by image.
        noted: What to know of an image that comes: it stays in a small bucket, or is cut by more
            than ``max_crop``.
        curve: Where the number of buckets is limited: the least mean crop loss, before whole
            pixels, by number of buckets, from one for each resolution on to twice the limit or
            where one more gains nothing.
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
    dataset: str = ""
    file: Path | None = None  #: where the plan was opened from

    def __len__(self) -> int:
        """Images, those left out included."""
        return len(self.bucket_of)

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
        loss[used] = geometry.crop_loss(
            self.sizes[used], self.bucket_sizes[self.bucket_of[used]].reshape(-1, 2)
        )
        return loss

    @cached_property
    def members(self) -> IntArray:
        """(M,) images of bucket 0, then of bucket 1 and so on; see :attr:`strata`."""
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
        """Changes exactly when the buckets, their images or the repeats do. Hexadecimal."""
        digest = hashlib.sha256(_FORMAT.encode())
        arrays: list[tuple[npt.NDArray[Any], str]] = [
            (np.array([len(self), len(self.bucket_sizes)]), "<i8"),
            (self.sizes, "<i8"),
            (self.bucket_sizes, "<i8"),
            (self.bucket_of, "<i4"),
        ]
        if self.repeats is not None and (self.repeats != 1).any():
            arrays.append((self.repeats, "<i8"))
        for array, dtype in arrays:
            digest.update(np.ascontiguousarray(array, dtype=dtype).data)
        return digest.hexdigest()

    def save(self, file: str | PathLike[str]) -> None:
        """Write the plan as an Arrow file that :meth:`open` maps into memory.

        Args:
            file: Where to write; an old file is replaced in one step.
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


def plan_buckets(
    images: npt.ArrayLike,
    /,
    *,
    rule: Rule = "fit",
    max_area: int | Sequence[int] = 512 * 512,
    divisor: int = 64,
    min_side: int | None = None,
    max_side: int | None = None,
    sizes: str | npt.ArrayLike | None = None,
    max_buckets: int | None = None,
    upscale: bool = True,
    min_images: int = 1,
    small_bucket: SmallBucket = "move",
    max_crop: float = 0.25,
    repeats: npt.ArrayLike | None = None,
    left_out: Mapping[int, str] | None = None,
    dataset: str = "",
) -> BucketPlan:
    """Give each image a bucket.

    Args:
        images: (N, 2) integer heights and widths as displayed, in pixels.
        rule: How bucket sizes are chosen. ``"fit"`` is :func:`lit_buckets.geometry.fit`: each
            image's own aspect ratio, rounded. ``"ladder"`` takes, of all maximal sizes
            (:func:`lit_buckets.shapes.ladder`), the one that keeps most of an image. ``"list"``
            does so with ``sizes``. ``"native"`` takes images as they are and leaves out those
            whose sides are no multiples of ``divisor``, or that break another limit; it never
            enlarges.
        max_area: Largest area of a bucket, in pixels. Of several, an image belongs to the largest
            at which it need not be enlarged, or to the smallest.
        divisor: Every side of a bucket is a multiple of it, in pixels.
        min_side: No side is shorter, in pixels.
        max_side: No side is longer, in pixels.
        sizes: For the rule ``"list"``: (K, 2) sizes, or the name of a published set, a key of
            :data:`lit_buckets.shapes.PUBLISHED`. They alone count: areas and sides are not
            limited beside them.
        max_buckets: At most so many buckets: those that cut least from these images, counted with
            their repeats, of all maximal sizes and, with the rule ``"fit"``, those that images
            want; of ``sizes`` with the rule ``"list"``. The best choice is found exactly.
        upscale: Whether images may be enlarged. If not, one that is too small for its bucket
            takes one of half the area, a quarter and so on (of ``sizes``, the best that is small
            enough), and is left out where there is none.
        min_images: A bucket with fewer images is small.
        small_bucket: ``"keep"`` lets small buckets be. ``"move"`` sends each of their images to
            the bucket of its resolution that is not small and keeps most of it, unless that would
            cut more than ``max_crop``: then it stays. ``"exclude"`` does the same, but leaves the
            others out.
        max_crop: Largest crop loss that a moved image may suffer, in [0, 1). Others that suffer
            more are noted in the plan.
        repeats: (N,) how often each image comes in an epoch, each at least 1.
        left_out: Images that shall not come, and why, whatever their sizes.
        dataset: Fingerprint of the files; the plan carries it along.

    Returns:
        The plan; every image is in exactly one bucket or among those left out.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> plan = plan_buckets([[600, 800], [800, 600], [600, 800]], max_area=256 * 256)
        >>> plan.bucket_sizes.tolist(), plan.bucket_of.tolist()
        ([[192, 320], [320, 192]], [0, 1, 0])
        >>> plan_buckets([[600, 800], [768, 1344]], rule="list", sizes="sdxl").bucket_sizes.tolist()
        [[768, 1344], [896, 1152]]
    """
    for name, value, choices in (("rule", rule, Rule), ("small_bucket", small_bucket, SmallBucket)):
        if value not in get_args(choices):
            raise ValueError(f"{name}={value!r} must be one of {', '.join(get_args(choices))}.")
    image_sizes = geometry.as_sizes(images)
    often = None if repeats is None else _checked_repeats(repeats, len(image_sizes))
    limits = Limits(
        areas=_areas(max_area),
        divisor=divisor,
        min_side=min_side,
        max_side=max_side,
        upscale=upscale,
    )
    excluded = dict(left_out or {})
    present = np.delete(np.arange(len(image_sizes)), list(excluded))
    choice = choose(
        image_sizes[present],
        rule=rule,
        limits=limits,
        shapes=sizes,
        max_buckets=max_buckets,
        weights=None if often is None else often[present],
    ).of(present, len(image_sizes))
    excluded |= choice.left_out
    bucket_sizes, which = distinct(choice.wanted)
    bucket_of = np.where(choice.level < 0, -1, which).astype(np.int32)
    enlarge = upscale and rule != "native"
    moved, stranded = (
        ([], [])
        if small_bucket == "keep"
        else _settle_small(
            image_sizes, bucket_sizes, bucket_of, choice, min_images, max_crop, enlarge
        )
    )
    reasons = {i: _stranded(choice.wanted[i], min_images, max_crop) for i in stranded}
    noted = _cut_beyond(image_sizes, bucket_sizes, bucket_of, max_crop)
    if small_bucket == "exclude":
        bucket_of[stranded] = -1
        excluded |= reasons
    else:
        noted |= {index: f"stays: {reason}" for index, reason in reasons.items()}
    noted = {index: note for index, note in sorted(noted.items()) if bucket_of[index] >= 0}
    kept, bucket_of = _drop_empty(bucket_of, len(bucket_sizes))
    return BucketPlan(
        sizes=image_sizes,
        bucket_sizes=bucket_sizes[kept],
        bucket_of=bucket_of,
        repeats=often,
        moved_from={i: geometry.Size(*choice.wanted[i].tolist()) for i in moved},
        excluded=dict(sorted(excluded.items())),
        noted=noted,
        curve=choice.curve,
        dataset=dataset,
    )


def _areas(max_area: int | Sequence[int]) -> list[int]:
    """One or several areas, falling, each once."""
    areas = sorted({int(area) for area in np.ravel(max_area)}, reverse=True)
    if not areas or areas[-1] < 1:
        raise ValueError(f"max_area={max_area} must be one area or several, each at least 1 pixel.")
    return areas


def _settle_small(
    images: IntArray,
    bucket_sizes: IntArray,
    bucket_of: npt.NDArray[np.int32],
    choice: Choice,
    min_images: int,
    max_crop: float,
    enlarge: bool,
) -> tuple[list[int], list[int]]:
    """Send the images of small buckets on, in place; return who was moved and who cannot be."""
    counts = np.bincount(bucket_of[bucket_of >= 0], minlength=len(bucket_sizes))
    small = (counts < min_images)[bucket_of] & (bucket_of >= 0)
    moves = np.zeros(len(images), dtype=bool)
    for level in np.unique(choice.level[small]):
        here = choice.level == level
        restless = np.flatnonzero(here & small)
        large = np.unique(bucket_of[here & ~small])
        best = nearest(images[restless], bucket_sizes[large], enlarge=enlarge)
        restless, target = restless[best >= 0], large[best[best >= 0]]
        fits = geometry.crop_loss(images[restless], bucket_sizes[target]) <= max_crop
        bucket_of[restless[fits]] = target[fits]
        moves[restless[fits]] = True
    return np.flatnonzero(moves).tolist(), np.flatnonzero(small & ~moves).tolist()


def _cut_beyond(
    images: IntArray, bucket_sizes: IntArray, bucket_of: npt.NDArray[np.int32], max_crop: float
) -> dict[int, str]:
    """Which images are cut by more than the limit, though they were not moved."""
    used = np.flatnonzero(bucket_of >= 0)
    loss = geometry.crop_loss(images[used], bucket_sizes[bucket_of[used]])
    beyond = loss > max_crop
    return {
        int(index): f"{share:.0%} is cut, more than max_crop={max_crop:g}"
        for index, share in zip(used[beyond], loss[beyond], strict=True)
    }


def _drop_empty(
    bucket_of: npt.NDArray[np.int32], buckets: int
) -> tuple[IntArray, npt.NDArray[np.int32]]:
    """Which buckets still have images, and the images' buckets counted among those alone."""
    used = np.bincount(bucket_of[bucket_of >= 0], minlength=buckets) > 0
    # the number for -1, the last entry, stays -1
    number = np.append(np.cumsum(used) - 1, -1).astype(np.int32)
    return np.flatnonzero(used), number[bucket_of]


def _stranded(wanted: IntArray, min_images: int, max_crop: float) -> str:
    height, width = wanted.tolist()
    return (
        f"bucket {height}x{width} has fewer than min_images={min_images} images, and every other "
        f"bucket that it may go to would cut more than max_crop={max_crop:g} of it"
    )


def _checked_repeats(repeats: npt.ArrayLike, images: int) -> IntArray:
    array = np.asarray(repeats, dtype=np.int64)
    if array.shape != (images,) or array.min(initial=1) < 1:
        raise ValueError(
            f"repeats must be {images} whole numbers of at least 1, one for each image; "
            f"got shape {array.shape} with a least of {array.min(initial=1)}."
        )
    return array
