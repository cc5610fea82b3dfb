"""Between two starts anything may happen: the manifest is then the one that a first start gives."""

from __future__ import annotations

import itertools
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from places import image_column, png, write, write_dataset, write_lines, write_tar

from lit_buckets.errors import DataError
from lit_buckets.manifest import Manifest, read_failures
from lit_buckets.scan import scan
from lit_buckets.sources import Source, TableSource, open_source

CHANGES = ["replace", "touch", "caption", "rate", "remove", "add", "shuffle", "rename"]
CLOCK = itertools.count(10**18, 10**9)


class Picture:
    """An image that changes."""

    def __init__(self, draw: random.Random) -> None:
        self.name = f"{draw.choice(['', 'sub/', 'b/c/'])}{draw.randrange(1000):03d}.png"
        self.draw = draw
        self.replace()
        self.caption()
        self.rate()

    def replace(self) -> None:
        self.size = (self.draw.randrange(1, 30), self.draw.randrange(1, 30))
        self.content = png(*self.size, self.draw.randrange(256))
        if self.draw.random() < 0.1:
            self.size, self.content = (0, 0), b"bad"
        self.touch()

    def touch(self) -> None:
        self.time = next(CLOCK)

    def caption(self) -> None:
        self.text = self.draw.choice(["", "one", "two", f"{self.draw.random()}"])

    def rate(self) -> None:
        self.score = self.draw.choice([None, 1, 2, 0.5])


def put(file: Path, content: bytes | str, time: int) -> None:
    if not file.exists() or file.stat().st_mtime_ns != time:
        write(file, content)
        os.utime(file, ns=(time, time))


def put_files(root: Path, pictures: list[Picture], *, texts: bool) -> None:
    wanted = set()
    for each in pictures:
        file = root / each.name
        put(file, each.content, each.time)
        wanted.add(file)
        if texts and each.text:
            text = file.with_suffix(".txt")
            if not text.exists() or text.read_text() != each.text:
                put(text, each.text, next(CLOCK))
            wanted.add(text)
    for file in root.rglob("*.*"):
        if file.is_file() and file not in wanted and not file.name.endswith(".jsonl"):
            file.unlink()


def as_folder(root: Path, pictures: list[Picture]) -> Source:
    put_files(root, pictures, texts=True)
    return open_source(root)


def table_of(root: Path, pictures: list[Picture], name: str, **columns: Callable[..., Any]) -> Path:
    put_files(root, pictures, texts=False)
    rows = [
        {"file_name": p.name, "text": p.text, "score": p.score}
        | {name: value(p) for name, value in columns.items()}
        for p in pictures
    ]
    table = write_lines(root / name, rows)
    os.utime(table, ns=(time := next(CLOCK), time))
    return table


def as_table(root: Path, pictures: list[Picture]) -> Source:
    return TableSource(table_of(root, pictures, "t.jsonl"))


def as_sized_table(root: Path, pictures: list[Picture]) -> Source:
    height, width = (lambda i: lambda p: p.size[i] or None)(0), lambda p: p.size[1] or None
    return TableSource(table_of(root, pictures, "t.jsonl", height=height, width=width))


def as_image_folder(root: Path, pictures: list[Picture]) -> Source:
    table_of(root, pictures, "metadata.jsonl")
    return open_source(root)


def in_parts(pictures: list[Picture], names: list[str]) -> dict[str, list[Picture]]:
    parts: dict[str, list[Picture]] = {name: [] for name in names}
    for picture in pictures:
        parts[names[int(Path(picture.name).stem) % len(names)]].append(picture)
    return parts


def as_dataset(root: Path, pictures: list[Picture]) -> Source:
    def batch(part: list[Picture]) -> pa.RecordBatch:
        images = image_column([p.content for p in part], [p.name for p in part])
        texts = pa.array([p.text for p in part], pa.string())
        scores = pa.array([p.score for p in part], pa.float64())
        return pa.RecordBatch.from_pydict({"image": images, "text": texts, "score": scores})

    parts = in_parts(pictures, ["one", "two"])
    write_dataset(root, [[batch(part)] for part in parts.values()])
    for file, part in zip(sorted(root.glob("*.arrow")), parts.values(), strict=True):
        time = max((p.time for p in part), default=1) + len(part)
        os.utime(file, ns=(time, time + sum(len(p.text) for p in part)))
        os.utime(file, ns=(time, next(CLOCK)))
    return open_source(root)


def as_shards(root: Path, pictures: list[Picture]) -> Source:
    for name, part in in_parts(pictures, ["s-0", "s-1", "s-2"]).items():
        members: dict[str, bytes | str] = {}
        for p in part:
            members[p.name] = p.content
            members[p.name[:-4] + ".txt"] = p.text
            if p.score is not None:
                members[p.name[:-4] + ".json"] = json.dumps({"score": p.score})
        file = root / f"{name}.tar"
        if not part:
            file.unlink(missing_ok=True)
            continue
        before = file.read_bytes() if file.exists() else b""
        write_tar(root / "new", members)
        after = (root / "new").read_bytes()
        if before != after:
            put(file, after, next(CLOCK))
        (root / "new").unlink()
    return open_source(root, "shards")


KINDS = {
    "folder": as_folder,
    "table": as_table,
    "sized table": as_sized_table,
    "image folder": as_image_folder,
    "dataset": as_dataset,
    "shards": as_shards,
}


def changed(pictures: list[Picture], draw: random.Random) -> list[Picture]:
    """The pictures after a few things have happened to them."""
    pictures = [*pictures]
    for _ in range(draw.randrange(1, 4)):
        change = draw.choice(CHANGES)
        if change == "add" or not pictures:
            pictures.append(Picture(draw))
        elif change == "shuffle":
            draw.shuffle(pictures)
        elif change == "remove":
            pictures.remove(draw.choice(pictures))
        elif change == "rename":
            draw.choice(pictures).name = f"new/{draw.randrange(1000):03d}.png"
        else:
            getattr(draw.choice(pictures), change)()
    return unlike(pictures)


def unlike(pictures: list[Picture]) -> list[Picture]:
    """The pictures, one for each name."""
    return [*{picture.name: picture for picture in pictures}.values()]


def outcome(sources: Any, cache: Path) -> Manifest | str:
    try:
        return scan(sources, cache_dir=cache)
    except DataError as error:
        return str(error)


def check(sources: Any, tmp_path: Path, number: int) -> None:
    """Hold what a start finds that knows an earlier one against what a first start finds."""
    again = outcome(sources, tmp_path / "cache")
    first = outcome(sources, tmp_path / f"fresh-{number}")
    if isinstance(first, str):
        assert again == first
        return
    assert isinstance(again, Manifest)
    # which of the sizes that a source gives were looked at is a matter of what came before
    tables = [each.all_rows.drop_columns(["measured"]) for each in (again, first)]
    assert tables[0].equals(tables[1])
    assert again.fingerprint == first.fingerprint
    nothing = outcome(sources, tmp_path / "cache")
    assert isinstance(nothing, Manifest)
    assert nothing.id == again.id


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", KINDS)
def test_a_later_start_finds_what_a_first_one_would(kind, seed, tmp_path):
    draw = random.Random(f"{kind} {seed}")
    pictures = unlike([Picture(draw) for _ in range(draw.randrange(1, 12))])
    for number in range(8):
        check(KINDS[kind](tmp_path / "root", pictures), tmp_path, number)
        pictures = changed(pictures, draw)


@pytest.mark.parametrize("seed", range(2))
def test_a_mixture_finds_what_a_first_start_would(seed, tmp_path):
    draw = random.Random(seed)
    parts = {kind: [Picture(draw) for _ in range(5)] for kind in KINDS}
    for number in range(6):
        parts = {kind: unlike(part) for kind, part in parts.items()}
        sources = [KINDS[kind](tmp_path / kind, part) for kind, part in parts.items()]
        draw.shuffle(sources)
        check(sources[: draw.randrange(1, 7)], tmp_path, number)
        parts = {kind: changed(part, draw) for kind, part in parts.items()}


def test_images_in_containers_that_fail_are_told_until_they_change(tmp_path):
    """What failed in decoding is known by path and stamp, wherever it lies."""
    draw = random.Random(0)
    pictures = [Picture(draw) for _ in range(6)]
    sources = [as_shards(tmp_path / "shards", pictures), as_dataset(tmp_path / "set", pictures)]
    sources += [as_table(tmp_path / "table", pictures), as_folder(tmp_path / "f", pictures)]
    manifest = scan(sources, cache_dir=tmp_path / "cache")
    chosen = range(0, len(manifest), 5)
    lines = [json.dumps([manifest.path(i), *manifest.stamp(i), "broken"]) for i in chosen]
    write(tmp_path / "cache/failed.jsonl", "\n".join(lines))
    failures = read_failures(tmp_path / "cache")
    assert manifest.failed(failures) == dict.fromkeys(chosen, "broken")
    for file in [*(tmp_path / "shards").glob("*.tar"), *(tmp_path / "set").glob("*.arrow")]:
        os.utime(file, ns=(5, 5))
    for file in [*(tmp_path / "table").rglob("*.png"), *(tmp_path / "f").rglob("*.png")]:
        os.utime(file, ns=(5, 5))
    assert scan(sources, cache_dir=tmp_path / "cache").failed(failures) == {}


def test_every_kind_splits_without_loss(tmp_path):
    draw = random.Random(1)
    pictures = [Picture(draw) for _ in range(9)]
    sources = [KINDS[kind](tmp_path / kind, pictures) for kind in KINDS]
    manifest = scan(sources, cache_dir=tmp_path / "cache")
    rest, part = manifest.split(0.3, tmp_path / "cache")
    assert sorted([*rest.paths, *part.paths]) == sorted(manifest.paths)
    whole = {path: manifest.read(i) for i, path in enumerate(manifest.paths)}
    for side in (rest, part):
        assert [side.read(i) for i in range(len(side))] == [whole[path] for path in side.paths]
