"""Sources in the configuration: kinds, the keys of each, and what is refused before listing."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from places import png, write, write_images, write_lines, write_tar

from lit_buckets.config import SourceConfig, as_source, load_config, sources, to_plain
from lit_buckets.errors import ConfigError
from lit_buckets.sources import (
    KINDS,
    DatasetSource,
    FolderSource,
    ImageFolderSource,
    ShardSource,
    TableSource,
    kind_of,
    open_source,
    options_of_kind,
)

FORM = re.compile(r"[^\n]+=[^\n]+ [^\n]+; [^\n]+\. [^\n]+[.?]")


@pytest.fixture(autouse=True)
def _in_a_folder_of_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test starts in a folder that holds one source of each kind."""
    write_images(tmp_path / "photos", {"a.png": (3, 4)})
    write_images(tmp_path / "listed", {"a.png": (3, 4)})
    write_lines(tmp_path / "listed/metadata.jsonl", [{"file_name": "a.png"}])
    write_lines(tmp_path / "table.jsonl", [{"path": "photos/a.png"}])
    write(tmp_path / "dataset/state.json", '{"_data_files": []}')
    write(tmp_path / "dict/dataset_dict.json", '{"splits": []}')
    write_tar(tmp_path / "set-00.tar", {"a.png": png(3, 4)})
    monkeypatch.chdir(tmp_path)


def refused(train: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config({"data": {"train": train}})
    message = str(caught.value)
    assert FORM.fullmatch(message), message
    return message


@pytest.mark.parametrize(
    ("path", "kind", "cls"),
    [
        ("photos", "folder", FolderSource),
        ("listed", "imagefolder", ImageFolderSource),
        ("table.jsonl", "table", TableSource),
        ("dataset", "dataset", DatasetSource),
        ("dict", "dataset", DatasetSource),
        ("set-00.tar", "shards", ShardSource),
        ("set-*.tar", "shards", ShardSource),
        ("set-{00..07}.tar", "shards", ShardSource),
        ("s3://bucket/photos", "folder", FolderSource),
        ("https://example.com/a/b.parquet", "table", TableSource),
        ("gs://bucket/set-{000..123}.tar", "shards", ShardSource),
    ],
)
def test_what_a_path_is(path, kind, cls):
    assert kind_of(path) == kind
    assert load_config({"data": {"train": path}}).data.train == (SourceConfig(path),)
    assert type(as_source(SourceConfig(path))) is cls
    assert type(open_source(path)) is cls


def test_a_kind_can_be_given():
    given = {"path": "listed", "kind": "folder"}
    assert type(as_source(*sources(given))) is FolderSource
    assert type(as_source(SourceConfig("s3://b/x", kind="imagefolder"))) is ImageFolderSource
    assert as_source(SourceConfig(".", kind="shards")).label == f"{Path.cwd()}/*.tar"
    kind = next(f for f in dataclasses.fields(SourceConfig) if f.name == "kind")
    assert all(repr(name) in str(kind.type) or f'"{name}"' in str(kind.type) for name in KINDS)


def test_every_option_of_every_kind_is_a_key_with_the_same_default():
    keys = {f.name: f.default for f in dataclasses.fields(SourceConfig)}
    for kind, cls in KINDS.items():
        options = {f.name: f.default for f in dataclasses.fields(cls)}
        assert {*options} <= {*keys}, kind
        assert {name: keys[name] for name in options} == options
    everywhere = {name for kind in KINDS for name in options_of_kind(kind)}
    assert {*keys} == {"path", "kind", *everywhere}


def test_options_reach_their_source():
    given = {
        "path": "table.jsonl",
        "repeats": 3,
        "image_root": "photos",
        "image_column": "p",
        "caption_column": None,
        "height_column": "h",
        "width_column": "w",
        "columns": ["x", "y"],
        "allow_outside": True,
        "missing_caption": "skip",
    }
    config = load_config({"data": {"train": given}})
    assert as_source(config.data.train[0]) == TableSource(**given | {"columns": ("x", "y")})
    assert load_config(to_plain(config)) == config
    folder = {"path": "photos", "include": ["a*"], "exclude": ["b*"], "follow_links": True}
    source = as_source(load_config({"data": {"train": [folder]}}).data.train[0])
    assert source == FolderSource("photos", include=("a*",), exclude=("b*",), follow_links=True)
    (split,) = map(as_source, sources({"path": "dict", "split": "train"}))
    assert split == DatasetSource("dict", split="train")


def test_a_source_shows_what_is_not_by_default():
    assert repr(SourceConfig("photos")) == "SourceConfig(path='photos')"
    shown = repr(SourceConfig("t.csv", repeats=2, caption_column=None))
    assert shown == "SourceConfig(path='t.csv', repeats=2, caption_column=None)"


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (
            {"path": "photos", "image_column": "p"},
            "data.train.image_column=p is no key of a source of kind folder; it belongs to 4 of 5 "
            "kinds, table, imagefolder, dataset, shards. Remove it.",
        ),
        (
            ["photos", {"path": "table.jsonl", "captions": ".caption"}],
            "data.train[1].captions=.caption is no key of a source of kind table; it belongs to 2 "
            "of 5 kinds, folder, shards. Remove it.",
        ),
        (
            {"path": "set-00.tar", "split": "train"},
            "data.train.split=train is no key of a source of kind shards; it belongs to 1 of 5 "
            "kinds, dataset. Remove it.",
        ),
        (
            {"path": "photos", "kind": "foldr"},
            "data.train.kind=foldr must be folder, table, imagefolder, dataset, shards or null; "
            "there are 6 choices. Set data.train.kind=folder.",
        ),
        (
            {"path": "photos", "kind": "table"},
            "data.train.path='{cwd}/photos' must be a table; its suffix is none of the 5 known, "
            ".csv, .tsv, .jsonl, .ndjson, .parquet. Rename it.",
        ),
        (
            "none.csv",
            "data.train=none.csv must be an existing table; there is none at {cwd}/none.csv. "
            "Check the path.",
        ),
        (
            "set-1*.tar",
            "data.train=set-1*.tar must name existing shards; 0 files are there that "
            "{cwd}/set-1*.tar means. Check the pattern.",
        ),
        (
            {"path": "none", "kind": "dataset"},
            "data.train.path=none must be an existing folder; there is nothing at {cwd}/none. "
            "Set data.train.path to a folder of images.",
        ),
        (
            {"path": "photos", "include": []},
            "data.train.include=[] must have an entry; the list is empty. "
            "Set data.train.include=null, the default.",
        ),
        (
            {"path": "photos", "include": "*.jpg"},
            'data.train.include="*.jpg" must be a list of names or null; got a string. '
            "Set data.train.include=null, the default.",
        ),
        (
            {"path": "photos", "exclude": ["a", 5]},
            "data.train.exclude[1]=5 must be a string; got an integer. "
            "Correct data.train.exclude[1].",
        ),
        (
            {"path": "photos", "captions": None, "missing_caption": "skip"},
            "data.train.missing_caption='skip' needs captions; captions is null, so no image has "
            "one. Set missing_caption='empty'.",
        ),
        (
            {"path": "photos", "captions": ".png"},
            "data.train.captions='.png' must be the suffix of text files; it needs a dot, and a "
            "name that is no image's. Write '.txt', or null for no captions.",
        ),
        (
            {"path": "table.jsonl", "height_column": None},
            "data.train.height_column=None and width_column='auto' must both name a column, or "
            "both be null; one side is no size. Set both to null.",
        ),
        (
            {"path": "table.jsonl", "image_root": "none"},
            "data.train.image_root=none must be an existing folder; there is nothing at "
            "{cwd}/none. Set data.train.image_root to a folder of images.",
        ),
        (
            {"path": "table.jsonl", "image_column": ""},
            'data.train.image_column="" must be a name; the text is empty. '
            "Remove data.train.image_column.",
        ),
        (
            {"path": "s3://bucket/set", "kind": "dataset"},
            "data.train.path='s3://bucket/set' must be a folder of this machine; its Arrow files "
            "are mapped, and 0 of them can be from afar. Copy it, or use tar shards.",
        ),
    ],
)
def test_sources_are_refused(train, message):
    assert refused(train) == message.replace("{cwd}", str(Path.cwd()))


def test_compressed_shards_and_patterns_that_cannot_be_read():
    assert "must be uncompressed tar shards; members of a .tar.gz" in refused("a-*.tar.gz")
    assert "must hold patterns as in a .gitignore" in refused({"path": ".", "include": ["!"]})
    assert "must close each brace" in refused("a-{00..01.tar")
    assert refused("a\x1b[31m-{00.tar").isprintable()


def test_options_that_are_not_the_kinds():
    with pytest.raises(ConfigError, match=r"^split='x' is no option of a source of kind 'folder'"):
        open_source("photos", split="x")
    with pytest.raises(ConfigError, match=r"^kind='zip' must be a kind of source; there are 5: "):
        open_source("photos", "zip")
    assert {*get_args(SourceConfig.__annotations__["kind"])} <= {*KINDS, None}
