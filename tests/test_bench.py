"""What is measured is what was loaded."""

from __future__ import annotations

from itertools import count
from types import SimpleNamespace

import pytest

from lit_buckets import BucketDataModule, DataError, bench


@pytest.fixture(scope="module")
def dm(images, tmp_path_factory) -> BucketDataModule:
    config = {
        "data": {"train": str(images), "cache_dir": str(tmp_path_factory.mktemp("cache"))},
        "buckets": {"max_area": 64 * 64, "divisor": 16},
        "batches": {"batch_size": 4},
        "loader": {"num_workers": 0},
    }
    dm = BucketDataModule(config)
    dm.prepare_data()
    dm.setup("fit")
    return dm


def test_the_parts_are_measured_and_make_up_the_whole(dm):
    shares = bench.measure_shares(dm, seconds=0.3)
    assert shares.images >= 4
    assert min(shares.read, shares.decode, shares.rest) > 0
    assert shares.resize > 0
    assert shares.total == pytest.approx(shares.read + shares.decode + shares.resize + shares.rest)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_small_set_is_passed_through_again_and_again(dm, workers, monkeypatch):
    """By a clock that ticks whenever it is looked at, which is once for each batch."""
    ticks = count()
    monkeypatch.setattr(bench, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))
    speed = bench.measure_speed(dm, workers, seconds=40)
    assert speed.workers == workers
    assert speed.first_batch == 1
    assert 45 < speed.images <= 40 * 4
    assert speed.images_per_second == pytest.approx(speed.images / 41)


def test_one_batch_is_enough(dm):
    assert bench.measure_speed(dm, 0, seconds=0).images in (1, 2, 3, 4)
    assert bench.measure_shares(dm, seconds=0).images in (1, 2, 3, 4)


def test_no_more_workers_than_gain_something():
    def speed(workers: int, images: float) -> bench.Speed:
        return bench.Speed(workers, images, 0.0, 1)

    assert bench.choose([speed(0, 99), speed(1, 100), speed(4, 101)]).workers == 0
    assert bench.choose([speed(8, 100), speed(4, 96), speed(2, 90)]).workers == 4


def test_an_epoch_without_a_batch_is_told(images, tmp_path):
    dm = BucketDataModule(
        {
            "data": {"train": str(images), "cache_dir": str(tmp_path)},
            "buckets": {"rule": "native", "divisor": 1, "max_area": 10**6},
            "batches": {"batch_size": 40, "short_batch": "drop"},
            "loader": {"num_workers": 0},
        }
    )
    dm.prepare_data()
    dm.setup("fit")
    assert len(dm.loader("train")) == 0
    for measure in (lambda: bench.measure_speed(dm, 0), lambda: bench.measure_shares(dm)):
        with pytest.raises(DataError, match=r"an epoch has no batch: none of \d+ images is in a"):
            measure()
