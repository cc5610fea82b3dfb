"""Augmentation of a sample: of its image, and of its mask and paired images along with it.

Image, paired images, masks and label maps are handed over as torchvision's ``Image`` and ``Mask``,
so its transforms move them all alike, and change the colours of images only.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torchvision.tv_tensors import Image, Mask

from lit_buckets.geometry import Size
from lit_buckets.pixels.sample import Kind, Sample
from lit_buckets.pixels.transforms import NO_LABEL

__all__ = ["Transform", "apply_transform", "augment", "check_augment", "seeded"]

Transform = Callable[[torch.Tensor, dict[str, Any]], Any]
Tensors = dict[str, torch.Tensor]

_TRIES = 4  # draws that a start tries a transform with, for each size


@contextmanager
def seeded(key: int) -> Iterator[None]:
    """Seed torch's, NumPy's and Python's global generators; leave all as they were found."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        torch.default_generator.manual_seed(key >> 1)  # the CPU's alone: no device is asked for
        np.random.seed([key & 0xFFFFFFFF, key >> 32])  # noqa: NPY002
        random.seed(key)
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])


def augment(sample: Sample, transforms: Sequence[Callable[[Any], Any]]) -> Sample:
    """Apply transforms of torchvision v2 to the image, its mask and its paired images jointly.

    Args:
        sample: As a :class:`~lit_buckets.pixels.sample.SampleReader` gives it.
        transforms: In the order in which they are applied.

    Returns:
        The sample with new tensors. Labels are `NO_LABEL` where there is no picture any more.

    Raises:
        ValueError: If one fails, or what comes out could not stand in a batch.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # said at the start, by check_augment: not with each image
        try:
            moved = _moved(sample, transforms)
        except Exception as error:
            raise ValueError(
                f"transform.augment fails for {sample.fields['path']!r}: {error}"
            ) from error
    return _checked(sample, moved)


def _moved(sample: Sample, transforms: Sequence[Callable[[Any], Any]]) -> Any:
    """What comes out, whatever it is; `NO_LABEL` where a label map was moved away."""
    tensors: Any = {"image": Image(sample.image.contiguous()), **_tensors(sample.fields)}
    labels = [name for name, tensor in tensors.items() if tensor.dtype == torch.int64]
    # what transforms fill up is false here, whatever they fill labels with
    inside = Mask(torch.ones(sample.image.shape[-2:], dtype=torch.bool)) if labels else None
    for transform in transforms:
        tensors, inside = transform((tensors, inside))
    for name in labels:
        tensors[name] = tensors[name].where(inside, NO_LABEL)
    return tensors


def _checked(sample: Sample, tensors: Any) -> Sample:
    for name, before in {"image": sample.image, **_tensors(sample.fields)}.items():
        _check(tensors[name], before, name, "transform.augment", sample.fields["path"])
    return Sample(tensors.pop("image"), sample.fields | tensors)


def apply_transform(sample: Sample, transform: Transform) -> Sample:
    """Apply a user's transform, and refuse what could not stand in a batch.

    Args:
        sample: The sample; its fields are handed over as a copy.
        transform: Called on (image, fields).

    Returns:
        The image that it returned, with the fields as it left or returned them.

    Raises:
        ValueError: If what comes out could not stand in a batch.
    """
    fields, path = dict(sample.fields), sample.fields["path"]
    image = transform(Image(sample.image.contiguous()), fields)
    if isinstance(image, tuple) and len(image) == 2:
        image, fields = image
    _check(image, sample.image, "image", "the transform", path)
    for name, tensor in _tensors(sample.fields).items():
        _check(fields[name], tensor, name, "the transform", path)
    return Sample(image, {name: fields[name] for name in sample.fields})


def check_augment(
    transforms: Sequence[Callable[[Any], Any]],
    sizes: Sequence[Size],
    *,
    mask: bool = False,
    paired: Mapping[str, Kind] | None = None,
) -> None:
    """Try transforms on made-up samples, so that what cannot work is known at the start.

    Args:
        transforms: Of torchvision v2.
        sizes: Bucket sizes to try them at.
        mask: Whether samples have a mask.
        paired: The paired images that samples have.

    Raises:
        ValueError: If one fails, or changes an image's size or type.
    """
    for size in sizes:
        fields: dict[str, Any] = {"path": f"a picture of {size.height}x{size.width} pixels"}
        if mask:
            fields["mask"] = Mask(torch.ones((1, *size), dtype=torch.bool))
        for name, kind in (paired or {}).items():
            labels = torch.zeros(size, dtype=torch.int64)
            fields[name] = Mask(labels) if kind == "labels" else Image(_shades(size))
        sample = Sample(_shades(size), fields)
        for attempt in range(_TRIES):
            with seeded(attempt):
                try:
                    tensors = _moved(sample, transforms)
                except Exception as error:
                    reason = " ".join(str(error).split())
                    raise ValueError(f"torchvision refuses it: {reason}") from error
            _checked(sample, tensors)


def _shades(size: Size) -> torch.Tensor:
    """A picture of all shades."""
    return (torch.arange(3 * size.height * size.width) % 256).to(torch.uint8).reshape(3, *size)


def _tensors(fields: Mapping[str, Any]) -> Tensors:
    return {name: value for name, value in fields.items() if isinstance(value, Image | Mask)}


def _check(found: Any, expected: torch.Tensor, name: str, who: str, path: str) -> None:
    """Refuse what does not have the type and the shape that it had."""
    if not isinstance(found, torch.Tensor):
        raise ValueError(
            f"{who} returned {type(found).__name__} for {path!r}, not an {name}. "
            "Return the image, or the pair (image, sample)."
        )
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError(
            f"{who} made {found.dtype} of shape {tuple(found.shape)} of the {name} of {path!r}; "
            f"all in a batch must keep {str(expected.dtype).removeprefix('torch.')} and shape "
            f"{tuple(expected.shape)}. Leave resizing to the buckets and floats to "
            "transform.normalize."
        )
