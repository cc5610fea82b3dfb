"""Files and workers that fail while training is under way: named, counted, and never a hang."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import paint
from torch.utils.data import get_worker_info

from lit_buckets import BucketDataModule, DataError
from lit_buckets import loader as loading
from lit_buckets.pixels.decode import DecodeError
from lit_buckets.pixels.failures import Failures


def module_of(folder: Path, tmp_path: Path, transform=None, loader=None, **data):
    config = {
        "data": {"train": str(folder), "cache_dir": str(tmp_path / "cache"), **data},
        "buckets": {"max_area": 64 * 64, "divisor": 16},
        "batches": {"batch_size": 2},
        "loader": {"num_workers": 2, "multiprocessing_context": "fork"} | (loader or {}),
    }
    dm = BucketDataModule(config, train_transform=transform)
    dm.prepare_data()
    dm.setup("fit")
    return dm


def spoil(file: Path) -> None:
    """Cut a file in its pixels, so that its header still tells its size."""
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 2 // 3])


def came(loader) -> Counter:
    return Counter(i for batch in loader for i in batch["index"][batch["valid"]].tolist())


# -- files -------------------------------------------------------------------------------------


@pytest.mark.parametrize("edge", ["first", "last", "both"])
def test_corrupt_files_at_the_edges_of_buckets_cost_no_other_image(tmp_path, edge):
    """The first or last image of every bucket, down to buckets of which nothing is left."""
    folder = paint(tmp_path / "images", 16)
    paint(folder / "strip", 1, sizes=[(20, 200)])
    dm = module_of(folder, tmp_path, loader={"num_workers": 0})
    members, counts = dm.plan.members, dm.plan.counts
    assert counts.min() == 1
    ends = counts.cumsum()
    edges = {"first": [*(ends - counts)], "last": [*(ends - 1)]}
    edges["both"] = edges["first"] + edges["last"]
    bad = {int(members[place]) for place in edges[edge]}
    for index in bad:
        spoil(Path(dm.manifest_of("train").path(index)))
    steps, seen = set(), Counter()
    for rank in range(2):
        loader = dm.loader("train", num_replicas=2, rank=rank)
        batches = list(loader)
        steps.add(len(batches))
        seen += came(batches)
    assert len(steps) == 1
    assert seen == Counter(set(range(17)) - bad)


def test_a_file_deleted_in_mid_epoch_costs_no_other_image(tmp_path):
    folder = paint(tmp_path / "images", 20)
    dm = module_of(folder, tmp_path)
    loader = iter(dm.train_dataloader())
    first = next(loader)
    order = [i for batch in dm.loader("train").batches for i in batch.indices.tolist()]
    gone = order[-3]  # far enough ahead that no worker has loaded it yet
    Path(dm.manifest_of("train").path(gone)).unlink()
    assert came([first, *loader]) == Counter(set(range(20)) - {gone})


def note_failure(queue) -> None:
    failures = queue.get()
    failures.add(5, DecodeError.of("5.png", "broken"), stamp=lambda: (1, 2))


def test_what_failed_is_shared_with_workers_that_are_handed_it(tmp_path):
    """Workers that are not forked get the dataset through a pipe."""
    context, failures = torch.multiprocessing.get_context("fork"), Failures(9, 10, None)
    queue = context.Queue()
    worker = context.Process(target=note_failure, args=(queue,))
    worker.start()
    queue.put(failures)
    worker.join(60)
    assert worker.exitcode == 0
    assert 5 in failures
    assert 4 not in failures


def test_the_limit_counts_what_failed_in_all_workers(tmp_path, monkeypatch):
    """Each of two workers meets one bad file: neither alone would pass the limit."""
    # torch waits so long for each worker after an error
    monkeypatch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.2)
    folder = paint(tmp_path / "images", 4, sizes=[(64, 64)])
    for name in ("image_0000.png", "image_0002.png"):
        spoil(folder / name)
    dm = module_of(folder, tmp_path, max_failures=1)
    dm.config = replace(dm.config, batches=replace(dm.config.batches, shuffle=False))
    with pytest.raises(DataError, match="2 files failed in decoding, more than max_failures=1"):
        list(dm.loader("train"))
    allowed = module_of(folder, tmp_path, max_failures=2)
    assert sum(int(batch["valid"].sum()) for batch in allowed.loader("train")) == 2


@pytest.mark.parametrize("most", [70_000, 10**15])
def test_a_large_limit_counts_as_well_as_a_small_one(monkeypatch, most):
    """All of a large dataset fails, but for its first images, which did so before."""
    images = 70_002
    failures = Failures(most, images, None)
    before = min(most, images - 1)
    failures._rows[:before] = torch.arange(before)
    broken = DecodeError.of("5.png", "broken")
    failures.add(before - 1, broken, stamp=lambda: (1, 2))  # noted already
    assert before not in failures
    if most == 70_000:
        with pytest.raises(DataError, match=r"70001 files failed .* more than max_failures=70000"):
            failures.add(before, broken, stamp=lambda: (1, 2))
    else:
        failures.add(before, broken, stamp=lambda: (1, 2))
    assert before in failures
    assert 0 in failures


def test_a_file_is_named_once_whichever_worker_meets_it(tmp_path):
    folder = paint(tmp_path / "images", 9)
    loaders = [
        module_of(folder, tmp_path, loader={"persistent_workers": persistent}).loader("train")
        for persistent in (True, False)
    ]
    missing = folder / "image_0004.png"
    missing.unlink()  # not remembered in a file, so memory alone tells
    handler = logging.FileHandler(tmp_path / "log")
    logging.getLogger("lit_buckets").addHandler(handler)
    try:
        for loader in loaders:
            for _ in range(3):
                assert len(came(loader)) == 8
    finally:
        logging.getLogger("lit_buckets").removeHandler(handler)
    named = (tmp_path / "log").read_text().count("image_0004.png")
    assert named == 2  # once for each loader


# -- workers -----------------------------------------------------------------------------------


class Killed:
    """Kills its own process with SIGKILL, as the system does where memory runs out."""

    def __init__(self, index: int) -> None:
        self.index = index

    def __call__(self, image, sample):
        if sample["index"] == self.index and get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return image


# torch's own iterator may raise once more when it is collected
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("persistent", [True, False])
def test_a_killed_worker_ends_the_epoch_with_a_clear_error(tmp_path, persistent):
    folder = paint(tmp_path / "images", 20)
    options = {"persistent_workers": persistent}
    dm = module_of(folder, tmp_path, transform=Killed(7), loader=options)
    loader = dm.loader("train")
    with pytest.raises(DataError) as error:
        list(loader)
    message = str(error.value)
    assert message.startswith("a worker of the loader died; DataLoader worker (pid")
    # torch names the signal where it hears of it first
    assert "is killed by signal: Killed" in message or "exited unexpectedly" in message
    assert "lower loader.num_workers or loader.prefetch_factor" in message


class Broken:
    """As torch's iterator is where an error comes while a batch is fetched from a worker."""

    def __init__(self, error: Exception, worker) -> None:
        self.error, self._workers = error, [worker]

    def __next__(self):
        raise self.error


BROKEN = [
    ConnectionResetError(104, "Connection reset by peer"),
    ConnectionRefusedError(111, "Connection refused"),
    FileNotFoundError(2, "No such file or directory"),
    EOFError(),
]


@pytest.mark.parametrize("delay", [0, 0.3], ids=["dead", "dying"])
@pytest.mark.parametrize("error", BROKEN, ids=lambda error: type(error).__name__)
def test_a_broken_connection_to_a_dead_worker_is_explained(error, delay):
    """torch fetches memory from the worker that queued it, and may meet its end in that."""
    worker = torch.multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    worker.start()
    killing = threading.Timer(delay, worker.kill)
    killing.start()
    if not delay:
        worker.join(60)
    with pytest.raises(DataError, match=rf"a worker .* died; .*\(pid\(s\) {worker.pid}\)") as told:
        loading._next(Broken(error, worker))
    assert told.value.__cause__ is error
    killing.join()
    worker.join(60)


TOLD = ConnectionResetError("Caught ConnectionResetError in DataLoader worker process 0.\nOriginal")


@pytest.mark.parametrize(
    ("error", "alive"),
    [*((error, True) for error in [*BROKEN, RuntimeError("of torch"), TOLD]), (TOLD, False)],
)
def test_other_errors_of_a_loader_stay_as_they_are(monkeypatch, error, alive):
    """An error that no dead worker is to blame for, or that a worker has told itself."""
    monkeypatch.setattr(loading, "_SEEN_WITHIN", 0.1)
    worker = torch.multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    worker.start()
    if not alive:
        worker.kill()
        worker.join(60)
    try:
        with pytest.raises(type(error)) as told:
            loading._next(Broken(error, worker))
        assert told.value is error
    finally:
        worker.kill()
        worker.join(60)


def test_a_death_that_another_error_was_made_of_is_explained():
    """torch raises wherever the process is, and `inspect` turns what it meets into a TypeError."""
    death = RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
    for error in (death, wrapped(death, explicit=True), wrapped(death, explicit=False)):
        assert "died; DataLoader worker (pid 7) is killed by signal: Killed. If" in loading.died(
            error
        )
    for other in (TypeError("x"), wrapped(RuntimeError("x"), explicit=True), wrapped(TOLD, True)):
        assert loading.died(other) == ""


def wrapped(error: Exception, explicit: bool) -> Exception:
    try:
        try:
            raise error
        except Exception as inner:
            if explicit:
                raise TypeError("unsupported callable") from inner
            raise TypeError("unsupported callable")  # noqa: B904
    except TypeError as outer:
        return outer


JOB = """
import sys, time
import lightning as L, torch
from test_failing import Killed, module_of
from job import Recorder, trainer_of

class Slow(Recorder):
    def training_step(self, batch, batch_idx):
        time.sleep({pause})
        return super().training_step(batch, batch_idx)

if __name__ == "__main__":
    dm = module_of({folder!r}, {out!r}, transform=Killed(7))
    trainer_of({out!r}, max_epochs=2).fit(Slow(), datamodule=dm)
"""


@pytest.mark.slow
@pytest.mark.parametrize("pause", [0, 3], ids=["waiting for data", "within a step"])
def test_a_killed_worker_ends_the_run(tmp_path, pause):
    """A stock Trainer in a process of its own: it ends by itself, and says why."""
    folder = paint(tmp_path / "images", 20)
    script = JOB.format(pause=pause, folder=str(folder), out=tmp_path)
    script = script.replace(repr(tmp_path), f"__import__('pathlib').Path({str(tmp_path)!r})")
    (tmp_path / "run.py").write_text(script)
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    done = subprocess.run(
        [sys.executable, str(tmp_path / "run.py")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "a worker of the loader died; DataLoader worker (pid" in done.stderr
    assert "lower loader.num_workers" in done.stderr
