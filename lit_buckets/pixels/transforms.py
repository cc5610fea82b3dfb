"""From a decoded picture to the bucket's size, and from bytes to what a model takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar, get_args

import torch

from lit_buckets import geometry
from lit_buckets.geometry import Offset, Size
from lit_buckets.pixels.resize import MODES, Interpolation, resize_crop

__all__ = ["Crop", "Interpolation", "Normalize", "crop_offset", "normalize", "to_bucket"]

Crop = Literal["center", "random", "top"]
Normalize = Literal["minus_one_one", "zero_one", "imagenet"]

_MIDDLE = (0.5, 0.5)
# for red, green and blue: what is subtracted from a byte, and what the rest is divided by
_CENTERS_AND_SCALES: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "minus_one_one": ((127.5,) * 3, (127.5,) * 3),
    "zero_one": ((0.0,) * 3, (255.0,) * 3),
    # mean and standard deviation of ImageNet's training images, as published
    "imagenet": (
        (0.485 * 255, 0.456 * 255, 0.406 * 255),
        (0.229 * 255, 0.224 * 255, 0.225 * 255),
    ),
}

_T = TypeVar("_T")


def to_bucket(
    image: torch.Tensor,
    *,
    original: Size,
    bucket: Size,
    resized: Size | None = None,
    crop: Crop = "center",
    flip: bool = False,
    interpolation: Interpolation = "bicubic",
    uniforms: Sequence[float] = _MIDDLE,
) -> tuple[torch.Tensor, Offset]:
    """Resize a picture, crop it to the bucket, and mirror it if asked.

    Resizing is antialiased and works on bytes. A picture that has the size already is not
    touched: its bytes come out as they are.

        original 1000 x 2000         resized 1024 x 2048          bucket 1024 x 1024
        ┌──────────────────┐         ┌──────┬──────┬─────┐         ┌──────┐
        │                  │ resize  │      │      │     │  crop   │      │
        │                  │ ──────▶ │      │      │     │ ──────▶ │      │  (top, left) =
        └──────────────────┘         └──────┴──────┴─────┘         └──────┘    (0, 512)

    Args:
        image: uint8 (3, H, W): the file's picture, upright, at full scale or smaller.
        original: Displayed size of the file, in pixels; it alone decides the resized size.
        resized: What the whole picture is resized to instead, in pixels; it covers the bucket.
        bucket: Size of the result, in pixels.
        crop: Which part of the resized picture is kept; see :func:`crop_offset`.
        flip: Whether the result is mirrored left to right.
        interpolation: How it is resized.
        uniforms: For a random crop: its place from top to bottom and from left to right, each
            in [0, 1).

    Returns:
        uint8 (3, bucket height, bucket width), not necessarily contiguous; and where it begins
        in the resized picture as the model sees it: mirrored, if the result is.

    Raises:
        ValueError: If an argument is out of its range.
    """
    resized = resized or Size(*geometry.cover(original, bucket).tolist())
    top, left = crop_offset(resized, bucket, crop, uniforms)
    _choice("interpolation", interpolation, MODES)
    image = resize_crop(
        image,
        resized=resized,
        offset=Offset(top, left),
        crop=bucket,
        interpolation=interpolation,
    )
    if flip:
        image = image.flip(-1)
        left = resized.width - bucket.width - left
    return image, Offset(top, left)


def crop_offset(
    resized: Size, bucket: Size, crop: Crop = "center", uniforms: Sequence[float] = _MIDDLE
) -> Offset:
    """Where the crop begins in the resized picture.

    Args:
        resized: Size that covers the bucket, in pixels.
        bucket: Size of the crop, in pixels.
        crop: ``"center"``; ``"top"``: the upper edge, centred from left to right; ``"random"``:
            every place is as likely as any other.
        uniforms: Two numbers in [0, 1) that decide a random place, vertical and horizontal.

    Returns:
        Top and left, in pixels.

    Raises:
        ValueError: If ``resized`` does not cover the bucket, or ``crop`` is unknown.

    Example:
        >>> crop_offset(Size(1024, 2048), Size(1024, 1024))
        Offset(top=0, left=512)
    """
    spare = Size(resized.height - bucket.height, resized.width - bucket.width)
    if min(spare) < 0:
        raise ValueError(
            f"a picture of {resized.height}x{resized.width} pixels does not cover the bucket of "
            f"{bucket.height}x{bucket.width}. Resize it to geometry.cover(...) first."
        )
    if crop == "random":
        vertical, horizontal = uniforms
        return Offset(int(vertical * (spare.height + 1)), int(horizontal * (spare.width + 1)))
    if crop not in get_args(Crop):
        raise ValueError(f"crop={crop!r} must be one of {', '.join(get_args(Crop))}.")
    return Offset(0 if crop == "top" else spare.height // 2, spare.width // 2)


def normalize(
    images: torch.Tensor, how: Normalize | None, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Turn bytes into what a model takes, on whatever device they are.

    Args:
        images: uint8 (..., 3, H, W).
        how: ``"minus_one_one"`` maps 0 and 255 to exactly -1 and 1, ``"zero_one"`` to 0 and 1,
            ``"imagenet"`` subtracts ImageNet's mean and divides by its standard deviation;
            ``None`` leaves the bytes.
        dtype: A floating type of the result; the arithmetic has 32 bits at least.

    Returns:
        A new tensor of the same shape and of ``dtype``; with ``None`` the images themselves.

    Raises:
        ValueError: If ``how`` is unknown.

    Example:
        >>> normalize(torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(3, 1, 1), "zero_one").ravel()
        tensor([0.0000, 0.2000, 1.0000])
    """  # noqa: E501
    if how is None:
        return images
    centers, scales = _choice("normalize", how, _CENTERS_AND_SCALES)
    values = images.to(torch.promote_types(dtype, torch.float32), copy=True)
    for channel, (center, scale) in enumerate(zip(centers, scales, strict=True)):
        # channel by channel, so that no constant has to be sent to the device
        values[..., channel, :, :].sub_(center).div_(scale)
    return values.to(dtype)


def _choice(name: str, value: str, choices: Mapping[Any, _T]) -> _T:
    if value not in choices:
        raise ValueError(f"{name}={value!r} must be one of {', '.join(choices)}.")
    return choices[value]
