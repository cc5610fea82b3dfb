"""Real processes: a stock Trainer with ``strategy="ddp"`` on CPU, killed and resumed.

Ranks are started as by a cluster, or (what is killed, what waits) by Lightning's own launcher.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from conftest import paint
from filelock import FileLock
from ranks import run_ranks

from lit_buckets.scan import manifest_file
from lit_buckets.sources import FolderSource

pytestmark = pytest.mark.slow

JOB = Path(__file__).with_name("job.py")
IMAGES = 45


def settings_of(out: Path, config: dict, world: int, *, action="fit", run="run", **job) -> Path:
    """The file that says what a job over ``world`` ranks does."""
    out.mkdir(parents=True, exist_ok=True)
    trainer = {"devices": world, "strategy": "ddp" if world > 1 else "auto"}
    job["trainer"] = trainer | job.get("trainer", {})
    settings = {"out": str(out), "config": config, "action": action, "run": run} | job
    file = out / f"{run}.json"
    file.write_text(json.dumps(settings))
    return file


def run(out: Path, config: dict, world: int, **job) -> None:
    """Run a job over ``world`` ranks to its end."""
    result = run_ranks(settings_of(out, config, world, **job), world)
    assert result.returncode == 0, result.stderr[-3000:]


def launch(out: Path, config: dict, world: int, **job) -> subprocess.Popen[str]:
    """Start the first process of a job, and leave the others to Lightning's own launcher."""
    file = settings_of(out, config, world, **job)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "PL_"))}
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", str(JOB), str(file)],
        env=environment | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(job: subprocess.Popen[str]) -> None:
    """Wait for the end of a launched job, which must be a good one."""
    _, errors = job.communicate(timeout=180)
    assert job.returncode == 0, errors[-3000:]


def records(out: Path, world: int, run="run", stage="train") -> list[list[dict]]:
    """What each rank saw."""
    found = []
    for rank in range(world):
        file = out / f"{run}-rank{rank}.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        found.append([r for r in map(json.loads, lines) if r["stage"] == stage])
    return found


def images_of(ranks) -> Counter:
    return Counter(
        index
        for rank in ranks
        for record in rank
        for index, valid in zip(record["index"], record["valid"], strict=True)
        if valid
    )


def metrics(out: Path, world: int, run="run") -> list[dict[str, float]]:
    """The last metrics of each rank."""
    files = [out / f"{run}-rank{rank}-metrics.json" for rank in range(world)]
    return [json.loads(file.read_text()) for file in files]


def config_of(images: Path, tmp_path: Path, **sections) -> dict:
    config = {
        "data": {"train": str(images), "cache_dir": str(tmp_path / "cache")},
        "buckets": {"max_area": 64 * 64, "divisor": 16},
        "batches": {"batch_size": 4, "seed": 1},
        "loader": {"num_workers": 0},
    }
    for name, values in sections.items():
        config[name] = config.get(name, {}) | values
    return config


@pytest.mark.parametrize(("world", "workers"), [(2, 2), (3, 0), (4, 0)])
def test_fit_sees_each_image_once_in_equal_steps(images, tmp_path, world, workers):
    config = config_of(images, tmp_path, data={"val": str(images)}, loader={"num_workers": workers})
    run(tmp_path, config, world, trainer={"max_epochs": 2, "log_every_n_steps": 1})
    ranks = records(tmp_path, world)
    assert len({len(rank) for rank in ranks}) == 1
    for told in metrics(tmp_path, world):
        assert told["data/epoch_images"] == IMAGES
        assert told["data/epoch_filled"] == 0
        assert 0 < told["data/wait_share"] < 1
    assert len({told["data/images_per_second"] for told in metrics(tmp_path, world)}) == 1
    for epoch in range(2):
        steps = [[r for r in rank if r["epoch"] == epoch] for rank in ranks]
        assert images_of(steps) == Counter(range(IMAGES))
        # ranks share one shape in all rounds but the left-over ones, which come last
        same = [len({str(r["shape"]) for r in step}) == 1 for step in zip(*steps, strict=True)]
        assert same == sorted(same, reverse=True)
        val = [
            [r for r in rank if r["epoch"] == epoch]
            for rank in records(tmp_path, world, stage="val")
        ]
        assert len({len(rank) for rank in val}) == 1
        assert images_of(val) == Counter(range(IMAGES))


@pytest.mark.parametrize("world", [1, 2, 3])
def test_real_photographs_come_once(photos, tmp_path, world):
    """Extreme ratios, grey ones, camera pictures with EXIF rotation."""
    count = len([file for file in photos.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg")])
    run(tmp_path, config_of(photos, tmp_path), world)
    ranks = records(tmp_path, world)
    assert len({len(rank) for rank in ranks}) == 1
    assert images_of(ranks) == Counter(range(count))


@pytest.mark.parametrize("action", ["validate", "test", "predict"])
def test_evaluation_sees_each_image_once_in_equal_steps(images, tmp_path, action):
    data = {"val": str(images), "test": str(images), "predict": str(images)}
    run(tmp_path, config_of(images, tmp_path, data=data), 2, action=action)
    stage = {"validate": "val"}.get(action, action)
    ranks = records(tmp_path, 2, stage=stage)
    assert len({len(rank) for rank in ranks}) == 1
    assert images_of(ranks) == Counter(range(IMAGES))


def test_ranks_change_within_an_epoch(images, tmp_path):
    """4 -> 2 -> 3 -> 1 ranks with other batch sizes: each image once, and validation runs."""
    config = config_of(images, tmp_path, data={"val": str(images)}, batches={"batch_size": 1})
    came: Counter = Counter()
    checkpoint, done = None, 0
    for world, size, stop in ((4, 1, 3), (2, 2, 7), (3, 1, 10), (1, 3, None)):
        config["batches"]["batch_size"] = size
        trainer = {"max_epochs": 2} | ({"max_steps": stop} if stop else {})
        run(tmp_path, config, world, run=f"w{world}", checkpoint=checkpoint, trainer=trainer)
        ranks = records(tmp_path, world, run=f"w{world}")
        first = [[r for r in rank if r["epoch"] == 0] for rank in ranks]
        if stop:
            assert {len(rank) for rank in first} == {stop - done}
        came += images_of(first)
        checkpoint, done = str(tmp_path / "checkpoints" / f"step={stop}.ckpt"), stop
    assert came == Counter(range(IMAGES))
    # the epoch after it is whole again, and both epochs were validated
    assert images_of([[r for r in ranks[0] if r["epoch"] == 1]]) == Counter(range(IMAGES))
    val = records(tmp_path, 1, run="w1", stage="val")[0]
    for epoch in range(2):
        assert images_of([[r for r in val if r["epoch"] == epoch]]) == Counter(range(IMAGES))


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_a_killed_job_goes_on_where_its_last_checkpoint_was(images, tmp_path, name):
    config = config_of(images, tmp_path, batches={"batch_size": 2})
    model = {"kill_at": 5, "kill_signal": name, "kill_rank": 1 if name == "SIGKILL" else 0}
    launch(tmp_path, config, 2, run="killed", model=model).communicate(timeout=180)
    checkpoints = (tmp_path / "checkpoints").glob("*.ckpt")
    last = max(checkpoints, key=lambda file: int(re.findall(r"\d+", file.stem)[0]))
    step = int(re.findall(r"\d+", last.stem)[0])
    run(tmp_path, config, 2, run="rest", checkpoint=str(last))
    before = [rank[:step] for rank in records(tmp_path, 2, run="killed")]
    assert [len(rank) for rank in before] == [step, step]
    assert 0 < step < 12  # of 12 rounds or more
    after = records(tmp_path, 2, run="rest")
    assert images_of(before) + images_of(after) == Counter(range(IMAGES))


def test_odd_evaluation_sets_do_not_hang_batch_norm(tmp_path):
    paint(tmp_path / "images", 13)
    config = config_of(tmp_path / "images", tmp_path, data={"val": str(tmp_path / "images")})
    run(tmp_path, config, 2, model={"batch_norm": True}, trainer={"sync_batchnorm": False})
    assert images_of(records(tmp_path, 2, stage="val")) == Counter(range(13))


def test_fewer_images_than_ranks_fill_places(tmp_path):
    paint(tmp_path / "images", 2)
    run(tmp_path, config_of(tmp_path / "images", tmp_path, batches={"batch_size": 2}), 3)
    ranks = records(tmp_path, 3)
    assert [len(rank) for rank in ranks] == [1, 1, 1]
    assert images_of(ranks) == Counter(range(2))
    assert sum(not valid for rank in ranks for r in rank for valid in r["valid"]) == 1


def test_ranks_that_plan_otherwise_stop_at_once(images, tmp_path):
    """One rank reads another configuration: every rank ends with an error that says so."""
    config = config_of(images, tmp_path)
    other = config_of(images, tmp_path, buckets={"max_area": 1024})
    file = settings_of(tmp_path, config, 2, config_of_rank={"1": other})
    result = run_ranks(file, 2)
    assert result.returncode != 0
    assert "not all ranks have the train plan of rank 0" in result.stderr
    assert "on rank 1 its plan differ" in result.stderr


def test_no_barrier_times_out_however_long_the_setup_pass_takes(images, tmp_path):
    config = config_of(images, tmp_path)
    file = manifest_file(FolderSource(images), config["data"]["cache_dir"])
    file.parent.mkdir()
    with FileLock(file.with_name(f".{file.stem}.lock")):  # another process is at work
        job = launch(tmp_path, config, 2, impatient=4)
        while "waiting for it" not in (line := job.stderr.readline()):
            assert line  # or the job has ended
        time.sleep(7)
        assert job.poll() is None
    finish(job)
    assert images_of(records(tmp_path, 2)) == Counter(range(IMAGES))
