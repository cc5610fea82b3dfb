"""Where a picture lies in its bucket: how it is resized, and what is cropped or padded.

    fit: crop                     fit: pad                      fit: stretch
    covers the bucket, the rest   fits in the bucket, the rest  both sides become the
    is cut                        is background                 bucket's
    ┌──┬──────┬──┐                ┌──────────────┐              ┌──────────────┐
    │  │bucket│  │                │  background  │              │              │
    │  │      │  │                ├──────────────┤              │   picture    │
    │  │      │  │                │   picture    │              │              │
    └──┴──────┴──┘                ├──────────────┤              └──────────────┘
       picture                    └──────────────┘

With the fit ``native`` a picture keeps its pixels, and what its bucket does not hold is cut.

Sizes alone decide, so the plan can tell before training what the pixels will be. Whole pixels, no
torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from lit_buckets import geometry
from lit_buckets.geometry import Offset, Size

__all__ = ["Crop", "Fit", "Placement", "crop_offsets", "place", "resized_sizes"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

Fit = Literal["crop", "pad", "stretch", "native"]
Crop = Literal["center", "random", "top", "bottom", "focus"]

_NEAR = 1e-6  # of a pixel: what a share of a side may be off by in floating point


class Placement(NamedTuple):
    """How one picture is put into its bucket.

    First it is resized, then the part that is shown is cut out of it and put into the bucket,
    and at last the whole bucket is mirrored, if it is.

    Attributes:
        bucket: Size of the result, in pixels.
        resized: What the whole picture is resized to.
        offset: Where the part that is shown begins in the resized picture.
        shown: Size of that part: the bucket's, or less where the picture is padded.
        margin: Where that part begins in the bucket: 0 unless the picture is padded.
        flip: Whether the bucket is mirrored left to right.
    """

    bucket: Size
    resized: Size
    offset: Offset
    shown: Size
    margin: Offset
    flip: bool = False

    @property
    def crop_top_left(self) -> Offset:
        """How many pixels of the resized picture are cut at its top and left, as the model sees it.

        That is SDXL's ``crop_top_left``. In a mirrored picture it counts from what has become the
        left. Padding and stretching cut nothing, so there it is (0, 0): a model that is asked for
        (0, 0) is asked for an uncropped picture, which these are.
        """
        cut = self.resized.width - self.shown.width - self.offset.left
        return Offset(self.offset.top, cut if self.flip else self.offset.left)

    @property
    def padded(self) -> bool:
        """Whether the picture leaves a part of the bucket empty."""
        return self.shown != self.bucket


def place(
    original: Size,
    bucket: Size,
    *,
    fit: Fit = "crop",
    crop: Crop = "center",
    focus: npt.ArrayLike | None = None,
    uniforms: Sequence[float] = (0.5, 0.5),
    flip: bool = False,
) -> Placement:
    """Where one picture lies in its bucket.

    Args:
        original: Displayed size of the picture's file, in pixels.
        bucket: Size of the bucket, in pixels.
        fit: ``"crop"``: the picture covers the bucket, and what does not fit is cut; ``"pad"``: it
            fits in the bucket, centred; ``"stretch"``: both sides become the bucket's;
            ``"native"``: it is not resized, and what the bucket does not hold is cut.
        crop: Which part a crop keeps; see :func:`crop_offsets`.
        focus: Top, left, bottom and right of what a crop is to keep, as shares of the picture's
            sides; ``None`` for its centre.
        uniforms: For a random crop: its place from top to bottom and from left to right, each
            in [0, 1).
        flip: Whether the result is mirrored left to right.

    Returns:
        The placement.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> place(Size(1000, 2000), Size(1024, 1024)).crop_top_left
        Offset(top=0, left=512)
        >>> place(Size(1000, 2000), Size(1024, 1024), fit="pad").margin
        Offset(top=256, left=0)
    """
    resized = Size(*resized_sizes(original, bucket, fit).tolist())
    if fit in ("pad", "stretch"):
        margin = Offset((bucket.height - resized.height) // 2, (bucket.width - resized.width) // 2)
        return Placement(bucket, resized, Offset(0, 0), resized, margin, flip)
    boxes = None if focus is None else np.asarray(focus, dtype=np.float64)
    offset = crop_offsets(resized, bucket, crop, focus=boxes, uniforms=uniforms)
    return Placement(bucket, resized, Offset(*offset.tolist()), bucket, Offset(0, 0), flip)


def resized_sizes(sizes: npt.ArrayLike, buckets: npt.ArrayLike, fit: Fit = "crop") -> IntArray:
    """What pictures are resized to.

    Args:
        sizes: (N, 2) or (2,) image sizes, in pixels.
        buckets: Bucket sizes, in pixels, broadcast against ``sizes``.
        fit: As in :func:`place`.

    Returns:
        int64 sizes.

    Raises:
        ValueError: If a side is not positive, or ``fit`` is unknown.

    Example:
        >>> resized_sizes([600, 800], [512, 512], "stretch").tolist()
        [512, 512]
    """
    if fit == "crop":
        return geometry.cover(sizes, buckets)
    if fit == "pad":
        return geometry.contain(sizes, buckets)
    if fit == "native":
        return geometry.as_sizes(sizes)
    if fit not in get_args(Fit):
        raise ValueError(f"fit={fit!r} must be one of {', '.join(get_args(Fit))}.")
    both = np.broadcast_arrays(geometry.as_sizes(sizes), geometry.as_sizes(buckets))
    return np.array(both[1])


def crop_offsets(
    resized: npt.ArrayLike,
    buckets: npt.ArrayLike,
    crop: Crop = "center",
    *,
    focus: FloatArray | None = None,
    uniforms: Sequence[float] = (0.5, 0.5),
) -> IntArray:
    """Where crops begin in resized pictures.

    Args:
        resized: (N, 2) or (2,) sizes that cover their buckets, in pixels.
        buckets: Sizes of the crops, in pixels, broadcast against ``resized``.
        crop: ``"center"``; ``"top"`` and ``"bottom"``: that edge, centred from left to right;
            ``"random"``: every place is as likely as any other; ``"focus"``: around ``focus``.
        focus: (N, 4) or (4,) top, left, bottom and right of what is to be kept, as shares of the
            picture's sides; a point has top = bottom and left = right. What lies outside of the
            picture does not count. If the crop can hold all of it, it does; the crop is as near
            to centred on it as it can be. Not a number, or ``None``: the picture's centre.
        uniforms: Two numbers in [0, 1) that decide a random place, vertical and horizontal.

    Returns:
        int64 tops and lefts, in pixels.

    Raises:
        ValueError: If a picture does not cover its bucket, or ``crop`` is unknown.

    Example:
        >>> crop_offsets([1024, 2048], [1024, 1024]).tolist()
        [0, 512]
        >>> crop_offsets([100, 400], [100, 100], "focus", focus=np.array([0, 0.7, 1, 0.8])).tolist()
        [0, 250]
    """
    whole, part = np.broadcast_arrays(geometry.as_sizes(resized), geometry.as_sizes(buckets))
    spare = whole - part
    if spare.min(initial=0) < 0:
        row = tuple(np.argwhere(spare < 0)[0][:-1])
        raise ValueError(
            f"a picture of {_text(whole[row])} pixels does not cover the bucket of "
            f"{_text(part[row])}. Resize it to geometry.cover(...) first."
        )
    if crop == "random":
        return (np.asarray(uniforms) * (spare + 1)).astype(np.int64)
    if crop == "focus" and focus is not None:
        return _around(focus, whole, part)
    if crop not in get_args(Crop):
        raise ValueError(f"crop={crop!r} must be one of {', '.join(get_args(Crop))}.")
    offsets = spare // 2
    if crop in ("top", "bottom"):
        offsets[..., 0] = 0 if crop == "top" else spare[..., 0]
    return offsets


def _around(focus: FloatArray, whole: IntArray, part: IntArray) -> IntArray:
    """Offsets of parts of the whole, as near to centred on the focus as they can be."""
    missing = np.isnan(focus).any(axis=-1, keepdims=True)
    shares = np.clip(np.where(missing, 0.5, focus), 0, 1)
    begin, end = shares[..., :2] * whole, shares[..., 2:] * whole
    centred = np.ceil((begin + end - part) / 2 - 0.5 - _NEAR)  # a half goes down, as in the centre
    # the first and the last offset that show all of it
    first, last = np.ceil(end - _NEAR) - part, np.floor(begin + _NEAR)
    held = np.where(first <= last, np.clip(centred, first, last), centred)
    return np.clip(held, 0, whole - part).astype(np.int64)


def _text(size: IntArray) -> str:
    return "x".join(map(str, size.tolist()))
