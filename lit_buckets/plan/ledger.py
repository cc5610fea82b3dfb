"""What a plan does to each image, as a table and in sum, and how two plans differ.

:meth:`BucketPlan.save` keeps a plan for a later run; what is written here is for people and their
tools.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import csv, feather, parquet

from lit_buckets import geometry
from lit_buckets.placement import Crop, crop_offsets
from lit_buckets.plan.bucket_plan import BucketPlan
from lit_buckets.plan.strata import samples_of

__all__ = [
    "SUFFIXES",
    "by_source",
    "differences",
    "differences_of_files",
    "outline",
    "rows",
    "summarize",
    "write_rows",
]

IntArray = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: How files of rows may end.
SUFFIXES = (".arrow", ".csv", ".parquet")

_SAMPLED = 1_000_000  # rows whose mean stands for that of all


def rows(
    plan: BucketPlan,
    *,
    paths: Sequence[str] | None = None,
    crop: Crop = "center",
    focus: npt.NDArray[np.float64] | None = None,
) -> pa.Table:
    """What happens to each image, in the order of the manifest: one row for each of the plan's.

    Args:
        plan: The plan.
        paths: Where each image lies, if that is to be told.
        crop: Which part of a resized image is kept. A random crop has no place of its own.
        focus: (images, 4) what the crop ``"focus"`` is to keep; see
            :func:`lit_buckets.placement.crop_offsets`.

    Returns:
        A table with the columns ``index``, ``path`` (if given), ``height``, ``width``,
        ``bucket_height``, ``bucket_width``, ``resized_height``, ``resized_width``, ``crop_top``,
        ``crop_left``, ``pad_top``, ``pad_left`` (where the image begins in its bucket),
        ``crop_loss`` (share of the resized image that is cut), ``enlarged_by``
        (share by which sides grow, 0 where none does), ``repeats``, ``moved_from`` (a size as
        text), ``note`` (it stays in a small bucket, or much is cut) and ``left_out`` (the reason).
        Null is what an image has no value for.

    Example:
        >>> from lit_buckets import plan_buckets
        >>> rows(plan_buckets([[600, 800]])).to_pylist()[0]["resized_width"]
        597
    """
    used = plan.bucket_of >= 0
    buckets = np.ones_like(plan.sizes)
    buckets[used] = plan.bucket_sizes[plan.bucket_of[used]]
    resized = plan.sizes.astype(np.int64)
    resized[used] = plan.resized(np.flatnonzero(used))
    whole = plan.fit in ("pad", "stretch")  # nothing is cut
    if whole:
        corner = np.zeros_like(resized)
    else:
        around = None if focus is None else focus[_images(plan)]
        corner = crop_offsets(resized, buckets, crop, focus=around)
    margin = np.maximum(buckets - resized, 0) // 2
    enlarged = np.maximum((resized / plan.sizes).max(axis=1, initial=1) - 1, 0)
    columns: dict[str, Any] = {"index": _images(plan)}
    if paths is not None:
        columns["path"] = pa.array(list(paths), pa.string()).take(pa.array(_images(plan)))
    columns |= {"height": plan.sizes[:, 0], "width": plan.sizes[:, 1]}
    columns |= _pair("bucket_height", "bucket_width", buckets, used)
    columns |= _pair("resized_height", "resized_width", resized, used)
    columns |= _pair("crop_top", "crop_left", corner, used & (whole or crop != "random"))
    columns |= _pair("pad_top", "pad_left", margin, used)
    columns["crop_loss"] = pa.array(plan.crop_loss, mask=~used)
    columns["enlarged_by"] = pa.array(enlarged, mask=~used)
    columns["repeats"] = _repeats(plan)
    moved = {index: f"{height}x{width}" for index, (height, width) in plan.moved_from.items()}
    columns["moved_from"] = _sparse(moved, len(plan))
    columns["note"] = _sparse(plan.noted, len(plan))
    columns["left_out"] = _sparse(plan.excluded, len(plan))
    return pa.table(columns)


def write_rows(table: pa.Table, file: str | PathLike[str]) -> None:
    """Write a table in the format that the file's name ends with.

    Args:
        table: From :func:`rows` or :func:`differences`.
        file: Ends in ``.arrow``, ``.parquet`` or ``.csv``.

    Raises:
        ValueError: If it ends otherwise.
    """
    writers: dict[str, Callable[[], None]] = {
        ".arrow": lambda: feather.write_feather(table, str(file), compression="uncompressed"),
        ".csv": lambda: csv.write_csv(table, str(file)),
        ".parquet": lambda: parquet.write_table(table, str(file)),
    }
    suffix = Path(file).suffix
    if suffix not in SUFFIXES:
        raise ValueError(f"file={str(file)!r} must end in one of {', '.join(SUFFIXES)}.")
    writers[suffix]()


def summarize(plan: BucketPlan) -> dict[str, Any]:
    """A plan in sum, of plain values that JSON takes.

    Args:
        plan: The plan.

    Returns:
        ``hash``, ``images``, ``left_out``, ``moved``, ``noted``, ``enlarged``, ``samples``;
        ``repeats``, how many images come how often; ``crop_loss``, the mean over images and the
        largest; ``resolutions``, how many images come at each of several areas; ``buckets``, each
        with its size, images, samples and mean crop loss; ``curve``, the least mean crop loss by
        number of buckets, where that is limited.

    Example:
        >>> from lit_buckets import plan_buckets
        >>> summarize(plan_buckets([[64, 64], [64, 128]], repeats=[3, 1]))["repeats"]
        [{'repeats': 1, 'images': 1, 'samples': 1}, {'repeats': 3, 'images': 1, 'samples': 3}]
    """
    used = plan.bucket_of >= 0
    buckets = len(plan.bucket_sizes)
    loss = np.bincount(plan.bucket_of[used], plan.crop_loss[used], minlength=buckets)
    samples = samples_of(plan.strata, buckets)
    often, images = np.unique(_repeats(plan)[used], return_counts=True)
    bucket_of = plan.bucket_sizes[plan.bucket_of[used]].reshape(-1, 2)
    return {
        "hash": plan.hash,
        "images": plan.images,
        "left_out": len(plan.excluded),
        "moved": len(plan.moved_from),
        "noted": len(plan.noted),
        "enlarged": int((bucket_of > plan.sizes[used]).any(axis=1).sum()),
        "samples": int(samples.sum()),
        "repeats": [
            {"repeats": times, "images": count, "samples": times * count}
            for times, count in zip(often.tolist(), images.tolist(), strict=True)
        ],
        "crop_loss": {
            "mean": float(plan.crop_loss[used].mean()) if used.any() else 0.0,
            "largest": float(plan.crop_loss.max(initial=0.0)),
        },
        "buckets": [
            {
                "height": height,
                "width": width,
                "images": int(plan.counts[k]),
                "samples": int(samples[k]),
                "crop_loss": float(loss[k] / plan.counts[k]),
            }
            for k, (height, width) in enumerate(plan.bucket_sizes.tolist())
        ],
        "resolutions": [
            {"area": area, "images": images} for area, images in plan.resolutions.items()
        ],
        "curve": [{"buckets": count, "crop_loss": mean} for count, mean in plan.curve.items()],
    }


def by_source(
    plan: BucketPlan, source: npt.ArrayLike, names: Sequence[str]
) -> list[dict[str, Any]]:
    """Images times repeats, source by source: the arithmetic of an epoch.

    Args:
        plan: The plan.
        source: (I,) which source each image of the manifest comes from.
        names: What the sources are called, S of them.

    Returns:
        For each source and each number of repeats in it ``source``, ``images``, ``repeats`` and
        ``samples``. An image that comes at several resolutions counts for each of them; those left
        out do not count.

    Example:
        >>> from lit_buckets import plan_buckets
        >>> plan = plan_buckets([[64, 64]] * 3, repeats=[1, 1, 5])
        >>> by_source(plan, [0, 0, 1], ["photos", "best"])[1]
        {'source': 'best', 'images': 1, 'repeats': 5, 'samples': 5}
    """
    used = plan.bucket_of >= 0
    places = np.asarray(source)[_images(plan)[used]]
    repeats = _repeats(plan)[used]
    base = int(repeats.max(initial=0)) + 1
    keys, images = np.unique(places.astype(np.int64) * base + repeats, return_counts=True)
    kinds = np.stack(np.divmod(keys, base), axis=1)
    return [
        {"source": names[place], "images": count, "repeats": times, "samples": count * times}
        for (place, times), count in zip(kinds.tolist(), images.tolist(), strict=True)
    ]


def outline(plan: BucketPlan) -> dict[str, Any]:
    """A plan in a few numbers, at the same small cost whatever its size.

    Args:
        plan: The plan.

    Returns:
        ``hash``; how many ``images``, ``buckets``, ``left_out``, ``moved``, ``noted``; and
        ``crop_loss``, its mean, of a million rows at even distances where there are more.

    Example:
        >>> from lit_buckets import plan_buckets
        >>> outline(plan_buckets([[64, 64], [64, 128]], max_buckets=1))["crop_loss"]
        0.25
    """
    step = max(1, -(-len(plan) // _SAMPLED))
    used = np.flatnonzero(plan.bucket_of[::step] >= 0) * step
    buckets = plan.bucket_sizes[plan.bucket_of[used]].reshape(-1, 2)
    loss = geometry.share_cut(plan.resized(used), buckets)
    return {
        "hash": plan.hash,
        "images": plan.images,
        "buckets": len(plan.bucket_sizes),
        "left_out": len(plan.excluded),
        "moved": len(plan.moved_from),
        "noted": len(plan.noted),
        "crop_loss": float(loss.mean()) if loss.size else 0.0,
    }


def differences(
    before: BucketPlan,
    after: BucketPlan,
    *,
    before_paths: Sequence[str] | None = None,
    after_paths: Sequence[str] | None = None,
) -> pa.Table:
    """What changed between two plans, image by image.

    Args:
        before: The one plan.
        after: The other.
        before_paths: Where the images of ``before`` lie. Images are matched by path; without
            paths, by index.
        after_paths: The same for ``after``; both or neither.

    Returns:
        A table of strings with the columns ``image`` (its path or index; where it comes at several
        resolutions, each is counted behind it: ``a.jpg (2)``), ``what`` (``added``,
        ``removed``, ``size``, ``bucket`` or ``repeats``), ``before`` and ``after``; null for an
        image that is not there or has no bucket. Without a row the same images are in the same
        buckets, equally often; images that are only in another order make none.

    Raises:
        ValueError: If only one plan has paths.

    Example:
        >>> from lit_buckets import plan_buckets
        >>> plans = [plan_buckets([[64, 64], size]) for size in ([64, 128], [64, 64])]
        >>> differences(*plans).column("what").to_pylist()
        ['size', 'bucket']
    """
    if (before_paths is None) != (after_paths is None):
        raise ValueError("paths of one plan only; give those of both, or of neither.")
    names = [_names(before, before_paths), _names(after, after_paths)]
    row = {name: index for index, name in enumerate(names[1])}
    found: list[tuple[str, str, str | None, str | None]] = []
    pairs = [(index, row[name]) for index, name in enumerate(names[0]) if name in row]
    common = {names[0][index] for index, _ in pairs}
    old, new = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    for what in ("size", "bucket", "repeats"):
        values = _facts(before, what), _facts(after, what)
        for index in np.flatnonzero((values[0][old] != values[1][new]).any(axis=1)).tolist():
            texts = (_text(value[at[index]]) for value, at in zip(values, (old, new), strict=True))
            found.append((names[0][old[index]], what, *texts))
    for what, plan, side in (("removed", before, 0), ("added", after, 1)):
        buckets = _facts(plan, "bucket")
        for index, name in enumerate(names[side]):
            if name not in common:
                text = _text(buckets[index])
                found.append((name, what, *((text, None) if side == 0 else (None, text))))
    columns = list(zip(*found, strict=True)) or [()] * 4
    titles = ("image", "what", "before", "after")
    return pa.table(
        {title: pa.array(c, pa.string()) for title, c in zip(titles, columns, strict=True)}
    )


def differences_of_files(before: str | PathLike[str], after: str | PathLike[str]) -> pa.Table:
    """What changed between two plans that were saved.

    Args:
        before: The one file, of :meth:`BucketPlan.save`.
        after: The other. Images are matched by path if both files hold paths, or else by index.

    Returns:
        A table as of :func:`differences`.

    Raises:
        DataError: If a file is not a plan of this version.
    """
    plans = BucketPlan.open(before), BucketPlan.open(after)
    paths = [_saved_paths(plan) for plan in plans]
    if None in paths:
        return differences(*plans)
    return differences(*plans, before_paths=paths[0], after_paths=paths[1])


def _saved_paths(plan: BucketPlan) -> list[str] | None:
    """(I,) where the images of a plan lie that was opened from a file, if that tells."""
    table = pa.ipc.open_file(pa.memory_map(str(plan.file))).read_all()
    if "path" not in table.column_names:
        return None
    first = np.unique(_images(plan), return_index=True)[1]
    return [str(path) for path in table.column("path").take(pa.array(first)).to_pylist()]


def _names(plan: BucketPlan, paths: Sequence[str] | None) -> list[str]:
    """What each row is called: an image's path or index, and which of its resolutions it is."""
    names = [str(name) for name in (range(plan.images) if paths is None else paths)]
    image = _images(plan)
    which = np.arange(len(image)) - np.searchsorted(image, image)
    return [
        f"{names[i]} ({k + 1})" if k else names[i]
        for i, k in zip(image.tolist(), which.tolist(), strict=True)
    ]


def _images(plan: BucketPlan) -> IntArray:
    return np.arange(len(plan)) if plan.image is None else plan.image


def _facts(plan: BucketPlan, what: str) -> IntArray:
    """(N, 2) sizes or bucket sizes, zeros for none, or (N, 1) repeats."""
    if what == "size":
        return plan.sizes
    if what == "repeats":
        return _repeats(plan)[:, None]
    return np.concatenate([plan.bucket_sizes, [[0, 0]]])[plan.bucket_of]


def _text(values: IntArray) -> str | None:
    return "x".join(map(str, values.tolist())) if values.any() else None


def _repeats(plan: BucketPlan) -> IntArray:
    return np.ones(len(plan), dtype=np.int64) if plan.repeats is None else plan.repeats


def _pair(first: str, second: str, values: IntArray, known: Mask) -> dict[str, pa.Array]:
    return {
        name: pa.array(values[:, column], mask=~known)
        for column, name in enumerate((first, second))
    }


def _sparse(texts: Mapping[int, str], images: int) -> pa.Array:
    """A column of strings, null but for some rows."""
    column = np.full(images, None, dtype=object)
    for index, text in texts.items():
        column[index] = text
    return pa.array(column, pa.string())
