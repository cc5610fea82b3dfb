"""What it costs to list tables and tar shards, beside the least that anybody could do.

    python benchmarks/sources.py               # 50,000 images

Tables name hard links of one small image; shards hold an image of 20 kB, its caption and its JSON
for each sample. Everything lies in a folder for temporary files. Each figure is the median of
several passes in turn, beside its baseline in the same run.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from PIL import Image

from lit_buckets import scan
from lit_buckets.headers import FileContent
from lit_buckets.sources.tar import members

PASSES = 5
CAPTION = "a caption of some words, as they are, for one picture"


def picture(length: int = 0) -> bytes:
    """A small image, with something behind it that makes it as long as wished."""
    content = io.BytesIO()
    Image.new("RGB", (40, 30)).save(content, "PNG")
    return content.getvalue().ljust(length, b"\0")


def make_files(root: Path, count: int) -> list[str]:
    """Names of as many hard links, in folders of a thousand; a new file for each of these."""
    names = []
    for number in range(count):
        folder = root / f"{number // 1000:04d}"
        if not number % 1000:
            folder.mkdir(parents=True)
            (folder / "000.png").write_bytes(picture())
        else:
            os.link(folder / "000.png", folder / f"{number % 1000:03d}.png")
        names.append(f"{folder.name}/{number % 1000:03d}.png")
    return names


def make_shard(path: Path, samples: int) -> None:
    """An uncompressed archive of such samples."""
    fields = json.dumps({"score": 0.5, "url": "https://example.com/0.png"}).encode()
    parts = {"png": picture(20_000), "txt": CAPTION.encode(), "json": fields}
    with tarfile.open(path, "w") as tar:
        for number in range(samples):
            for suffix, content in parts.items():
                info = tarfile.TarInfo(f"{number:06d}.{suffix}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


def in_turn(ways: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median seconds of each way, all of them in each pass."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(PASSES):
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - begun)
    return {name: statistics.median(each) for name, each in seconds.items()}


def show(title: str, seconds: dict[str, float], count: int) -> None:
    """Microseconds for each of so many, and the ratio to the first."""
    print(f"\n{title}")
    baseline = next(iter(seconds.values()))
    for name, each in seconds.items():
        print(f"  {name:48} {each / count * 1e6:8.2f} us   {each / baseline:6.2f}")


def tables(folder: Path, count: int) -> None:
    """A second start with a table, beside a loop of `os.lstat` over the files that it names."""
    names = make_files(folder / "images", count)
    table = pa.table(
        {
            "path": names,
            "caption": [CAPTION] * count,
            "score": [0.5] * count,
            "height": [30] * count,
            "width": [40] * count,
        }
    )
    root = f"{folder}/images/"
    pyarrow.parquet.write_table(table, f"{root}t.parquet")
    pyarrow.csv.write_csv(table, f"{root}t.csv")
    Path(f"{root}t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    ways: dict[str, Callable[[], object]] = {
        "os.lstat": lambda: [os.lstat(root + n) for n in names]
    }
    for suffix in ("parquet", "csv", "jsonl"):
        path = f"{root}t.{suffix}"
        scan(path, cache_dir=folder / "cache")
        ways[f"second start, {suffix}"] = lambda path=path: scan(path, cache_dir=folder / "cache")
    show(f"a row of a table of {count:,}", in_turn(ways), count)


def shards(folder: Path, count: int) -> None:
    """The members of a shard, beside `tarfile`; and a setup pass over shards, first and second."""
    shard = folder / "set-0.tar"
    make_shard(shard, count // 5)
    for number in range(1, 5):
        os.link(shard, folder / f"set-{number}.tar")

    def ours() -> list[tuple[str, int, int]]:
        archive = FileContent(str(shard))
        found = [(m.name, m.offset, m.bytes) for m in members(archive) if m.is_file]
        archive.close()
        return found

    def theirs() -> list[tuple[str, int, int]]:
        with tarfile.open(shard, "r:") as tar:
            return [(m.name, m.offset_data, m.size) for m in tar if m.isreg()]

    assert ours() == theirs()
    show(
        f"a member of a shard of {3 * count // 5:,}",
        in_turn({"tarfile": theirs, "ours": ours}),
        3 * count // 5,
    )
    caches = iter(range(PASSES))
    show(
        f"a sample of {count:,} in 5 shards, of 3 members each",
        in_turn(
            {
                "first start": lambda: scan(
                    f"{folder}/set-*.tar", cache_dir=folder / f"{next(caches)}"
                ),
                "second start": lambda: scan(f"{folder}/set-*.tar", cache_dir=folder / "0"),
            }
        ),
        count,
    )


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=50_000, help="how many")
    count = parser.parse_args().images
    with tempfile.TemporaryDirectory() as folder:
        tables(Path(folder) / "tables", count)
    with tempfile.TemporaryDirectory() as folder:
        shards(Path(folder), count)


if __name__ == "__main__":
    main()
