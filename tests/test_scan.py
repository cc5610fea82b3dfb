from __future__ import annotations

import csv
import errno
import io
import json
import logging
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image

from lit_buckets.errors import ConfigError, DataError
from lit_buckets.headers import Demands, Job
from lit_buckets.manifest import Failure, Manifest, read_failures
from lit_buckets.scan import helpers, manifest_file, readers, reading, scan
from lit_buckets.scan.progress import Progress
from lit_buckets.sources import Block, FolderSource, Run, Source, as_blocks

SHARED = Path(__file__).parents[2] / "shared"
linux = pytest.mark.skipif(sys.platform != "linux", reason="names are any bytes on Linux alone")


def image(path: Path, height: int = 3, width: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    Image.new("L", (width, height)).save(content, "PNG")
    path.write_bytes(content.getvalue())
    return path


def images(root: Path, *names: str) -> Path:
    for i, name in enumerate(names):
        image(root / name, 3 + i, 4)
    return root


def names(manifest: Manifest) -> list[str]:
    """Paths relative to the first source."""
    root = manifest.sources[0]["root"]
    return [os.path.relpath(path, root) for path in manifest.paths]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return images(tmp_path / "photos", "a.png", "b/c.png", "b/d.png", "e.png")


@pytest.fixture
def again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Scan, and tell which images and captions were read."""
    jobs: list[Job] = []
    real = reading.read_in_order

    def spy(batches, **options):
        taken = list(batches)
        jobs.extend(job for batch in taken for job in batch)
        return real(iter(taken), **options)

    monkeypatch.setattr(reading, "read_in_order", spy)

    def run(sources, **options) -> tuple[Manifest, list[str], list[str]]:
        jobs.clear()
        manifest = scan(sources, cache_dir=tmp_path / "cache", **options)
        read = [Path(job[0]).name for job in jobs if job[0]]
        return manifest, read, [Path(job[1]).name for job in jobs if job[1]]

    return run


# ------------------------------------------------------------------ what is listed


def test_images_in_the_order_of_their_relative_paths(tmp_path):
    root = images(
        tmp_path / "p",
        *("b/x.png", "b.png", "b-a.png", "a/z/q.png", "a/Z.png", "B.png", "b/a/y.png", "c.png"),
    )
    manifest = scan(root, cache_dir=tmp_path / "cache")
    found = [path.removeprefix(f"{root}/") for path in manifest.paths]
    assert found == sorted(found)
    assert len(found) == 8
    assert manifest.sizes[found.index("b/x.png")].tolist() == [3, 4]
    assert manifest.sizes[found.index("c.png")].tolist() == [10, 4]
    assert manifest.file.parent == tmp_path / "cache"
    assert [file.name for file in (tmp_path / "cache").iterdir()] == [manifest.file.name]


def test_hidden_files_and_other_suffixes_are_left_out(tmp_path):
    kept = ["A.PNG", "b.JpEg", "c.d.tiff"]
    left_out = [".a.png", ".git/a.png", "a.txt", "png", "a.png.part", "b/.c/d.png", "a.svg"]
    manifest = scan(images(tmp_path / "p", *kept, *left_out), cache_dir=tmp_path / "c")
    assert sorted(names(manifest)) == sorted(kept)
    assert len(manifest.refused) == 0


def test_names_of_any_kind(tmp_path):
    strange = ["with space.png", "new\nline.png", "ü/日本/🐈.png", "e\u0301.png", "'\",;=.png"]
    root = images(tmp_path / "p h ö", *strange)
    for name in strange:
        (root / name).with_suffix(".txt").write_text(name, encoding="utf-8")
    (root / 'bad\n,".png').write_bytes(b"")
    manifest = scan(root, cache_dir=tmp_path / "c")
    assert sorted(names(manifest)) == sorted(strange)
    assert list(manifest.captions) == names(manifest)
    assert all(Path(path).is_file() for path in manifest.paths)
    with next((tmp_path / "c").glob("refused-*.csv")).open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [
            ["path", "reason"],
            [str(root / 'bad\n,".png'), "empty: 0 bytes"],
        ]


@linux
def test_names_that_are_no_unicode_are_refused_by_name(tmp_path):
    root = images(tmp_path / "p", "a.png")
    bad = os.fsdecode(b"caf\xe9.png")
    image(root / bad)
    image(root / os.fsdecode(b"d\xffr") / "b.png")
    manifest = scan(root, cache_dir=tmp_path / "c")
    assert names(manifest) == ["a.png"]
    assert [tuple(refused) for refused in manifest.refused] == [
        (f"{root}/caf\\xe9.png", "the name is not valid UTF-8; rename the file"),
        (f"{root}/d\\xffr/b.png", "the name is not valid UTF-8; rename the file"),
    ]
    assert scan(root, cache_dir=tmp_path / "c").id == manifest.id


@linux
def test_a_root_that_is_no_unicode(tmp_path):
    root = images(tmp_path / os.fsdecode(b"p\xff"), "a.png", "b.png")
    (root / "b.png").write_bytes(b"")
    manifest = scan(root, cache_dir=tmp_path / "c")
    assert Path(manifest.path(0)).is_file()
    assert scan(root, cache_dir=tmp_path / "c").id == manifest.id


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_what_is_no_file_is_left_out(tmp_path):
    root = images(tmp_path / "p", "a.png", "b.png/c.png")
    os.mkfifo(root / "pipe.png")  # opening it would wait for ever
    os.mkfifo(root / "a.txt")
    manifest = scan(root, cache_dir=tmp_path / "c")
    assert names(manifest) == ["a.png", "b.png/c.png"]
    assert list(manifest.captions) == ["", ""]


def test_folders_deeper_than_the_stack(tmp_path):
    folder = tmp_path / "p"
    made = []
    for _ in range(1200):
        folder.mkdir()
        made.append(folder)
        folder = Path(f"{folder}/d")
    deepest = image(made[-1] / "a.png")
    try:
        assert len(scan(tmp_path / "p", cache_dir=tmp_path / "c")) == 1
    finally:
        deepest.unlink()
        for folder in reversed(made):  # shutil.rmtree would exceed the stack
            folder.rmdir()


def test_paths_from_the_working_directory_and_from_home(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    given = [photos, str(photos), "photos", "./photos/", "~/photos", Path("b/../photos")]
    assert len({scan(path, cache_dir="cache").id for path in given}) == 1
    assert manifest_file("photos", "cache") == scan("photos", cache_dir="cache").file


# ------------------------------------------------------------------ captions and repeats


def test_captions(tmp_path):
    root = images(tmp_path / "p", "a.png", "b.c.png", "d.png", "e/a.png")
    (root / "a.txt").write_bytes(b"\xef\xbb\xbf a cat \r\n")
    (root / "b.c.txt").write_bytes(b"caf\xe9")
    (root / "d.caption").write_text("another suffix")
    (root / "e/a.txt").mkdir()
    manifest = scan(root, cache_dir=tmp_path / "c")
    assert list(manifest.captions) == ["a cat", "caf\ufffd", "", ""]
    other = scan(FolderSource(root, captions=".caption"), cache_dir=tmp_path / "c")
    assert list(other.captions) == ["", "", "another suffix", ""]
    none = scan(FolderSource(root, captions=None), cache_dir=tmp_path / "c")
    assert list(none.captions) == [""] * 4


def test_changes_of_captions(photos, again):
    assert again(photos)[2] == []
    (photos / "a.txt").write_text("one")
    (photos / "e.txt").write_text("two")
    manifest, read, captions = again(photos)
    assert (read, captions) == ([], ["a.txt", "e.txt"])
    assert list(manifest.captions) == ["one", "", "", "two"]
    (photos / "a.txt").write_text("more")
    os.utime(photos / "a.txt", (1, 1))
    (photos / "e.txt").unlink()
    manifest, read, captions = again(photos)
    assert (read, captions) == ([], ["a.txt"])
    assert list(manifest.captions) == ["more", "", "", ""]
    image(photos / "a.png", 9, 9)
    manifest, read, captions = again(photos)
    assert (read, captions) == (["a.png"], [])
    assert manifest.caption(0) == "more"
    assert manifest.sizes[0].tolist() == [9, 9]


def test_a_caption_that_cannot_be_read_is_tried_again(photos, again, monkeypatch, caplog):
    (photos / "a.txt").write_text("one")
    with monkeypatch.context() as patch:
        patch.setattr("lit_buckets.headers.files.read_caption", lambda _: None)
        manifest, _, _ = again(photos)
    assert manifest.caption(0) == ""
    assert "1 caption files could not be opened" in caplog.text
    manifest, read, captions = again(photos)
    assert (read, captions) == ([], ["a.txt"])
    assert manifest.caption(0) == "one"


def test_repeats(photos, again):
    manifest, _, _ = again(FolderSource(photos, 3))
    assert manifest.repeats.tolist() == [3] * 4
    other, read, _ = again(FolderSource(photos, repeats=5))
    assert other.repeats.tolist() == [5] * 4
    assert other.fingerprint != manifest.fingerprint
    assert other.file != manifest.file  # another run may be using that
    assert read == []


@pytest.mark.parametrize("repeats", [0, -1, 1.5, True, "2"])
def test_repeats_must_be_a_number(repeats):
    with pytest.raises(ConfigError, match="must be a whole number of at least 1"):
        FolderSource("photos", repeats)


@pytest.mark.parametrize("captions", ["txt", "", ".png", "./a.txt"])
def test_captions_must_be_a_suffix(captions):
    with pytest.raises(ConfigError, match="must be the suffix of text files"):
        FolderSource("photos", captions=captions)


# ------------------------------------------------------------------ the second start


def test_nothing_is_read_and_nothing_written_where_nothing_changed(photos, again):
    (photos / "bad.png").write_bytes(b"bad")
    first, read, _ = again(photos)
    assert sorted(read) == ["a.png", "bad.png", "c.png", "d.png", "e.png"]
    report = next(first.file.parent.glob("refused-*.csv"))
    before = [first.file.stat(), report.stat()]
    second, read, _ = again(photos)
    assert read == []
    assert [first.file.stat(), report.stat()] == before
    assert second.id == first.id
    assert list(second.refused) == list(first.refused)


def test_only_what_changed_is_read(photos, again):
    first, _, _ = again(photos)
    image(photos / "b/c.png", 50, 60)
    image(photos / "b/a.png", 7, 8)
    os.utime(photos / "e.png", ns=(1, 1))
    (photos / "b/d.png").unlink()
    second, read, _ = again(photos)
    assert sorted(read) == ["a.png", "c.png", "e.png"]
    assert names(second) == ["a.png", "b/a.png", "b/c.png", "e.png"]
    assert second.sizes.tolist() == [[3, 4], [7, 8], [50, 60], [6, 4]]
    assert len(first) == 4  # still mapped as it was
    assert first.path(2).endswith("b/d.png")
    assert again(photos)[1] == []


def test_same_length_and_another_time_is_a_change(photos, again):
    again(photos)
    content = (photos / "a.png").read_bytes().replace(b"\0\0\0\x03", b"\0\0\0\x09", 1)
    status = (photos / "a.png").stat()
    (photos / "a.png").write_bytes(content)
    os.utime(photos / "a.png", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert again(photos)[1] == ["a.png"]


def test_a_refused_file_that_was_repaired_comes_back(photos, again):
    (photos / "a.png").write_bytes(b"bad")
    first, _, _ = again(photos)
    assert len(first) == 3
    report = next(first.file.parent.glob("refused-*.csv"))
    image(photos / "a.png", 5, 5)
    second, read, _ = again(photos)
    assert read == ["a.png"]
    assert second.sizes[0].tolist() == [5, 5]
    assert not second.refused
    assert not report.exists()


def test_what_could_not_be_opened_is_tried_again(photos, again, monkeypatch):
    real = reading.read_in_order

    def gone(batches, **options):
        for batch in batches:
            (photos / "e.png").rename(photos / "away")
            yield from real([batch], **options)

    with monkeypatch.context() as patch:
        patch.setattr(reading, "read_in_order", gone)
        first = scan(photos, cache_dir=photos.parent / "cache")
    assert [refused.reason for refused in first.refused] == [
        "cannot be opened: No such file or directory"
    ]
    (photos / "away").rename(photos / "e.png")
    second, read, _ = again(photos)
    assert read == ["e.png"]
    assert len(second) == 4


def test_another_limit_of_pixels(photos, again):
    image(photos / "a.png", 100, 100)
    assert len(again(photos)[0]) == 4
    low, read, _ = again(photos, max_image_pixels=9999)
    assert read == ["a.png"]
    assert [refused.reason for refused in low.refused] == [
        "too many pixels: height 100 x width 100 = 10,000 exceed max_image_pixels=9,999"
    ]
    assert again(photos, max_image_pixels=9999)[1] == []
    high, read, _ = again(photos, max_image_pixels=10_000)
    assert read == ["a.png"]
    assert len(high) == 4


def test_a_new_pillow_gets_another_chance_at_refused_files(photos, again, monkeypatch):
    (photos / "a.png").write_bytes(b"bad")
    again(photos)
    monkeypatch.setattr(PIL, "__version__", "99.0")
    assert again(photos)[1] == ["a.png"]
    assert again(photos)[1] == []


@pytest.mark.parametrize("content", [b"", b"damaged", None])
def test_a_damaged_manifest_is_made_anew(photos, again, caplog, content):
    first, _, _ = again(photos)
    good = first.file.read_bytes()
    first.file.write_bytes(good[:-50] if content is None else content)
    second, read, _ = again(photos)
    assert len(read) == 4
    assert second.fingerprint == first.fingerprint
    assert "is damaged" in caplog.text
    assert "It is made anew." in caplog.text


def test_a_manifest_with_any_bit_wrong_is_made_anew(photos, again, caplog):
    (photos / "a.txt").write_text("a caption")
    (photos / "bad.png").write_bytes(b"bad")
    first, _, _ = again(photos)
    rows, good = first.all_rows, first.file.read_bytes()
    for at in range(0, len(good), 61):
        spoilt = bytearray(good)
        spoilt[at] ^= 1 << at % 8
        first.file.write_bytes(spoilt)
        second, _, _ = again(photos)
        assert second.all_rows.equals(rows), at
        assert second.fingerprint == first.fingerprint, at
        assert second.settings == first.settings, at
        Manifest.open_checked(second.file)
    assert "its checksum is not that of what it holds. Delete it, and scan" in caplog.text


def fails(manifest: Manifest, index: int, reason: str) -> None:
    status = Path(manifest.path(index)).stat()
    failure = Failure(manifest.path(index), status.st_size, status.st_mtime_ns, reason)
    with (manifest.file.parent / "failed.jsonl").open("a") as file:
        file.write(json.dumps(failure) + "\n")


def test_images_that_failed_in_decoding_are_told_until_they_change(photos, again):
    first, _, _ = again(photos)
    fails(first, 1, "image file is truncated")
    second, read, _ = again(photos)
    assert read == []
    assert second.id == first.id  # no manifest changes under a run
    cache = first.file.parent
    assert second.failed(read_failures(cache)) == {1: "image file is truncated"}
    image(photos / "b/c.png", 9, 9)
    third, _, _ = again(photos)
    assert third.failed(read_failures(cache)) == {}


def test_a_caption_of_another_length_is_read_whatever_its_time(photos, again):
    (photos / "a.txt").write_text("old")
    os.utime(photos / "a.txt", (1e9, 1e9))
    again(photos)
    (photos / "a.txt").write_text("much longer")
    os.utime(photos / "a.txt", (1e9, 1e9))
    manifest, read, captions = again(photos)
    assert (read, captions) == ([], ["a.txt"])
    assert manifest.caption(0) == "much longer"
    assert again(photos)[2] == []


def test_times_beyond_what_64_bits_reach(photos, again):
    (photos / "a.txt").write_text("far from now")
    for name in ("a.png", "a.txt", "b/c.png"):
        os.utime(photos / name, (1.1e10, 1.1e10))
    manifest = again(photos)[0]
    assert len(manifest) == 4
    assert manifest.caption(0) == "far from now"
    assert again(photos)[1:] == ([], [])


def test_a_read_only_cache_serves_a_start_that_changes_nothing(photos, again, monkeypatch, caplog):
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    real, first = Path.unlink, again(photos)[0]
    with monkeypatch.context() as patch:
        patch.setattr(
            Path,
            "unlink",
            lambda self, **kw: refuse() if self.suffix == ".csv" else real(self, **kw),
        )
        assert again(photos)[0].id == first.id
    (photos / "bad.png").write_bytes(b"bad")
    second = again(photos)[0]
    report = next(second.file.parent.glob("refused-*.csv"))
    os.utime(report, (0, 0))
    with monkeypatch.context() as patch:
        patch.setattr("lit_buckets.manifest.files.replace_file", refuse)
        assert again(photos)[0].id == second.id
        assert "The table of refused files is not up to date: cache_dir=" in caplog.text
        (photos / "worse.png").write_bytes(b"worse")
        with pytest.raises(DataError, match=r"cache_dir=.* cannot be written: Read-only"):
            again(photos)


@pytest.mark.parametrize(
    ("cache", "message"),
    [
        ("c\0", r"cache_dir='c\\x00' must be a path in UTF-8, without a NUL"),
        ("c\udcff", "cache_dir='c.*' must be a path in UTF-8"),
        (300 * "c", "cache_dir=.* cannot be written: File name too long"),
    ],
)
def test_names_that_no_cache_can_have(photos, cache, message):
    with pytest.raises((ConfigError, DataError), match=message):
        scan(photos, cache_dir=cache)


def test_a_path_with_a_nul(tmp_path):
    with pytest.raises(ConfigError, match=r"path='a\\x00' must be a path; no name holds a NUL"):
        scan("a\0", cache_dir=tmp_path)


# ------------------------------------------------------------------ several sources


def test_sources_follow_one_another(photos, tmp_path, again):
    other = images(tmp_path / "other", "a.png", "z.png")
    sources = [photos, FolderSource(other, repeats=2)]
    manifest, _, _ = again(sources)
    expected = [photos / name for name in ("a.png", "b/c.png", "b/d.png", "e.png")]
    expected += [other / "a.png", other / "z.png"]
    assert list(manifest.paths) == [str(path) for path in expected]
    assert manifest.repeats.tolist() == [1, 1, 1, 1, 2, 2]
    assert again(sources)[1] == []
    image(other / "z.png", 80, 80)
    (photos / "b/c.png").unlink()
    manifest, read, _ = again(sources)
    assert read == ["z.png"]
    assert manifest.sizes[-1].tolist() == [80, 80]
    assert len(manifest) == 5


def test_a_source_that_is_known_is_not_read_again(photos, tmp_path, again):
    again(photos)
    other = images(tmp_path / "other", "z.png")
    assert again([other, photos])[1] == ["z.png"]
    assert again([photos, other])[1] == []
    assert again(other)[1] == []
    assert again(FolderSource(other, captions=None))[1] == ["z.png"]


def test_of_other_manifests_only_those_of_use_are_read(photos, tmp_path, again, monkeypatch):
    other = images(tmp_path / "other", "z.png")
    manifests = [again(sources)[0] for sources in ([other, photos], photos, other)]
    for age, manifest in enumerate(manifests):  # the first is the latest
        os.utime(manifest.file, (1000 - age, 1000 - age))
    checked: list[Path] = []
    real = Manifest.open_checked
    monkeypatch.setattr(Manifest, "open_checked", lambda file: checked.append(file) or real(file))
    assert again([photos, other])[1] == []
    neighbours = {manifest.file for manifest in manifests}
    assert neighbours & {Path(file) for file in checked} == {manifests[0].file}
    checked.clear()
    elsewhere = images(tmp_path / "elsewhere", "y.png")
    assert again(elsewhere)[1] == ["y.png"]
    assert neighbours.isdisjoint(map(Path, checked))


def test_another_manifest_with_any_bit_wrong_spoils_nothing(photos, tmp_path, again, caplog):
    caplog.set_level("INFO", "lit_buckets")
    source = FolderSource(photos)
    first = again(source)[0]
    good, paths, sizes = first.file.read_bytes(), list(first.paths), first.sizes.tolist()
    for at in range(30, len(good), 61):
        spoilt = bytearray(good)
        spoilt[at] ^= 1 << at % 8
        first.file.write_bytes(spoilt)
        second = again(FolderSource(photos, repeats=2))[0]
        assert (list(second.paths), second.sizes.tolist()) == (paths, sizes), at
        assert first.file.read_bytes() == spoilt, at  # it is not this pass's to mend
        second.file.unlink()
    assert "Nothing is taken over from it." in caplog.text


def test_a_folder_inside_another_source_is_left_to_its_own(photos, again):
    manifest, _, _ = again([photos, FolderSource(photos / "b", repeats=5)])
    assert names(manifest) == ["a.png", "e.png", "b/c.png", "b/d.png"]
    assert manifest.repeats.tolist() == [1, 1, 5, 5]
    turned, _, _ = again([FolderSource(photos / "b", repeats=5), photos])
    assert sorted(turned.paths) == sorted(manifest.paths)


def test_one_folder_twice_is_refused(photos, tmp_path):
    (tmp_path / "link").symlink_to(photos)
    for twice in ([photos, photos], [photos, FolderSource(tmp_path / "link", 2)]):
        with pytest.raises(DataError, match="is listed twice among 2 sources"):
            scan(twice, cache_dir=tmp_path / "cache")


@dataclass(frozen=True)
class Table:
    """A source of another kind: the protocol is all that it needs."""

    paths: tuple[str, ...]
    root: str = ""
    label: str = "these files"
    repeats: int = 1
    confined: bool = False
    missing_caption: str = "empty"

    def identity(self) -> Mapping[str, object]:
        return {"kind": "table", "paths": self.paths}

    def blocks(self, *, earlier, apart_from=()) -> Iterator[Block]:
        for path in self.paths:
            status = Path(path).stat()
            run = Run()
            run.add(path, status.st_size, status.st_mtime_ns)
            yield from as_blocks([run])

    def caption_path(self, path: str) -> str:
        raise AssertionError("no entry has a caption")


def test_any_source_that_keeps_to_the_protocol(photos, again):
    source = Table((str(photos / "e.png"), str(photos / "a.png")))
    assert isinstance(source, Source)
    assert isinstance(FolderSource(photos), Source)
    manifest, _, _ = again(source)
    assert list(manifest.paths) == list(source.paths)
    assert manifest.sizes[:, 0].tolist() == [6, 3]
    assert again(source)[1] == []


# ------------------------------------------------------------------ links


def test_links_that_stay_inside(photos, tmp_path):
    (photos / "z.png").symlink_to(photos / "a.png")
    (photos / "round").symlink_to(photos)
    (photos / "b/up").symlink_to(photos.parent)
    (photos / "again").symlink_to("b")
    for follow in (False, True):
        source = FolderSource(photos, follow_links=follow)
        manifest = scan(source, cache_dir=tmp_path / "c")
        assert names(manifest) == ["a.png", "b/c.png", "b/d.png", "e.png", "z.png"]
        assert len(manifest.refused) == 0


def test_links_to_folders_that_do_not_come_by_themselves(tmp_path):
    root = images(tmp_path / "photos", ".store/a.png", ".store/deep/c.png", "b.png", "x/d.png")
    (root / "photos").symlink_to(".store")
    (root / "sooner").symlink_to(".store/deep")
    (root / "twice").symlink_to(".store")
    (root / ".store/self").symlink_to(".")
    (root / ".store/up").symlink_to("..")
    (root / "y").symlink_to("x")
    manifest = scan(root, cache_dir=tmp_path / "c")
    assert names(manifest) == ["b.png", "photos/a.png", "photos/deep/c.png", "x/d.png"]
    assert scan(root, cache_dir=tmp_path / "c").id == manifest.id
    chosen = FolderSource(root, exclude=("/x/", "/photos", "/twice"))
    assert names(scan(chosen, cache_dir=tmp_path / "c")) == ["b.png", "sooner/c.png"]


def test_links_that_lead_out(photos, tmp_path):
    out = images(tmp_path / "out", "x.png", "deep/y.png")
    (out / "round").symlink_to(out)
    (out / "back").symlink_to(photos)
    (photos / "k.png").symlink_to(out / "x.png")
    (photos / "l").symlink_to(out)
    (photos / "m").symlink_to(out / "deep")
    manifest = scan(photos, cache_dir=tmp_path / "c")
    assert len(manifest) == 4
    assert [os.path.relpath(refused.path, photos) for refused in manifest.refused] == [
        *("k.png", "l", "m")
    ]
    assert all("follow_links" in refused.reason for refused in manifest.refused)
    assert scan(photos, cache_dir=tmp_path / "c").id == manifest.id
    followed = scan(FolderSource(photos, follow_links=True), cache_dir=tmp_path / "c")
    assert names(followed)[-3:] == ["k.png", "l/deep/y.png", "l/x.png"]
    assert len(followed) == 7
    assert not followed.refused


def test_broken_links_and_links_of_captions(photos, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("not for the model")
    (photos / "a.txt").symlink_to(secret)
    (photos / "x.png").symlink_to("nowhere.png")
    (photos / "y.png").symlink_to("y.png")
    (photos / "z.txt").symlink_to("nowhere.txt")
    manifest = scan(photos, cache_dir=tmp_path / "c")
    reasons = {Path(path).name: reason for path, reason in manifest.refused}
    assert reasons.keys() == {"a.png", "x.png", "y.png"}
    assert "its caption 'a.txt' is a link that leads out" in reasons["a.png"]
    assert reasons["x.png"] == "cannot be opened: a link, No such file or directory"
    assert "not for" not in "".join(manifest.captions)
    (photos / "a.txt").unlink()
    assert names(scan(photos, cache_dir=tmp_path / "c"))[0] == "a.png"


def test_a_folder_that_cannot_be_listed_is_named(photos, tmp_path, monkeypatch):
    real = os.scandir

    def scandir(path):
        if str(path).endswith("/b/"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        manifest = scan(photos, cache_dir=tmp_path / "c")
    assert [tuple(refused) for refused in manifest.refused] == [
        (f"{photos}/b/", "cannot be opened: folder not listed, Permission denied")
    ]
    assert len(scan(photos, cache_dir=tmp_path / "c")) == 4


# ------------------------------------------------------------------ errors


def test_a_missing_folder_names_the_nearest(photos, tmp_path):
    for wrong in ("photo", "photo/deeper/still"):
        with pytest.raises(DataError) as error:
            scan(tmp_path / wrong, cache_dir=tmp_path / "c")
        assert str(error.value) == (
            f"path='{tmp_path}/{wrong}' does not exist: '{tmp_path}' holds no 'photo'. "
            f"Did you mean '{photos}'?"
        )
    assert not (tmp_path / "c").exists()


def test_folders_without_an_image(photos, tmp_path):
    empty = tmp_path / "empty"
    (empty / "more").mkdir(parents=True)
    (empty / "a.txt").write_text("no image")
    for sources in (empty, [photos, empty]):
        with pytest.raises(DataError, match=rf"path='{empty}' holds no image: "):
            scan(sources, cache_dir=tmp_path / "c")
    with pytest.raises(DataError, match="is a file, not a folder"):
        scan(photos / "a.png", cache_dir=tmp_path / "c")
    with pytest.raises(DataError, match="list of sources is empty"):
        scan([], cache_dir=tmp_path / "c")


def test_a_folder_without_a_readable_image(photos, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    for i in range(5):
        (broken / f"{i}.png").write_bytes(b"x" * i)
    for sources in (broken, [photos, broken]):
        with pytest.raises(DataError) as error:
            scan(sources, cache_dir=tmp_path / "c")
        assert str(error.value) == (
            f"path='{broken}' holds no image that can be read: all 5 are refused: "
            f"'0.png' (empty: 0 bytes); "
            f"'1.png' (not an image in a format that is read (1 bytes)); "
            f"'2.png' (not an image in a format that is read (2 bytes)); and 2 more. "
            f"Check the path, or repair the files."
        )


def test_unreadable_files_stop_the_run_if_asked(photos, tmp_path, again):
    (photos / "bad.png").write_bytes(b"")
    for _ in range(2):  # the second time from the manifest
        with pytest.raises(DataError, match=r"1 of 5 files cannot be read: '.*bad.png' \(empty"):
            again(photos, on_unreadable="error")
    manifest, read, _ = again(photos)
    assert len(manifest) == 4
    assert read == []


@pytest.mark.parametrize(
    "wrong", [{"on_unreadable": "ignore"}, {"max_image_pixels": 0}, {"workers": 0}]
)
def test_arguments_out_of_range(photos, tmp_path, wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        scan(photos, cache_dir=tmp_path / "c", **wrong)


def test_a_cache_that_cannot_be_written(photos, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"cache_dir='.*file' cannot be written: "):
        scan(photos, cache_dir=tmp_path / "file")


def test_one_line_is_logged(photos, tmp_path, caplog):
    (photos / "bad.png").write_bytes(b"")
    with caplog.at_level(logging.INFO, logger="lit_buckets"):
        scan(photos, cache_dir=tmp_path / "c", on_unreadable="skip")
        scan(photos, cache_dir=tmp_path / "c")
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "INFO"]
    assert caplog.messages[1].startswith("4 images, 1 refused, 5 read anew, ")
    assert caplog.messages[2].startswith("4 images, 1 refused, 0 read anew, ")


# ------------------------------------------------------------------ many hands


def table_of(manifest: Manifest) -> list[dict[str, object]]:
    return [dict(row) for row in manifest.all_rows.to_pylist()]


def many(root: Path, count: int = 300) -> Path:
    for i in range(count):
        path = image(root / f"{i % 7}" / f"{i}.png", 1 + i % 50, 1 + i % 31)
        path.with_suffix(".txt").write_text(f"number {i}\n")
    (root / "3/bad.png").write_bytes(b"bad")
    return root


def test_threads_and_processes_find_the_same(tmp_path, monkeypatch):
    root = many(tmp_path / "p")
    alone = table_of(scan(root, cache_dir=tmp_path / "c1", workers=1))
    assert len(alone) == 301
    assert alone[-1]["reason"]
    assert table_of(scan(root, cache_dir=tmp_path / "c2", workers=3)) == alone
    monkeypatch.setattr(readers, "_PROCESSES_FROM", 1)
    monkeypatch.setattr(readers, "_LARGE_BATCH", 64)
    monkeypatch.setattr(readers, "_AHEAD", 5)  # all of them are the helper's
    monkeypatch.setattr(readers, "Helper", helper := CountedHelper)
    assert table_of(scan(root, cache_dir=tmp_path / "c3", workers=2)) == alone
    assert helper.answers >= 5  # 301 files in batches of 64
    assert not helper.running()


class CountedHelper(helpers.Helper):
    answers = 0
    processes: list[subprocess.Popen[bytes]] = []  # noqa: RUF012

    def __init__(self):
        super().__init__()
        self.processes.append(self._process)

    def answer(self):
        answer = super().answer()
        CountedHelper.answers += answer is not None
        return answer

    @classmethod
    def running(cls) -> bool:
        return any(process.poll() is None for process in cls.processes)


@pytest.mark.parametrize("program", ["raise SystemExit", "print('no frame'); input()"])
def test_helpers_that_die_are_made_up_for(tmp_path, monkeypatch, program):
    root = many(tmp_path / "p")
    monkeypatch.setattr(readers, "_PROCESSES_FROM", 1)
    monkeypatch.setattr(helpers, "_PROGRAM", program)
    assert len(scan(root, cache_dir=tmp_path / "c", workers=2)) == 300


def captions(folder: Path) -> list[Job]:
    """Jobs whose names and captions are longer than a pipe."""
    text = folder / "a.txt"
    text.write_text("a cat " * 2000)
    name = f"{folder}{'/.' * 1500}/a.txt"
    return [Job("", name)] * 64


def test_full_pipes_stop_nobody(tmp_path):
    jobs, helper = captions(tmp_path), helpers.Helper()
    for _ in range(8):  # none is answered before all are asked
        helper.ask(jobs, Demands())
    for left in range(8, 0, -1):
        helper.exchange()
        assert 0 <= helper.left <= left
        answer = helper.answer()
        assert answer is not None
        assert answer[3] == (("a cat " * 2000).strip(),) * 64
    assert helper.left == 0
    helper.close()


def test_of_a_helper_that_is_killed_nothing_is_expected(tmp_path):
    jobs, helper = captions(tmp_path), helpers.Helper()
    helper.ask(jobs, Demands())
    assert helper.answer()
    for _ in range(8):
        helper.ask(jobs, Demands())
    helper._process.kill()
    while answer := helper.answer():
        assert len(answer[0]) == 64
    assert helper.left == math.inf
    helper.close()


def test_no_helper_without_a_python_to_start(tmp_path, monkeypatch):
    root = many(tmp_path / "p")
    monkeypatch.setattr(readers, "_PROCESSES_FROM", 1)
    for executable in ("", "/no/such/python"):
        monkeypatch.setattr(sys, "executable", executable)
        assert len(scan(root, cache_dir=tmp_path / f"c{len(executable)}", workers=2)) == 300


def test_an_error_in_between_ends_all_helpers(tmp_path, monkeypatch):
    root = many(tmp_path / "p")
    monkeypatch.setattr(readers, "_PROCESSES_FROM", 1)
    monkeypatch.setattr(readers, "Helper", CountedHelper)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        scan(root, cache_dir=tmp_path / "c", workers=2)
    assert not CountedHelper.running()
    assert not (tmp_path / "c").exists()


def test_the_bar_shows_in_a_terminal_alone(photos, tmp_path, capfd):
    scan(photos, cache_dir=tmp_path / "c1")
    assert capfd.readouterr().err == ""
    scan(photos, cache_dir=tmp_path / "c2", progress=True)
    scan(photos, cache_dir=tmp_path / "c3", progress=False)


# ------------------------------------------------------------------ real files


@pytest.mark.skipif(not (SHARED / "photos").is_dir(), reason="the files are not here")
def test_photographs(tmp_path):
    manifest = scan(SHARED / "photos", cache_dir=tmp_path / "c")
    assert len(manifest) == 226
    assert not manifest.refused
    assert np.all(manifest.sizes > 0)


@pytest.mark.skipif(not (SHARED / "hard_images").is_dir(), reason="the files are not here")
def test_hard_images(tmp_path):
    manifest = scan(SHARED / "hard_images", cache_dir=tmp_path / "c")
    assert sorted(Path(path).name for path, _ in manifest.refused) == [
        *("decompression_bomb.gif", "empty.jpg", "png_decompression_dos.png", "text.jpg")
    ]
    turned = [i for i, path in enumerate(manifest.paths) if "/orientation/" in path]
    assert len(turned) == 9
    assert len({tuple(size) for size in manifest.sizes[turned].tolist()}) == 1
