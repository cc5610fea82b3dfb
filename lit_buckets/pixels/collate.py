"""From samples to a batch, a plain dictionary."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import default_collate

from lit_buckets.errors import DataError
from lit_buckets.pixels.sample import TENSORS, Sample, becomes_tensor

__all__ = ["collate"]


def collate(
    samples: Sequence[Sample], valid: npt.NDArray[np.bool_], numbers: Collection[str]
) -> dict[str, Any]:
    """Put samples of one shape together.

    Args:
        samples: B samples.
        valid: (B,) false for those that only fill a place.
        numbers: Names of further columns that become tensors.

    Returns:
        ``image``, ``mask`` if they have one, ``caption``, ``index``, sizes, ``valid`` and
        ``path``, and after these all further columns.

    Raises:
        DataError: If a further column's values cannot become a tensor.
    """
    fields = {name: [sample.fields[name] for sample in samples] for name in samples[0].fields}
    masks = {"mask": _stacked(fields.pop("mask"))} if "mask" in fields else {}
    batch = {
        "image": _stacked([sample.image for sample in samples]),
        **masks,
        "caption": fields.pop("caption"),
        **{name: torch.tensor(fields.pop(name), dtype=torch.int64) for name in TENSORS},
        "valid": torch.from_numpy(valid),
    }
    further = {name: _further(name, values, name in numbers) for name, values in fields.items()}
    return batch | further


def _further(name: str, values: list[Any], number: bool) -> Any:
    try:
        if isinstance(values[0], torch.Tensor):
            return _stacked(values)
        return torch.tensor(values) if number else values
    except (AttributeError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        odd = next((value for value in values if not becomes_tensor(value)), values)
        raise DataError(
            f"column {name!r} must hold numbers of 64 bits, in one shape for all of a batch; "
            f"it holds {odd!r}. Correct the table, or the transform that made it."
        ) from error


def _stacked(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """One plain tensor of all; in a loader's worker it is made in shared memory right away."""
    return default_collate([tensor.as_subclass(torch.Tensor) for tensor in tensors])
