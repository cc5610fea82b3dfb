"""Augmentation of a sample: of its image, and of its mask and paired images along with it.

Image, paired images, masks and label maps are handed over as torchvision's ``Image`` and ``Mask``,
so its transforms move them all alike, and change the colours of images only.
"""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torchvision.transforms import v2
from torchvision.tv_tensors import Image, Mask

from lit_buckets.errors import DataError
from lit_buckets.geometry import Size
from lit_buckets.pixels.sample import TENSORS, Kind, Sample, becomes_tensor
from lit_buckets.pixels.transforms import NO_LABEL

__all__ = [
    "Transform",
    "TransformError",
    "UnfitError",
    "apply_transform",
    "augment",
    "check_augment",
    "seeded",
]

Transform = Callable[[torch.Tensor, dict[str, Any]], Any]
Tensors = dict[str, torch.Tensor]

_EXACT = 2**24  # up to here float32 holds every integer; torchvision moves some masks as that
_TRIES = 4  # draws that a start tries a transform with, for each size


class UnfitError(DataError, ValueError):
    """What a transform made of a sample, if it cannot stand in a batch."""


class TransformError(ValueError):
    """A transform that raised an error of its own."""


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
    large = [name for name in labels if tensors[name].abs().max() > _EXACT]
    values = {name: tensors[name].unique(return_inverse=True) for name in large}
    tensors |= {name: Mask(places) for name, (_, places) in values.items()}
    # what transforms fill up is false here, whatever they fill labels with
    inside = Mask(torch.ones(sample.image.shape[-2:], dtype=torch.bool)) if labels else None
    for transform in transforms:
        tensors, inside = transform((tensors, inside))
    _check_kinds(tensors, sample)
    for name, (known, _) in values.items():
        tensors[name] = known[tensors[name].clamp(0, len(known) - 1)]
    for name in labels:
        tensors[name] = tensors[name].where(inside, NO_LABEL)
    return tensors


def _check_kinds(tensors: Mapping[str, Any], sample: Sample) -> None:
    """Refuse plain tensors: torchvision moves the first of several alone, and no mask with it."""
    for name in tensors:
        if type(tensors[name]) is torch.Tensor:
            raise UnfitError(
                f"transform.augment made a plain tensor of the {name} of "
                f"{sample.fields['path']!r}, and what belongs together would not move together. "
                "Leave out ToPureTensor."
            )


def _checked(sample: Sample, tensors: Any) -> Sample:
    for name, before in {"image": sample.image, **_tensors(sample.fields)}.items():
        _check(tensors[name], before, name, "transform.augment", sample.fields["path"])
    return Sample(tensors.pop("image"), sample.fields | tensors)


def apply_transform(
    sample: Sample,
    transform: Transform,
    who: str = "the transform",
    numbers: Collection[str] = (),
) -> Sample:
    """Apply a user's transform, and refuse what could not stand in a batch.

    Args:
        sample: The sample; its fields are handed over as a copy.
        transform: Called on (image, fields).
        who: What messages call it.
        numbers: Names of further fields that become tensors.

    Returns:
        The image that it returned, with the fields as it left or returned them.

    Raises:
        UnfitError: If what comes out could not stand in a batch.
    """
    fields, path = dict(sample.fields), sample.fields["path"]
    try:
        image = transform(Image(sample.image.contiguous()), fields)
    except StopIteration as error:  # a loop over the loader would take it for the epoch's end
        raise RuntimeError(f"{who} ran out of something at {path!r}: StopIteration") from error
    if isinstance(image, tuple) and len(image) == 2:
        image, fields = image
    _check(image, sample.image, "image", who, path)
    _check_fields(fields, sample, who, numbers)
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
        TransformError: If one fails.
        ValueError: If an image's size or type has changed.
    """
    certain = _certain(transforms)
    for size in sizes:
        sample = _made_up(size, mask, paired or {})
        for seed in range(_TRIES):
            _try(sample, transforms, seed)
        for seed, chain in enumerate(certain):
            _try(sample, chain, seed)


def _try(sample: Sample, transforms: Sequence[Callable[[Any], Any]], seed: int) -> None:
    with seeded(seed):
        try:
            tensors = _moved(sample, transforms)
        except UnfitError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise TransformError(
                f"torchvision refuses {sample.fields['path']}: {reason}"
            ) from error
    _checked(sample, tensors)


def _made_up(size: Size, mask: bool, paired: Mapping[str, Kind]) -> Sample:
    fields: dict[str, Any] = {"path": f"a picture of {size.height}x{size.width} pixels"}
    if mask:
        fields["mask"] = Mask(torch.ones((1, *size), dtype=torch.bool))
    for name, kind in paired.items():
        labels = torch.zeros(size, dtype=torch.int64)
        fields[name] = Mask(labels) if kind == "labels" else Image(_shades(size))
    return Sample(_shades(size), fields)


def _certain(transforms: Sequence[Any]) -> list[list[Any]]:
    """Chains in which all that may happen does, each of several choices in one of them.

    What comes seldom would else not be seen before it ends a run.
    """
    each = [_certain_of(transform) for transform in transforms]
    count = max(map(len, each), default=0)
    return [[step for ways in each for step in ways[i % len(ways)]] for i in range(count)]


def _certain_of(transform: Any) -> list[list[Any]]:
    """The same for one transform."""
    chance = getattr(transform, "p", None)
    if isinstance(transform, v2.RandomChoice):
        likely = zip(transform.transforms, transform.p, strict=True)
        return [way for inner, p in likely if p > 0 for way in _certain_of(inner)] or [[]]
    if isinstance(transform, v2.RandomOrder):
        inner = list(transform.transforms)
        return [*_certain(inner), *_certain(inner[::-1])] or [[]]
    if isinstance(transform, v2.Compose) or (isinstance(transform, v2.RandomApply) and chance):
        return _certain(list(transform.transforms)) or [[]]
    if isinstance(chance, int | float) and 0 < chance < 1:
        transform = copy.copy(transform)
        transform.p = 1.0
    return [[transform]]


def _shades(size: Size) -> torch.Tensor:
    """A picture of all shades."""
    return (torch.arange(3 * size.height * size.width) % 256).to(torch.uint8).reshape(3, *size)


def _tensors(fields: Mapping[str, Any]) -> Tensors:
    return {name: value for name, value in fields.items() if isinstance(value, Image | Mask)}


def _check_fields(found: Any, sample: Sample, who: str, numbers: Collection[str]) -> None:
    """Refuse what lacks a field, or has another kind of value in one that becomes a tensor."""
    before, path = sample.fields, sample.fields["path"]
    if not isinstance(found, Mapping):
        raise UnfitError(
            f"{who} returned {type(found).__name__} beside the image for {path!r}, not the sample. "
            "Return the image, or the pair (image, sample)."
        )
    for name, value in before.items():
        if name not in found:
            raise UnfitError(
                f"{who} dropped {name!r} from the sample of {path!r}; all in a batch have the "
                "same fields. Leave every field in the sample."
            )
        if isinstance(value, Image | Mask):
            _check(found[name], value, name, who, path)
        elif name in TENSORS or name in numbers:
            _check_number(found[name], value, name, who, path)


def _check_number(found: Any, before: Any, name: str, who: str, path: str) -> None:
    """Refuse what torch makes no tensor of, or one of another shape where all have the same."""
    own = name not in TENSORS  # of the table: what the transform makes of it is its own business
    if found is before or (own and isinstance(found, torch.Tensor)):
        return
    fits = (
        not isinstance(found, torch.Tensor)
        and becomes_tensor(found, None if own else torch.int64)
        and (own or np.shape(found) == np.shape(before))
    )
    if not fits:
        raise UnfitError(
            f"{who} made {found!r} of the {name} of {path!r}; it was {before!r}, and becomes a "
            "tensor in a batch. Keep it of that kind."
        )


def _check(found: Any, expected: torch.Tensor, name: str, who: str, path: str) -> None:
    """Refuse what does not have the type and the shape that it had."""
    if not isinstance(found, torch.Tensor):
        made = f"for {path!r}, not an image" if name == "image" else f"as the {name} of {path!r}"
        raise UnfitError(
            f"{who} returned {type(found).__name__} {made}. "
            "Return the image, or the pair (image, sample)."
        )
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise UnfitError(
            f"{who} made {found.dtype} of shape {tuple(found.shape)} of the {name} of {path!r}; "
            f"all in a batch must keep {str(expected.dtype).removeprefix('torch.')} and shape "
            f"{tuple(expected.shape)}. Leave resizing to the buckets and floats to "
            "transform.normalize."
        )
