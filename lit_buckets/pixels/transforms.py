"""A picture, its label maps and its mask, put into the bucket as their placement says."""

from __future__ import annotations

import torch

from lit_buckets.pixels.resize import Interpolation, resize_crop
from lit_buckets.pixels.stored import Stored
from lit_buckets.placement import Placement

__all__ = ["NO_LABEL", "labels_to_bucket", "mask_of", "to_bucket"]

#: Label where a padded bucket shows no picture: what torch's losses ignore by default.
NO_LABEL = -100

_WHITE = (255, 255, 255)


def to_bucket(
    image: torch.Tensor | Stored,
    placement: Placement,
    *,
    interpolation: Interpolation = "bicubic",
    background: tuple[int, int, int] = _WHITE,
) -> torch.Tensor:
    """Resize a picture, crop or pad it, and mirror it, as its placement says.

    Resizing is antialiased and works on bytes. A picture that has the size already is not
    touched: its bytes come out as they are.

        original 1000 x 2000         resized 1024 x 2048          bucket 1024 x 1024
        ┌──────────────────┐         ┌──────┬──────┬─────┐         ┌──────┐
        │                  │ resize  │      │      │     │  crop   │      │
        │                  │ ──────▶ │      │      │     │ ──────▶ │      │  (top, left) =
        └──────────────────┘         └──────┴──────┴─────┘         └──────┘    (0, 512)

    Args:
        image: The file's picture, at full scale or smaller: as it is stored, or upright as
            uint8 (3, H, W).
        placement: Where it goes.
        interpolation: How it is resized.
        background: Red, green and blue of padding.

    Returns:
        uint8 (3, bucket height, bucket width), not necessarily contiguous.
    """
    part = resize_crop(
        image,
        resized=placement.resized,
        offset=placement.offset,
        crop=placement.shown,
        interpolation=interpolation,
    )
    if placement.padded:
        colour = torch.tensor(background, dtype=torch.uint8)[:, None, None]
        part = _padded(part, placement, colour.expand(3, *placement.bucket).clone())
    return part.flip(-1) if placement.flip else part


def labels_to_bucket(labels: torch.Tensor, placement: Placement) -> torch.Tensor:
    """The same for a label map: each place takes the label nearest to it, and none is changed.

    Args:
        labels: Integers (H, W): the file's labels, upright, at any scale.
        placement: Where its picture goes.

    Returns:
        int64 (bucket height, bucket width); `NO_LABEL` where there is no picture.
    """
    rows, columns = (
        _nearest(length, whole, first, count)
        for length, whole, first, count in zip(
            labels.shape, placement.resized, placement.offset, placement.shown, strict=True
        )
    )
    part = labels[rows[:, None], columns].to(torch.int64)
    if placement.padded:
        part = _padded(part, placement, torch.full(placement.bucket, NO_LABEL))
    return part.flip(-1) if placement.flip else part


def mask_of(placement: Placement) -> torch.Tensor:
    """Where a bucket shows the picture.

    Args:
        placement: Where the picture is.

    Returns:
        bool (1, bucket height, bucket width), false where the bucket is padded.
    """
    part = torch.ones((1, *placement.shown), dtype=torch.bool)
    whole = _padded(part, placement, torch.zeros((1, *placement.bucket), dtype=torch.bool))
    return whole.flip(-1) if placement.flip else whole


def _padded(part: torch.Tensor, placement: Placement, canvas: torch.Tensor) -> torch.Tensor:
    """The canvas with a part on it."""
    (top, left), (height, width) = placement.margin, placement.shown
    canvas[..., top : top + height, left : left + width] = part
    return canvas


def _nearest(length: int, whole: int, first: int, count: int) -> torch.Tensor:
    """Which of ``length`` pixels lies at the middle of each of ``count`` after resizing."""
    return (2 * (torch.arange(count) + first) + 1) * length // (2 * whole)
