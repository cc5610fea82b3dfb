"""Questions to a disk: the same answers in the same order, however it is asked."""

from __future__ import annotations

import threading
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import png, write, write_images

from lit_buckets.scan import scan
from lit_buckets.sources import FolderSource, TableSource, overlapping
from lit_buckets.sources.overlapping import Overlapping

SPEEDS = {"quick": float("inf"), "slow": -1.0}


@pytest.fixture(params=SPEEDS)
def disk(request, monkeypatch):
    monkeypatch.setattr(overlapping, "_SLOW", SPEEDS[request.param])
    return request.param


@given(st.lists(st.lists(st.integers(), max_size=60), max_size=4), st.sampled_from([*SPEEDS]))
def test_answers_come_in_the_order_of_the_questions(rounds, speed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlapping, "_SLOW", SPEEDS[speed])
        disk, asked = Overlapping(), []
        for questions in rounds:
            answers = disk.map(lambda each: asked.append(each) or -each, iter(questions))
            assert list(answers) == [-each for each in questions]
        assert sorted(asked) == sorted(each for questions in rounds for each in questions)
        if sum(map(len, rounds)) >= 36:
            assert disk.is_quick == (speed == "quick")


@pytest.mark.parametrize(("speed", "at_once"), [("slow", 16), ("quick", 1)])
def test_a_slow_disk_alone_is_asked_many_at_a_time(monkeypatch, speed, at_once):
    monkeypatch.setattr(overlapping, "_SLOW", SPEEDS[speed])
    meet, numbers = threading.Barrier(at_once), count()

    def ask(_: int) -> int:
        if next(numbers) >= 9:  # behind those that are timed
            meet.wait(60)
        return threading.get_ident()

    threads = list(Overlapping().map(ask, range(9 + 4 * at_once)))
    assert len({*threads[9:]}) == at_once
    assert {*threads[:9]} == {threading.get_ident()}


def test_one_hiccup_does_not_make_a_disk_slow(monkeypatch):
    now = iter([0.0, 5.0, *(float(i) for i in (6, 6) * 8)])
    monkeypatch.setattr(overlapping.time, "perf_counter", lambda: next(now))
    disk = Overlapping()
    assert list(disk.map(abs, range(9))) == [*range(9)]
    assert disk.is_quick


def test_folders_and_tables_are_the_same_on_every_disk(tmp_path, disk):
    sizes = {f"{i % 3}/{i}.png": (1 + i, 2) for i in range(40)}
    root = write_images(tmp_path / "root", sizes)
    write(root / "1/4.txt", b"four")
    (root / "0/round.png").symlink_to("round.png")
    (root / "0/out.png").symlink_to(write(tmp_path / "out.png", png(3, 4)))
    rows = ["path", *sorted(sizes), "gone.png", "0/out.png", "0/round.png", "../out.png"]
    write(root / "table.csv", "\n".join(rows).encode())
    refused = {}
    for source in (FolderSource(root), TableSource(root / "table.csv")):
        manifest = scan(source, cache_dir=tmp_path / "cache")
        assert [path.removeprefix(f"{root}/") for path in manifest.paths] == sorted(sizes)
        refused[type(source)] = sorted(reason for _, reason in manifest.refused)
        assert scan(source, cache_dir=tmp_path / "cache").id == manifest.id
    assert refused[FolderSource] == [
        "a link that leads out of the source's folder; follow_links would allow it",
        "cannot be opened: a link, Too many levels of symbolic links",
    ]
    assert refused[TableSource] == [
        "a link that leads out of the source's root; allow_outside would allow it",
        "cannot be opened: No such file or directory",
        "cannot be opened: Too many levels of symbolic links",
        "its path may lead out of the source's root; allow_outside would allow it",
    ]
