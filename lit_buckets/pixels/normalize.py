"""From bytes to what a model takes."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch

__all__ = ["PRESETS", "Normalize", "Statistics", "normalize"]

Normalize = Literal["minus_one_one", "zero_one", "imagenet"]


class Statistics(NamedTuple):
    """What values from 0 to 1 are normalised with: mean subtracted, divided by deviation.

    Attributes:
        mean: Of red, green and blue.
        std: Standard deviations of red, green and blue.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


PRESETS: dict[Normalize, Statistics] = {
    "minus_one_one": Statistics((0.5,) * 3, (0.5,) * 3),
    "zero_one": Statistics((0.0,) * 3, (1.0,) * 3),
    # mean and standard deviation of ImageNet's training images, as published
    "imagenet": Statistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


def normalize(
    images: torch.Tensor,
    how: Normalize | Statistics | None,
    dtype: torch.dtype = torch.float32,
    *,
    channels_last: bool = False,
) -> torch.Tensor:
    """Turn bytes into what a model takes, on whatever device they are.

    Args:
        images: uint8 (B, 3, H, W), or (3, H, W) where channels need not be last.
        how: ``"minus_one_one"`` maps 0 and 255 to exactly -1 and 1, ``"zero_one"`` to 0 and 1,
            ``"imagenet"`` subtracts ImageNet's mean and divides by its standard deviation, and
            :class:`Statistics` are of one's own; ``None`` leaves the bytes.
        dtype: A floating type of the result; the arithmetic has 32 bits at least.
        channels_last: Whether the result lies in memory with its channels last.

    Returns:
        A new tensor of the same shape and of ``dtype``; with ``None`` the bytes, which are the
        images themselves unless they had to be laid out anew.

    Raises:
        ValueError: If ``how`` is unknown.

    Example:
        >>> shades = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(3, 1, 1)
        >>> normalize(shades, "zero_one").ravel()
        tensor([0.0000, 0.2000, 1.0000])
    """
    layout = torch.channels_last if channels_last else torch.contiguous_format
    if how is None:
        return images.contiguous(memory_format=layout)
    mean, std = _statistics(how)
    exact = torch.promote_types(dtype, torch.float32)
    values = images.to(exact, copy=True, memory_format=layout)
    # by numbers, channel by channel, so that no constant has to be sent to the device
    if len(set(zip(mean, std, strict=True))) == 1:
        values.sub_(255 * mean[0]).div_(255 * std[0])
    else:
        for channel, (center, scale) in enumerate(zip(mean, std, strict=True)):
            values[..., channel, :, :].sub_(255 * center).div_(255 * scale)
    return values.to(dtype)


def _statistics(how: Normalize | Statistics) -> Statistics:
    if isinstance(how, Statistics):
        return how
    if how not in PRESETS:
        raise ValueError(f"normalize={how!r} must be one of {', '.join(PRESETS)}.")
    return PRESETS[how]
