"""Without a Trainer: plain PyTorch loops and Lightning Fabric resume exactly, too."""

from __future__ import annotations

import lightning as L
import pytest
import torch
from test_lightning import config_of

from lit_buckets import BucketDataModule


@pytest.fixture
def dm(images, tmp_path) -> BucketDataModule:
    dm = BucketDataModule(config_of(images, tmp_path))
    dm.prepare_data()
    dm.setup("fit")
    return dm


def tensors(batches):
    return [(batch["index"].tolist(), batch["image"].double().sum().item()) for batch in batches]


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_plain_loop_resumes_though_workers_draw_ahead(dm, workers):
    def fresh():
        return dm.loader("train", num_workers=workers)

    loader = fresh()
    whole = [tensors(loader), tensors(loader)]  # two epochs, without set_epoch
    steps = len(whole[0])
    assert whole[0] != whole[1]
    for stop in (0, 1, 7, steps - 1, steps):
        first = fresh()
        first.set_epoch(1)
        iterator = iter(first)
        came = tensors(next(iterator) for _ in range(stop))
        second = fresh()
        second.load_state_dict(first.state_dict())
        second.set_epoch(1)
        assert came + tensors(second) == whole[1]


def test_fabric_shards_sets_the_epoch_and_resumes(dm):
    fabric = L.Fabric(accelerator="cpu", devices=1)
    loader = dm.loader("train", num_replicas=fabric.world_size, rank=fabric.global_rank)
    batches = fabric.setup_dataloaders(loader)
    whole = [tensors(batches), tensors(batches), tensors(batches)]
    assert whole[0] != whole[1]
    for epoch, stop in ((0, 3), (1, 0), (1, 5), (1, len(whole[0]))):
        source = dm.loader("train")
        source.set_epoch(epoch)
        state = source.batches.state_dict(stop)
        loader = dm.loader("train")
        loader.load_state_dict(state)
        batches = fabric.setup_dataloaders(loader)
        came = tensors(batches)
        if stop == len(whole[0]):
            assert came == whole[epoch + 1]
        else:
            assert came == whole[epoch][stop:]
            assert tensors(batches) == whole[epoch + 1]


def test_leaving_a_loop_early_begins_the_epoch_again(dm):
    loader = dm.loader("train")
    first = tensors(loader)
    again = dm.loader("train")
    next(iter(again))
    assert tensors(again) == first


def test_a_torch_loader_takes_the_sampler(dm):
    loader = dm.loader("train")
    plain = torch.utils.data.DataLoader(
        loader.dataset, sampler=loader.batches, batch_size=None, collate_fn=lambda batch: batch
    )
    assert tensors(plain) == tensors(dm.loader("train"))
