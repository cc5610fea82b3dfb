"""Folders of images: which files are meant, and what is told of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import png, write, write_images

from lit_buckets.errors import ConfigError, DataError
from lit_buckets.scan import scan
from lit_buckets.sources import FolderSource
from lit_buckets.sources.patterns import Selection, is_image

NAMES = [
    *("a.png", "b.jpg", "cats/tom.jpg", "cats/old/tom.png", "cats/drafts/x.jpg"),
    *("drafts/y.png", "drafts.png", "dogs/a.png"),
]


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (None, None, NAMES),
        (["*.jpg"], None, ["b.jpg", "cats/tom.jpg", "cats/drafts/x.jpg"]),
        (["/*.png"], None, ["a.png", "drafts.png"]),
        (["cats/*.jpg"], None, ["cats/tom.jpg"]),
        (["cats/"], ["drafts/"], ["cats/tom.jpg", "cats/old/tom.png"]),
        (["/cats/**/*.jpg"], None, ["cats/tom.jpg", "cats/drafts/x.jpg"]),
        (None, ["drafts"], [name for name in NAMES if "drafts/" not in name]),
        (None, ["*", "!*.jpg"], ["b.jpg"]),  # excluded folders are not entered
        (["a.*", "!dogs/a.*"], None, ["a.png"]),
        (["[ab].*"], None, ["a.png", "b.jpg", "dogs/a.png"]),
    ],
)
def test_patterns(tmp_path, include, exclude, expected):
    root = write_images(tmp_path / "root", dict.fromkeys(NAMES, (2, 3)))
    source = FolderSource(root, include=include, exclude=exclude)
    manifest = scan(source, cache_dir=tmp_path / "cache")
    found = [path.removeprefix(f"{root}/") for path in manifest.paths]
    assert found == sorted(expected)
    assert scan(source, cache_dir=tmp_path / "cache").id == manifest.id


def test_patterns_do_not_stop_at_the_end_of_a_line(tmp_path):
    names = {"a\nb/c.jpg": (2, 3), "a\nb/drafts/d.jpg": (2, 3), "e.jpg": (2, 3)}
    root = write_images(tmp_path / "root", names)
    assert len(scan(FolderSource(root, include=("*.jpg",)), cache_dir=tmp_path / "cache")) == 3
    assert len(scan(FolderSource(root, exclude=("drafts/",)), cache_dir=tmp_path / "cache")) == 2


def test_excluded_links_are_not_even_named(tmp_path):
    root = write_images(tmp_path / "root", {"a.png": (2, 3)})
    out = write_images(tmp_path / "out", {"b.png": (2, 3)})
    (root / "link").symlink_to(out)
    (root / "c.png").symlink_to(out / "b.png")
    (root / "d.png").symlink_to("nowhere")
    assert len(scan(root, cache_dir=tmp_path / "c").refused) == 3
    source = FolderSource(root, exclude=("link", "[cd].png"))
    assert len(scan(source, cache_dir=tmp_path / "c").refused) == 0


def test_patterns_that_leave_nothing_or_cannot_be_read(tmp_path):
    root = write_images(tmp_path / "root", {"a.png": (2, 3)})
    with pytest.raises(DataError, match="holds no image"):
        scan(FolderSource(root, include=("*.jpg",)), cache_dir=tmp_path / "c")
    with pytest.raises(
        ConfigError, match=r"^exclude=\['!'\] must hold patterns as in a \.gitignore"
    ):
        FolderSource(root, exclude=("!",))


def test_other_patterns_are_another_source(tmp_path):
    root = write_images(tmp_path / "root", {"a.png": (2, 3), "b.png": (4, 5)})
    whole = scan(root, cache_dir=tmp_path / "c")
    part = scan(FolderSource(root, include=("a*",)), cache_dir=tmp_path / "c")
    assert whole.file != part.file
    assert len(part) == 1


def test_a_caption_that_is_missing(tmp_path):
    root = write_images(tmp_path / "root", {"a.png": (2, 3), "b.png": (4, 5), "c.png": (6, 7)})
    write(root / "a.txt", "one")
    write(root / "b.txt", " \n")
    source = FolderSource(root, missing_caption="skip")
    manifest = scan(source, cache_dir=tmp_path / "c")
    assert list(manifest.captions) == ["one"]
    assert [Path(path).name for path, _ in manifest.refused] == ["b.png", "c.png"]
    assert scan(source, cache_dir=tmp_path / "c").id == manifest.id
    write(root / "c.txt", "three")
    (root / "a.txt").unlink()
    manifest = scan(source, cache_dir=tmp_path / "c")
    assert (list(manifest.captions), manifest.sizes.tolist()) == (["three"], [[6, 7]])
    with pytest.raises(
        DataError, match=r"missing_caption='error': 2 of 3 .*: 'a\.png', 'b\.png'\."
    ):
        scan(FolderSource(root, missing_caption="error"), cache_dir=tmp_path / "c")
    with pytest.raises(
        ConfigError, match="missing_caption='skip' needs captions; captions is null"
    ):
        FolderSource(root, captions=None, missing_caption="skip")


def test_a_refused_image_needs_no_caption(tmp_path):
    root = write_images(tmp_path / "root", {"a.png": (2, 3)})
    write(root / "a.txt", "one")
    write(root / "bad.png", "bad")
    manifest = scan(FolderSource(root, missing_caption="error"), cache_dir=tmp_path / "c")
    assert [Path(path).name for path, _ in manifest.refused] == ["bad.png"]
    write(root / "bad.png", png(4, 5))
    with pytest.raises(DataError, match="1 of 2 images"):
        scan(FolderSource(root, missing_caption="error"), cache_dir=tmp_path / "c")


@given(st.text(alphabet="ab./ *", max_size=8))
def test_a_path_is_an_image_if_its_name_is(path):
    name = path.rpartition("/")[2] + ".png"
    assert is_image(path + ".png") == (name != ".png")
    assert Selection(None, None).takes(path)


def test_tables_in_folders_below_are_told(tmp_path, caplog):
    names = dict.fromkeys(["train/a.jpg", "test/b.jpg", "c.jpg"], (2, 3))
    root = write_images(tmp_path / "root", names)
    write(root / "train/metadata.csv", "file_name,text\na.jpg,A\n")
    write(root / "test/metadata.jsonl", '{"file_name": "b.jpg", "text": "B"}\n')
    assert len(scan(root, cache_dir=tmp_path / "cache")) == 3
    assert (
        "holds 2 tables of images in folders below it, such as 'test/metadata.jsonl'" in caplog.text
    )
    caplog.clear()
    scan(FolderSource(root, exclude=("train/", "test/")), cache_dir=tmp_path / "cache")
    scan(root / "train", cache_dir=tmp_path / "cache")
    assert "tables of images" not in caplog.text


def test_captions_in_other_codings(tmp_path, caplog):
    root = write_images(tmp_path / "root", dict.fromkeys(["a.jpg", "b.jpg", "c.jpg"], (2, 3)))
    write(root / "a.txt", "\ufeffgrün".encode("utf-16-le"))
    write(root / "b.txt", "\ufeffgrün".encode("utf-16-be"))
    assert [*scan(root, cache_dir=tmp_path / "cache").captions] == ["grün", "grün", ""]
    assert "U+FFFD" not in caplog.text
    write(root / "c.txt", "grün".encode("latin-1"))
    assert [*scan(root, cache_dir=tmp_path / "cache").captions][2] == "gr\ufffdn"
    assert (
        "1 captions hold U+FFFD, which stands for what is not UTF-8, such as that of 'c.jpg'"
        in caplog.text
    )


def test_a_long_caption_may_end_within_a_character(tmp_path, caplog):
    root = write_images(tmp_path / "root", {"a.jpg": (2, 3)})
    write(root / "a.txt", "x" + "ä" * 2**20)
    manifest = scan(root, cache_dir=tmp_path / "cache")
    assert manifest.caption(0) == "x" + "ä" * (2**19 - 1)
    assert "U+FFFD" not in caplog.text
