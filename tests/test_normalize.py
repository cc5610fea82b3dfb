"""Bytes become floats exactly."""

from __future__ import annotations

import pytest
import torch

from lit_buckets.pixels.normalize import PRESETS, Statistics, normalize

OWN = Statistics((0.1, 0.2, 0.9), (0.5, 0.25, 1.0))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_normalize(dtype, channels_last):
    shades = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(2, 3, 16, 16)
    kept = shades.clone()
    exact = shades.double() / 255
    mean = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64)[:, None, None]
    deviation = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64)[:, None, None]
    expected = {
        "minus_one_one": 2 * exact - 1,
        "zero_one": exact,
        "imagenet": (exact - mean) / deviation,
        OWN: torch.stack([(exact[:, c] - OWN.mean[c]) / OWN.std[c] for c in range(3)], dim=1),
    }
    layout = torch.channels_last if channels_last else torch.contiguous_format
    for how, values in expected.items():
        found = normalize(shades, how, dtype, channels_last=channels_last)
        assert found.is_contiguous(memory_format=layout)
        assert found.dtype == dtype
        assert found.shape == shades.shape
        error = (found.double() - values).abs().max()
        assert error <= 3 * torch.finfo(dtype).eps
    assert torch.equal(shades, kept)
    bytes_ = normalize(kept, None, channels_last=channels_last)
    assert torch.equal(bytes_, kept)
    assert bytes_.is_contiguous(memory_format=layout)
    assert bytes_ is kept or channels_last
    ends = normalize(torch.tensor([0, 255, 0], dtype=torch.uint8).reshape(3, 1, 1), "minus_one_one")
    assert ends.ravel().tolist() == [-1, 1, -1]


def test_presets_are_what_they_say():
    for how, statistics in PRESETS.items():
        images = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
        assert torch.equal(normalize(images, how), normalize(images, statistics))
    with pytest.raises(ValueError, match="normalize='zscore' must be one of minus_one_one"):
        normalize(images, "zscore")
