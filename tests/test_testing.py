"""The check that users run on their own set-up."""

from __future__ import annotations

import itertools

import pytest
import torch
from test_lightning import config_of

from lit_buckets import BucketDataModule
from lit_buckets.testing import assert_resumable


def test_a_resumable_set_up_passes(images, tmp_path):
    config = config_of(images, tmp_path)
    checked = assert_resumable(config, world_sizes=(1, 3), num_workers=(0,), every=2)
    assert checked["stops"] > 8
    assert checked["batches"] > 15
    assert checked["changes"] > 16


@pytest.mark.slow
def test_workers_and_augmentation(images, tmp_path):
    from torchvision.transforms import v2

    jitter = v2.ColorJitter(0.5, 0.5)
    dm = BucketDataModule(
        config_of(images, tmp_path), train_transform=lambda image, sample: jitter(image)
    )
    assert assert_resumable(dm, world_sizes=(1, 2), every=4)["batches"] > 4


def test_a_transform_with_a_memory_is_caught(images, tmp_path):
    counter = itertools.count()

    def remembering(image, sample):
        return torch.full_like(image, next(counter) % 256)

    dm = BucketDataModule(config_of(images, tmp_path), train_transform=remembering)
    with pytest.raises(AssertionError, match=r"epoch 1, step 0, rank 0 of 1.*image differs"):
        assert_resumable(dm, world_sizes=(1,), num_workers=(0,))
