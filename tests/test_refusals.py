"""What the setup pass refuses beyond unreadable headers: by size, by shape, by a whole decode."""

from __future__ import annotations

import csv
import io
import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lit_buckets.errors import ConfigError, DataError
from lit_buckets.headers import Demands, Job, MemoryContent, read_files, read_header_from
from lit_buckets.manifest import Manifest
from lit_buckets.scan import readers, reading, scan
from lit_buckets.scan.helpers import Helper


def encoded(suffix: str, height: int, width: int) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, {".jpg": "JPEG", ".tif": "TIFF"}.get(suffix, suffix[1:]))
    return content.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Images of several shapes, and one whose body is cut short."""
    root = tmp_path / "photos"
    root.mkdir()
    for name, size in {"a.png": (30, 40), "b.jpg": (64, 64), "c.png": (8, 80)}.items():
        (root / name).write_bytes(encoded(Path(name).suffix, *size))
    (root / "cut.jpg").write_bytes(encoded(".jpg", 50, 50)[:-200])
    return root


@pytest.fixture
def again(tmp_path, monkeypatch):
    """Scan, and tell which images were read."""
    jobs: list[Job] = []
    real = reading.read_in_order

    def spy(batches, **options):
        taken = list(batches)
        jobs.extend(job for batch in taken for job in batch)
        return real(iter(taken), **options)

    monkeypatch.setattr(reading, "read_in_order", spy)

    def run(root, **options) -> tuple[Manifest, list[str]]:
        jobs.clear()
        manifest = scan(root, cache_dir=tmp_path / "cache", **options)
        return manifest, sorted(Path(job.image).name for job in jobs)

    return run


def reasons(manifest: Manifest) -> dict[str, str]:
    return {Path(path).name: reason for path, reason in manifest.refused}


# ------------------------------------------------------------------ sizes and shapes


def test_small_and_long_images_are_refused_if_asked(photos, again):
    assert len(again(photos)[0]) == 4
    manifest, read = again(photos, min_image_side=31, max_image_ratio=4.5)
    assert read == ["a.png", "c.png"]  # what these limits do not admit, and nothing else
    assert reasons(manifest) == {
        "a.png": "too small: height 30 x width 40; min_image_side=31",
        "c.png": "too small: height 8 x width 80; min_image_side=31",
    }
    assert again(photos, min_image_side=31, max_image_ratio=4.5)[1] == []
    manifest, read = again(photos, max_image_ratio=9.9)
    assert read == ["a.png", "c.png"]
    assert reasons(manifest) == {
        "c.png": "too long: height 8 x width 80, a ratio of 10; max_image_ratio=9.9"
    }
    manifest, read = again(photos, max_image_ratio=10, min_image_side=8)
    assert (len(manifest), read) == (4, ["c.png"])


@pytest.mark.parametrize("height", [1, 9, 10, 11, 100])
@pytest.mark.parametrize("width", [1, 9, 10, 11, 100])
def test_limits_are_those_of_arithmetic(height, width):
    content = MemoryContent(encoded(".png", height, width))
    short, long = sorted([height, width])
    cases = [
        (Demands(max_image_pixels=100), height * width <= 100),
        (Demands(min_image_side=10), short >= 10),
        (Demands(max_image_ratio=10), long / short <= 10),
        (Demands(max_image_ratio=1), height == width),
    ]
    for demands, admitted in cases:
        header = read_header_from(content, demands)
        assert header[:2] == ((height, width) if admitted else (0, 0))
        assert (header.refused == "") == admitted


@pytest.mark.parametrize("wrong", [{"min_image_side": 0}, {"max_image_ratio": 0.5}])
def test_limits_out_of_range(photos, tmp_path, wrong):
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))}=.* must be at least 1"):
        scan(photos, cache_dir=tmp_path / "c", **wrong)


# ------------------------------------------------------------------ verify


def test_verify_decodes_each_image_once(photos, again):
    manifest, _ = again(photos)
    assert (len(manifest), reasons(manifest)) == (4, {})  # headers cannot tell
    manifest, read = again(photos, verify=True)
    assert read == ["a.png", "b.jpg", "c.png", "cut.jpg"]
    assert list(reasons(manifest)) == ["cut.jpg"]
    assert reasons(manifest)["cut.jpg"].startswith("does not decode: image file is truncated")
    assert manifest.table.column("verified").to_pylist() == [True] * 3
    assert again(photos, verify=True)[1] == []
    (photos / "new.png").write_bytes(encoded(".png", 9, 9))
    os.utime(photos / "a.png", ns=(1, 1))
    assert again(photos, verify=True)[1] == ["a.png", "new.png"]


def test_what_is_verified_stays_so(photos, again):
    first, _ = again(photos, verify=True)
    (photos / "new.png").write_bytes(encoded(".png", 9, 9))
    manifest, read = again(photos)
    assert read == ["new.png"]
    assert list(reasons(manifest)) == ["cut.jpg"]  # known not to decode
    verified = dict(zip(manifest.paths, manifest.table.column("verified").to_pylist(), strict=True))
    assert verified == dict.fromkeys(first.paths, True) | {str(photos / "new.png"): False}
    assert again(photos, verify=True)[1] == ["new.png"]
    (photos / "cut.jpg").write_bytes(encoded(".jpg", 50, 50))
    manifest, read = again(photos, verify=True)
    assert (len(manifest), read) == (5, ["cut.jpg"])


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".gif", ".bmp", ".avif"])
def test_a_body_that_is_cut_short_or_whole(suffix):
    content = encoded(suffix, 40, 50)
    assert read_header_from(MemoryContent(content), Demands(decodes=True)) == (40, 50, "")
    cut = read_header_from(MemoryContent(content[: len(content) * 3 // 4]), Demands(decodes=True))
    assert cut.refused.startswith(
        ("does not decode: ", f"broken or truncated {suffix[1:].upper()}")
    )


@pytest.mark.parametrize("orientation", range(1, 9))
def test_verified_sizes_are_those_displayed(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF"):
        content = io.BytesIO()
        Image.new("RGB", (40, 24)).save(content, kind, exif=tags)
        header = read_header_from(MemoryContent(content.getvalue()), Demands(decodes=True))
        assert header == ((40, 24, "") if orientation > 4 else (24, 40, ""))


def test_verify_in_threads_and_processes(photos, tmp_path, monkeypatch):
    for i in range(40):
        (photos / f"{i}.png").write_bytes(encoded(".png", 5 + i, 7))
    alone = scan(photos, cache_dir=tmp_path / "c1", verify=True, workers=1)
    with monkeypatch.context() as patch:
        patch.setattr(readers, "_PROCESSES_FROM_DECODED", 1000)
        threads = scan(photos, cache_dir=tmp_path / "c2", verify=True, workers=2)
    started: list[Helper] = []

    class Noted(Helper):
        def __init__(self):
            super().__init__()
            started.append(self)

    monkeypatch.setattr(readers, "Helper", Noted)
    processes = scan(photos, cache_dir=tmp_path / "c3", verify=True, workers=2)
    assert len(started) == 1  # this process is the other one
    assert alone.all_rows.equals(threads.all_rows)
    assert alone.all_rows.equals(processes.all_rows)
    assert len(alone) == 43


def test_a_stretch_is_verified_alone(tmp_path):
    content = encoded(".png", 20, 30)
    file = tmp_path / "shard"
    file.write_bytes(b"before" + content + b"after")
    job = Job(str(file), "", 6, len(content), ".png")
    assert read_files([job], Demands(decodes=True))[0][:3] == (20, 30, "")
    cut = job._replace(length=len(content) - 60)
    assert read_files([cut], Demands(decodes=True))[0].refused.startswith("does not decode")


# ------------------------------------------------------------------ telling


def test_refusals_are_told_by_kind_with_examples(photos, tmp_path, caplog):
    for i in range(3):
        (photos / f"empty{i}.png").write_bytes(b"")
    (photos / "text.jpg").write_text("no image")
    with caplog.at_level(logging.WARNING, logger="lit_buckets"):
        manifest = scan(photos, cache_dir=tmp_path / "c", verify=True)
    report = next((tmp_path / "c").glob("refused-*.csv"))
    lines = caplog.messages[0].splitlines()
    assert lines[0] == f"5 of 8 files are refused (all: {str(report)!r})"
    assert lines[1] == f"  3 x empty, such as {str(photos / 'empty0.png')!r} (empty: 0 bytes)"
    assert {line.split(", ")[0] for line in lines[2:]} == {
        "  1 x does not decode",
        "  1 x not an image in a format that is read",
    }
    with report.open(newline="") as file:
        assert len(list(csv.reader(file))) == 6
    caplog.clear()
    scan(photos, cache_dir=tmp_path / "c", verify=True)
    assert caplog.messages == []  # nothing new
    assert len(manifest) == 3


def test_refusals_stop_the_run_if_asked(photos, tmp_path):
    with pytest.raises(DataError, match=r"1 of 4 files cannot be read: .*cut.jpg' \(does not"):
        scan(photos, cache_dir=tmp_path / "c", verify=True, on_unreadable="error")
