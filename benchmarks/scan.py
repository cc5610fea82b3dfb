"""What the setup pass costs, beside loops that anybody would write.

    python benchmarks/scan.py                  # 100,000 files
    python benchmarks/scan.py --manifests      # and manifests of a million and ten million rows
    python benchmarks/scan.py --slow           # a disk that takes a millisecond for every status

The files are hard links of the photographs beside the checkout; where there are none, of JPEG, PNG
and WebP files made on the spot. All of them lie in memory: the disk is not measured. Every figure
is the median of several passes in turn, beside its baseline in the same run.
"""

from __future__ import annotations

import argparse
import gc
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from lit_buckets import Manifest, scan
from lit_buckets.headers import Demands, Job, quiet
from lit_buckets.scan.readers import batch_size, read_in_order

PASSES = 7
SLOW = 1e-3  # seconds
scandir = os.scandir
PHOTOS = Path(__file__).parents[2] / "shared" / "photos"


def originals(folder: Path) -> list[Path]:
    """Some two hundred images: copies of the photographs, or made on the spot."""
    found = sorted(PHOTOS.rglob("*.jpg"))
    if found:
        return [
            Path(shutil.copy(path, folder / f"{number:03d}.jpg"))
            for number, path in enumerate(found)
        ]
    random = np.random.default_rng(0)
    made = []
    for number, (height, width) in enumerate(random.integers(200, 2000, (240, 2)).tolist()):
        coarse = random.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        tags = Image.Exif()
        tags[0x0112] = 1 + number % 8
        made.append(folder / f"{number:03d}{('.jpg', '.png', '.webp')[number % 3]}")
        image.save(made[-1], exif=tags)
    return made


def link(images: list[Path], root: Path, files: int) -> list[str]:
    """So many names of the images in folders of a thousand, in the order of a scan."""
    paths = []
    for number in range(files):
        image = images[number % len(images)]
        path = root / f"{number // 1000:04d}" / f"{number % 1000:03d}{image.suffix}"
        if not number % 1000:
            path.parent.mkdir(parents=True)
        os.link(image, path)
        paths.append(str(path))
    os.sync()  # or the system writes the folders down while the passes are measured
    return paths


# -- headers -----------------------------------------------------------------------------------


def with_pillow(paths: list[str]) -> np.ndarray:
    """(N, 2) displayed heights and widths as anybody finds them; a PNG's pixels are not decoded."""
    heights, widths = [], []
    for path in paths:
        with Image.open(path) as image:
            width, height = image.size
            turned = Image.Image.getexif(image).get(0x0112) in (5, 6, 7, 8)
        heights.append(width if turned else height)
        widths.append(height if turned else width)
    return np.stack([heights, widths], axis=1)


def with_ours(paths: list[str], workers: int) -> np.ndarray:
    """The same as the setup pass finds them."""
    size = batch_size(len(paths), Demands())
    batches = (
        [Job(path, "") for path in paths[low : low + size]] for low in range(0, len(paths), size)
    )
    answers = read_in_order(batches, files=len(paths), demands=Demands(), workers=workers)
    return np.concatenate([np.array(answer[:2]).T for answer in answers])


def walk(folder: str) -> int:
    """Names and status of all files: the least that tells whether one has changed."""
    count = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                count += walk(entry.path)
            else:
                entry.stat()
                count += 1
    return count


def seconds(action: Callable[[], object]) -> float:
    """Time one call, the garbage of others cleared away before."""
    gc.collect()
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def compare(*actions: Callable[[], object]) -> list[float]:
    """Median seconds of each of several calls, made in turn."""
    passes = [[seconds(action) for action in actions] for _ in range(PASSES)]
    return [statistics.median(column) for column in zip(*passes, strict=True)]


def report(what: str, took: float, files: int, baseline: float) -> None:
    """One line: seconds, files in a second, and how many times the baseline that is."""
    print(f"{what:44s} {took:7.2f} s {files / took:10,.0f} files/s {baseline / took:6.2f}x")


def headers(paths: list[str]) -> None:
    """Headers of all files: Pillow, one core, two."""
    with quiet():
        expected = with_pillow(paths)
        assert all(np.array_equal(with_ours(paths, workers), expected) for workers in (1, 2))
        pillow, one, two = compare(
            lambda: with_pillow(paths), lambda: with_ours(paths, 1), lambda: with_ours(paths, 2)
        )
    print(f"-- sizes of {len(paths):,} files, equal in all three")
    report("Image.open and EXIF, a loop on one core", pillow, len(paths), pillow)
    report("headers, one core", one, len(paths), pillow)
    report("headers, two processes", two, len(paths), pillow)
    print(f"two cores against one: {one / two:.2f}x")


def starts(root: str, cache: Path, files: int) -> None:
    """A first start, and a second that finds nothing changed."""

    def first(workers: int) -> Manifest:
        shutil.rmtree(cache, ignore_errors=True)
        return scan(root, cache_dir=cache, workers=workers, progress=False)

    assert len(first(1)) == files
    one, two = compare(lambda: first(1), lambda: first(2))
    bare, second = compare(lambda: walk(root), lambda: scan(root, cache_dir=cache, progress=False))
    print("-- the whole setup pass: listing, reading, writing the manifest")
    report("first start, one core", one, files, one)
    report("first start, two processes", two, files, one)
    report("os.scandir and stat, a loop", bare, files, bare)
    report("second start, nothing changed", second, files, bare)
    print(f"second start: {second / bare:.2f} times the bare walk")


# -- a slow disk -------------------------------------------------------------------------------


class SlowEntry:
    """What `os.scandir` finds, on a disk that lets every status wait."""

    def __init__(self, entry: os.DirEntry[str]) -> None:
        self._entry, self._status = entry, None
        self.name, self.path = entry.name, entry.path
        self.is_dir, self.is_file = entry.is_dir, entry.is_file
        self.is_symlink = entry.is_symlink

    def stat(self) -> os.stat_result:
        """The status, from the second time on at once."""
        if self._status is None:
            time.sleep(SLOW)
            self._status = self._entry.stat()
        return self._status


@contextmanager
def slow_scandir(folder: str) -> Iterator[Iterator[SlowEntry]]:
    """In place of `os.scandir`."""
    with scandir(folder) as entries:
        yield map(SlowEntry, entries)


def slow_disk(root: str, cache: Path, files: int) -> None:
    """A second start where the status of a file is a millisecond away, as on a network disk."""
    scan(root, cache_dir=cache, progress=False)
    os.scandir = slow_scandir
    try:
        bare, second = compare(
            lambda: walk(root), lambda: scan(root, cache_dir=cache, progress=False)
        )
    finally:
        os.scandir = scandir
    print(f"-- a disk that takes {SLOW * 1e3:g} ms for the status of a file (simulated)")
    report("os.scandir and stat, a loop", bare, files, bare)
    report("second start, nothing changed", second, files, bare)


# -- manifests -----------------------------------------------------------------------------------


def write_manifest(file: str, rows: int) -> None:
    """In a process of its own: a manifest as a scan of so many captioned images writes it."""
    random = np.random.default_rng(0)
    digits = pa.array(np.arange(rows)).cast(pa.large_string())

    def text(before: str, after: str) -> pa.Array:
        ends = (pa.scalar(end, pa.large_string()) for end in (before, after, ""))
        first, last, nothing = ends
        return pc.binary_join_element_wise(first, digits, last, nothing)

    columns = {
        "path": text("photographs/", ".jpg"),
        "caption": text("a photograph, number ", " of a long row of photographs"),
        **{name: random.integers(200, 6000, rows) for name in ("height", "width")},
    }
    Manifest.write(file, pa.table(columns), sources=[{"root": "/data"}])


def private_megabytes() -> float:
    """What belongs to this process alone; pages of mapped files are shared, and do not count."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    sizes = {line.split()[0]: int(line.split()[1]) for line in lines[1:]}
    return (sizes["Private_Dirty:"] + sizes["Swap:"]) / 1000


def use_manifest(file: str) -> None:
    """In a process of its own: open a manifest, and use it as a loader's worker does."""
    took = statistics.median(seconds(lambda: Manifest.open(file)) for _ in range(9))
    checked = statistics.median(seconds(lambda: Manifest.open_checked(file)) for _ in range(3))
    print(
        f"opened in {took * 1e3:.2f} ms; with its checksum, as the setup pass does, {checked:.2f} s"
    )
    before = private_megabytes()
    manifest = Manifest.open(file)
    rows = np.random.default_rng(0).integers(0, len(manifest), 200_000).tolist()
    letters, area = 0, 0
    for row in rows:
        letters += len(manifest.path(row)) + len(manifest.caption(row))
        area += int(manifest.sizes[row].prod())
    total = int(manifest.sizes.sum())  # all of the sizes are looked at
    assert min(letters, area, total) > 0
    gc.collect()
    print(f"private memory grows by {private_megabytes() - before:.1f} MB")


def manifests(folder: Path) -> None:
    """Opening a manifest, and what a worker needs beside the mapped file."""
    for rows in (1_000_000, 10_000_000):
        file = folder / f"{rows}.arrow"
        run("--write", str(file), "--rows", str(rows))
        print(f"-- a manifest of {rows:,} rows, {file.stat().st_size / 1e9:.2f} GB", flush=True)
        run("--use", str(file))
        file.unlink()


def run(*arguments: str) -> None:
    """This program in another process."""
    subprocess.run([sys.executable, __file__, *arguments], check=True)


def main(files: int, with_manifests: bool, slow: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "originals").mkdir()
        if slow:
            link(originals(folder / "originals"), folder / "root", files // 20)
            slow_disk(str(folder / "root"), folder / "cache", files // 20)
            return
        paths = link(originals(folder / "originals"), folder / "root", files)
        headers(paths)
        starts(str(folder / "root"), folder / "cache", files)
        if with_manifests:
            manifests(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--manifests", action="store_true")
    parser.add_argument("--slow", action="store_true")
    parser.add_argument("--write")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--use")
    given = parser.parse_args()
    if given.write:
        write_manifest(given.write, given.rows)
    elif given.use:
        use_manifest(given.use)
    else:
        main(given.files, given.manifests, given.slow)
