"""Tar shards in WebDataset's layout."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import shutil
import subprocess
import tarfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import png, write, write_tar

from lit_buckets.errors import ConfigError, DataError
from lit_buckets.headers import MemoryContent
from lit_buckets.manifest import Manifest
from lit_buckets.scan import scan
from lit_buckets.sources import ShardSource, kind_of, shards
from lit_buckets.sources.braces import without_braces
from lit_buckets.sources.tar import TarError, members


def load(source: Any, tmp_path: Path) -> Manifest:
    return scan(source, cache_dir=tmp_path / "cache")


def sample(i: int, **fields: Any) -> dict[str, bytes | str]:
    """A picture that is 10 + i high and 20 + i wide, with what belongs to it."""
    members: dict[str, bytes | str] = {f"{i:04d}.png": png(10 + i, 20 + i)}
    members[f"{i:04d}.txt"] = f"picture {i}\n"
    if fields:
        members[f"{i:04d}.json"] = json.dumps(fields)
    return members


def shard(path: Path, numbers: range, **fields: Any) -> Path:
    return write_tar(path, {k: v for i in numbers for k, v in sample(i, **fields).items()})


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """Two shards of three and two images."""
    shard(tmp_path / "set/s-000.tar", range(3), score=1)
    shard(tmp_path / "set/s-001.tar", range(3, 5), score=2)
    return tmp_path / "set"


# ------------------------------------------------------------------ archives


def random_archive(seed: int, how: int) -> bytes:
    """An archive of files, folders and links with names of many lengths."""
    draw = random.Random(seed)
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=how) as tar:
        for i in range(draw.randrange(1, 12)):
            parts = ["a", "ü" * 20, "middle" * 12] + ["long" * 30] * (how != tarfile.USTAR_FORMAT)
            name = "/".join(draw.choice(parts) for _ in range(draw.randrange(1, 4)))
            info = tarfile.TarInfo(f"{draw.choice(['', './'])}{name}/{i}.png")
            info.type = draw.choice([tarfile.REGTYPE] * 4 + [tarfile.DIRTYPE, tarfile.SYMTYPE])
            info.linkname = "elsewhere"
            info.mtime = draw.choice([0, 1.5])
            info.size = draw.choice([0, 1, 511, 512, 513, 5000]) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(draw.randbytes(info.size)))
    return content.getvalue()


@given(st.integers(0, 10**9), st.sampled_from([0, 1, 2]))
@settings(max_examples=60, deadline=None)
def test_members_are_those_that_tarfile_finds(seed, how):
    content = random_archive(seed, how)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        kept = [m for m in tar if not m.isdir()]
    expected = [(m.name.removeprefix("./"), m.offset_data, m.size, m.isreg()) for m in kept]
    found = [tuple(member) for member in members(MemoryContent(content))]
    assert [each for each in found if each[3]] == [each for each in expected if each[3]]
    assert [each[0] for each in found] == [each[0] for each in expected]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_damaged_archives_end_in_a_reason(data):
    content = bytearray(random_archive(data.draw(st.integers(0, 99)), tarfile.PAX_FORMAT))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    found = []
    with suppress(TarError):  # and no other error
        for member in members(MemoryContent(bytes(content[:cut]))):
            found.append(member)  # noqa: PERF402 - those before the damage count
    assert all(m.offset + m.bytes <= cut for m in found if m.is_file)


# ------------------------------------------------------------------ patterns with braces


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a", ["a"]),
        ("a{1}b{}", ["a{1}b{}"]),
        ("{x,y}{1..3}", ["x1", "x2", "x3", "y1", "y2", "y3"]),
        ("{08..11}", ["08", "09", "10", "11"]),
        ("{3..1}", ["3", "2", "1"]),
        ("{1..9..4}", ["1", "5", "9"]),
        ("{-1..01}", ["-1", "00", "01"]),
        ("{a,}b", ["ab", "b"]),
    ],
)
def test_braces_mean_what_they_mean_in_a_shell(pattern, expected):
    assert list(without_braces(pattern)) == expected
    if bash := shutil.which("bash"):
        shown = subprocess.run(
            [bash, "-c", f"printf '%s ' {pattern}"], capture_output=True, text=True
        )
        assert shown.stdout.split() == expected


def test_braces_within_braces_mean_each_once_or_more():
    assert {*without_braces("{a,b{1..2}}.tar")} == {"a.tar", "b1.tar", "b2.tar"}
    with pytest.raises(ConfigError, match=r"must have two numbers .*; 'a\.\.c' are none\. Write"):
        list(without_braces("{a..c}"))
    endless = without_braces("{0..99999999999}{0..99999999999}")  # and nothing is built for them
    assert next(endless) == "00"


# ------------------------------------------------------------------ samples


def test_images_captions_and_columns(pair, tmp_path):
    manifest = load(pair / "s-*.tar", tmp_path)
    names = [path.removeprefix(f"{pair}/") for path in manifest.paths]
    assert names == [f"s-000.tar/{i:04d}.png" for i in range(3)] + [
        f"s-001.tar/{i:04d}.png" for i in (3, 4)
    ]
    assert manifest.sizes.tolist() == [[10 + i, 20 + i] for i in range(5)]
    assert [manifest.read(i) for i in range(5)] == [png(10 + i, 20 + i) for i in range(5)]
    assert list(manifest.captions) == [f"picture {i}" for i in range(5)]
    assert (manifest.columns, manifest.numbers) == (("score",), {"score"})
    assert [manifest.value(i, "score") for i in range(5)] == [1, 1, 1, 2, 2]
    assert load(pair / "s-*.tar", tmp_path).id == manifest.id


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("s-000.tar", 3),
        ("s-{000..001}.tar", 5),
        ("s-00[1-9].tar", 2),
        ("s-00?.tar", 5),
        ("../{set,none}/s-00{1,0}.tar", 5),
        ("../s*/s-001.tar", 2),
        ("", 5),
    ],
)
def test_patterns(pair, tmp_path, pattern, count):
    assert len(load(ShardSource(pair / pattern), tmp_path)) == count


def test_a_shard_that_is_named_and_not_there_is_refused_by_name(pair, tmp_path):
    manifest = load(f"{pair}/s-{{000..002}}.tar", tmp_path)
    assert len(manifest) == 5
    assert [tuple(each) for each in manifest.refused] == [
        (f"{pair}/s-002.tar", "cannot be opened: No such file or directory")
    ]
    shard(pair / "s-002.tar", range(9, 10))
    assert len(load(f"{pair}/s-{{000..002}}.tar", tmp_path)) == 6


def test_a_file_is_itself_whatever_its_name_is(tmp_path):
    for i, name in enumerate(("UP.TAR", "set[1].tar", "a{b.tar", "{1,2}*.tar", "no suffix")):
        path = shard(tmp_path / "dir[1]" / name, range(i, i + 1))
        manifest = load(ShardSource(path), tmp_path)
        assert list(manifest.paths) == [f"{path}/{i:04d}.png"]
        assert manifest.read(0) == png(10 + i, 20 + i)
        assert load(ShardSource(path), tmp_path).id == manifest.id
    write(tmp_path / "set[1]/s.tar", b"")
    shard(tmp_path / "set1/s.tar", range(1))  # where there is no such file it is a pattern still
    (tmp_path / "set[1]/s.tar").unlink()
    assert len(load(ShardSource(tmp_path / "set[1]/s.tar"), tmp_path)) == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_what_is_no_file_is_refused_and_never_opened(pair, tmp_path, monkeypatch):
    os.mkfifo(pair / "pipe.tar")
    (pair / "folder.tar").mkdir()
    real = shards.FileContent

    def opened(file: str) -> Any:
        assert Path(file).is_file(), "to open a pipe would wait for ever"
        return real(file)

    monkeypatch.setattr(shards, "FileContent", opened)
    manifest = load(pair / "*.tar", tmp_path)
    assert len(manifest) == 5
    assert [tuple(each) for each in manifest.refused] == [
        (f"{pair}/folder.tar", "not a file"),
        (f"{pair}/pipe.tar", "not a file"),
    ]


def test_patterns_that_match_nothing_or_cannot_be_read(pair, tmp_path):
    with pytest.raises(DataError, match="matches no shard; there are 0 files of such a name in"):
        load(pair / "t-*.tar", tmp_path)
    with pytest.raises(ConfigError, match="must close each brace that it opens; it has 1 of"):
        load(f"{pair}/s-{{000..001.tar", tmp_path)
    with pytest.raises(ConfigError, match="names too many shards; there are more than 1,000,000"):
        load(f"{pair}/s-{{0..9999999}}.tar", tmp_path)
    for suffix in (".tar.gz", ".tgz", ".tar.zst"):
        assert kind_of(f"a{suffix}") == "shards"
        with pytest.raises(ConfigError, match=r"must be uncompressed tar shards; members of a \."):
            ShardSource(f"a-*{suffix}")


def test_samples_of_every_sort(tmp_path):
    path = write_tar(
        tmp_path / "s.tar",
        {
            "./a.b/c.d.mask.png": png(1, 1),
            "./a.b/c.png": png(3, 4),
            "./a.b/c.TXT": "not this one",
            "./a.b/c.txt": b"\xef\xbb\xbf a cat \r\n",
            "./a.b/c.cls": "7",
            "a.b/c.mask.png": png(2, 2),
            "README": "no sample",
            ".hidden.png": png(9, 9),
            "e.json": json.dumps({"caption": "from JSON", "tags": ["x", "y"], "cls": 3}),
            "e.JPEG": png(5, 6),
            "f.seg.png": png(7, 8),
            "g.npy": b"never read",
            "g.txt": "no image",
            "h.png": png(1, 1),
            "h.jpg": png(1, 1),
            "i.png": png(1, 2),
            "i.json": "[1]",
            "j.png": png(1, 2),
            "j.json": '{"caption": 5}',
            "k.png": png(1, 2),
            "k.json": '{"x": "\\ud800"}',
            "c.png": b"bad",
        },
    )
    manifest = load(ShardSource(path), tmp_path)
    names = [path.removeprefix(f"{tmp_path}/s.tar/") for path in manifest.paths]
    assert names == ["a.b/c.png", "e.JPEG", "f.seg.png"]
    assert manifest.sizes.tolist() == [[3, 4], [5, 6], [7, 8]]
    assert list(manifest.captions) == ["a cat", "from JSON", ""]
    assert [manifest.value(i, "cls") for i in range(3)] == [7, 3, None]
    assert [manifest.value(i, "tags") for i in range(3)] == [None, ["x", "y"], None]
    beside = {name: manifest.value(0, name) for name in ("mask.png", "d.mask.png")}
    for name, size in {"mask.png": 2, "d.mask.png": 1}.items():
        span = manifest.beside(0, beside[name])
        content = Path(span.file).read_bytes()[span.offset :][: span.length]
        assert content == png(size, size)
    assert manifest.value(1, "mask.png") is None
    reasons = {path.removeprefix(f"{tmp_path}/s.tar/"): reason for path, reason in manifest.refused}
    assert reasons == {
        "g": "its sample has no image, only .npy, .txt",
        "h": "its sample has 2 images, .png, .jpg; set image_column",
        "i.png": "its .json holds no object",
        "j.png": "its 'caption' must be text; it is of type int",
        "k.png": reasons["k.png"],
        "c.png": "not an image in a format that is read (3 bytes)",
    }
    assert reasons["k.png"].startswith("its .json cannot be read: ")
    assert load(ShardSource(path), tmp_path).id == manifest.id


def test_which_member_is_the_image_and_which_the_caption(tmp_path):
    path = write_tar(
        tmp_path / "s.tar",
        {
            "a.png": png(1, 1),
            "a.webp.png": png(2, 2),
            "a.txt": "one",
            "a.long.txt": "a long one",
            "a.json": '{"words": "two", "caption": "three"}',
        },
    )

    def first(**options: Any) -> tuple[list[int], str]:
        manifest = load(ShardSource(path, columns=("none",), **options), tmp_path)
        return manifest.sizes[0].tolist(), manifest.caption(0)

    assert first() == ([1, 1], "one")
    assert first(image_column="webp.png", captions=".long.txt") == ([2, 2], "a long one")
    assert first(captions=None) == ([1, 1], "three")
    assert first(caption_column="words") == ([1, 1], "two")
    assert first(caption_column=None, captions=None) == ([1, 1], "")
    with pytest.raises(ConfigError, match="caption_column='word' is no column"):
        first(caption_column="word")
    with pytest.raises(DataError, match=r"all 1 are refused: 's\.tar/a' \(its sample has no \.jpg"):
        first(image_column="jpg")


def test_a_member_that_is_named_as_the_image_is_it_whatever_its_suffix(tmp_path):
    members = {"a.img": png(3, 4), "a.png": png(1, 1), "a.txt": "one", "b.img": "x", "c.txt": "y"}
    path = write_tar(tmp_path / "s.tar", members)
    manifest = load(ShardSource(path, image_column="img"), tmp_path)
    assert (manifest.sizes.tolist(), manifest.caption(0)) == ([[3, 4]], "one")
    assert manifest.columns == ("png",)
    assert {Path(path).name: reason for path, reason in manifest.refused} == {
        "b.img": "not an image in a format that is read (1 bytes)",
        "c": "its sample has no .img, only .txt",
    }


def add(tar: tarfile.TarFile, name: str, content: bytes | str = b"", kind: bytes = b"0") -> None:
    """A file with such a content; or a link to it, or a folder."""
    info = tarfile.TarInfo(name)
    info.type = kind
    data = content.encode() if isinstance(content, str) else content
    if kind in (tarfile.LNKTYPE, tarfile.SYMTYPE):
        info.linkname = data.decode()
    else:
        info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def test_folders_belong_to_no_sample(tmp_path):
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        add(tar, "./set-1.0", kind=tarfile.DIRTYPE)
        add(tar, "./set-1.0/a.png", png(1, 2))
        add(tar, "./set-1.0/a.parts", kind=tarfile.DIRTYPE)
        add(tar, "./set-1.0/a.txt", "one")
    manifest = load(tmp_path / "s.tar", tmp_path)
    assert (len(manifest), manifest.caption(0), len(manifest.refused)) == (1, "one", 0)


def test_links_to_earlier_members_are_files(tmp_path):
    long = "long" * 30
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        add(tar, f"./{long}/a.png", png(1, 2))
        add(tar, f"./{long}/a.txt", "one")
        add(tar, f"./{long}/a.json", '{"score": 5}')
        add(tar, "./d/b.png", png(3, 4))
        add(tar, "./d/b.txt", f"./{long}/a.txt", tarfile.LNKTYPE)
        add(tar, "./d/b.json", f"../{long}/a.json", tarfile.SYMTYPE)
        add(tar, "./d/c.png", "./d/b.png", tarfile.LNKTYPE)
        add(tar, "./d/c.mask.png", "b.png", tarfile.SYMTYPE)
        add(tar, "./d/c.txt", "./b.txt", tarfile.SYMTYPE)  # a link to a link
        add(tar, "./d/a.png", "./c.png", tarfile.SYMTYPE)
        add(tar, "./d/a.txt", "its own")
        add(tar, "e.png", png(5, 6))
        add(tar, "e.txt", "d/a.txt", tarfile.LNKTYPE)  # a file behind the first link
        add(tar, "f.png", f"./{long}/a.png", tarfile.SYMTYPE)
    manifest = load(tmp_path / "*.tar", tmp_path)
    assert not manifest.refused
    found = {
        path.removeprefix(f"{tmp_path}/s.tar/"): (manifest.read(i), manifest.caption(i))
        for i, path in enumerate(manifest.paths)
    }
    assert found == {
        f"{long}/a.png": (png(1, 2), "one"),
        "d/b.png": (png(3, 4), "one"),
        "d/c.png": (png(3, 4), "one"),
        "d/a.png": (png(3, 4), "its own"),
        "e.png": (png(5, 6), "its own"),
        "f.png": (png(1, 2), ""),
    }
    names = [Path(path).name for path in manifest.paths]
    scores = {name: manifest.value(i, "score") for i, name in enumerate(names) if name != "a.png"}
    assert scores == {"b.png": 5, "c.png": None, "e.png": None, "f.png": None}
    span = manifest.beside(names.index("c.png"), manifest.value(names.index("c.png"), "mask.png"))
    assert Path(span.file).read_bytes()[span.offset :][: span.length] == png(3, 4)
    shard(tmp_path / "t.tar", range(1))
    more = load(tmp_path / "*.tar", tmp_path)  # the first is known, and the order is the same
    assert list(more.paths)[:6] == list(manifest.paths)
    shutil.rmtree(tmp_path / "cache")
    assert load(tmp_path / "*.tar", tmp_path).table.equals(more.table)


def test_a_caption_may_lie_further_on(tmp_path):
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        add(tar, "a.png", png(1, 2))
        add(tar, "a.txt", "b.txt", tarfile.SYMTYPE)
        add(tar, "b.png", png(3, 4))
        add(tar, "b.txt", "two")
    whole = (tmp_path / "s.tar").read_bytes()
    assert list(load(tmp_path / "s.tar", tmp_path).captions) == ["two", "two"]
    (tmp_path / "s.tar").write_bytes(whole[: whole.index(b"two") + 1])  # cut short
    manifest = load(tmp_path / "s.tar", tmp_path)
    assert [path.rpartition("/")[2] for path in manifest.paths] == ["b.png"]
    assert len(manifest.refused) == 2


@pytest.mark.parametrize("suffix", ["txt", "json", "cls"])
@pytest.mark.parametrize("target", ["/etc/hostname", "../a.txt", "none.txt", "b", "d", ""])
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_a_text_that_is_a_link_to_elsewhere_refuses_its_sample(tmp_path, suffix, target, kind):
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        add(tar, "d", kind=tarfile.DIRTYPE)
        add(tar, "a.png", png(1, 2))
        add(tar, "a.txt", "one")
        add(tar, "b.png", png(3, 4))
        add(tar, f"b.{suffix}", target if kind != tarfile.FIFOTYPE else b"", kind)
        add(tar, "c.png", png(5, 6))
        add(tar, "c.txt", "two")
    manifest = load(tmp_path / "s.tar", tmp_path)
    assert list(manifest.captions) == ["one", "two"]
    assert [tuple(each) for each in manifest.refused] == [
        (
            f"{tmp_path}/s.tar/b.png",
            f"its .{suffix} is a link that leads to no file of the shard, or is no plain file",
        )
    ]


def test_members_of_one_name(tmp_path):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name, data in [
            ("a.png", png(1, 1)),
            ("a.png", png(2, 2)),
            ("b.png", png(3, 3)),
            ("a.png", png(4, 4)),
        ]:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("c.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    path = write(tmp_path / "s.tar", content.getvalue())
    manifest = load(path, tmp_path)
    assert [path.removeprefix(f"{tmp_path}/") for path in manifest.paths] == ["s.tar/b.png"]
    assert [tuple(each) for each in manifest.refused] == [
        (f"{tmp_path}/s.tar/a.png", "its sample has .png twice"),
        (f"{tmp_path}/s.tar/a.png (sample 3)", "an earlier sample of the shard has its name"),
        (
            f"{tmp_path}/s.tar/c.png",
            "it is a link that leads to no file of the shard, or is no plain file",
        ),
    ]


def test_fields_of_several_types(tmp_path):
    shard(tmp_path / "a.tar", range(2), x=1, deep={"a": 1})
    shard(tmp_path / "b.tar", range(2), x=1.5, deep={"b": "c"})
    manifest = load(tmp_path / "*.tar", tmp_path)
    assert [manifest.value(i, "x") for i in range(4)] == [1.0, 1.0, 1.5, 1.5]
    assert manifest.value(3, "deep") == {"a": None, "b": "c"}
    shard(tmp_path / "c.tar", range(2), x="one")
    with pytest.raises(DataError, match=r"column 'x' of 3 types that do not go together, int64"):
        load(tmp_path / "*.tar", tmp_path)
    assert load(ShardSource(tmp_path / "*.tar", columns=("deep", "none")), tmp_path).columns == (
        "deep",
    )
    mixed = {k: v for i, x in enumerate((1, "one")) for k, v in sample(i, x=x).items()}
    write_tar(tmp_path / "c.tar", mixed)
    with pytest.raises(DataError, match=r"values in the field 'x' that do not go together, in the"):
        load(tmp_path / "c.tar", tmp_path)


def test_a_field_never_says_where_an_image_lies(tmp_path):
    secret = write(tmp_path / "secret.png", png(9, 9))
    fields = json.dumps({"container": str(secret), "offset": 0, "bytes": 60})
    path = write_tar(tmp_path / "s.tar", {"a.png": png(3, 4), "a.json": fields})
    with pytest.raises(DataError, match=r"s\.tar' has a column 'container', a name that"):
        load(path, tmp_path)
    manifest = load(ShardSource(path, columns=()), tmp_path)
    assert manifest.read(0) == png(3, 4)


def test_sizes_of_the_shards_own(tmp_path):
    path = write_tar(
        tmp_path / "s.tar",
        {
            "a.png": png(3, 4),
            "a.json": '{"height": 3, "width": 4.0}',
            "b.png": png(5, 6),
            "b.json": '{"height": null, "width": "wide"}',
        },
    )
    assert load(path, tmp_path).sizes.tolist() == [[3, 4], [5, 6]]
    wrong = write_tar(
        tmp_path / "t.tar", {"a.png": png(3, 4), "a.json": '{"height": 4, "width": 3}'}
    )
    with pytest.raises(DataError, match="1 of 1 that were looked at differ"):
        load(wrong, tmp_path)


def test_damaged_shards_are_named_and_what_is_whole_is_used(pair, tmp_path):
    whole = (pair / "s-001.tar").read_bytes()
    with tarfile.open(pair / "s-001.tar") as tar:
        second = tar.getmember("0004.png").offset_data
    for content, reason, images in [
        (whole[: second + 10], "cut short: '0004.png' would end ", 4),
        (whole[: second - 400], "damaged or cut short 3,072 bytes from its beginning: ", 4),
        (b"", "empty: 0 bytes", 3),
        (b"text" * 999, "no tar archive: ", 3),
        (gzip.compress(whole), "compressed with gzip, so its members cannot be read at random", 3),
        (bytes(10240), "an empty archive", 3),
        (whole[:3072] + bytes(2**21), "cut short: 2,097,152 zeros, from 3,072 bytes from its ", 4),
        (whole.rstrip(b"\0") + bytes(2**21), "cut short: ", 5),
        (whole * 2, "goes on behind its end, ", 5),
        (whole + b"text", "goes on behind its end, ", 5),
        (whole[:3072] + bytes(512) + whole[3072:], "goes on behind its end, 3,072 bytes from ", 4),
    ]:
        (pair / "s-001.tar").write_bytes(content)
        manifest = load(pair / "*.tar", tmp_path)
        assert len(manifest) == images, reason
        assert [each.path for each in manifest.refused] == [f"{pair}/s-001.tar"]
        assert manifest.refused[0].reason.startswith(reason)
    (pair / "s-001.tar").write_bytes(whole)
    assert len(load(pair / "*.tar", tmp_path)) == 5
    (pair / "s-001.tar").write_bytes(whole + bytes(2**19))  # writers fill up as they like
    assert (len(manifest := load(pair / "*.tar", tmp_path)), len(manifest.refused)) == (5, 0)


def test_little_is_read_behind_the_end_of_a_shard(pair):
    class Watched(MemoryContent):
        furthest = 0

        def pread(self, offset: int, length: int) -> bytes:
            self.furthest = max(self.furthest, offset + length)
            return super().pread(offset, length)

    whole = (pair / "s-001.tar").read_bytes()
    archive = Watched(whole + bytes(2**24))
    with pytest.raises(TarError, match="cut short"):
        list(members(archive))
    assert archive.furthest < len(whole) + 2**21


# ------------------------------------------------------------------ two starts


def test_unchanged_shards_are_not_indexed_again(pair, tmp_path, monkeypatch):
    indexed: list[str] = []
    real = shards.index

    def spy(archive, name, *args, **options):
        indexed.append(name)
        return real(archive, name, *args, **options)

    monkeypatch.setattr(shards, "index", spy)
    first = load(pair / "*.tar", tmp_path)
    assert indexed == ["s-000.tar", "s-001.tar"]
    indexed.clear()
    assert load(pair / "*.tar", tmp_path).id == first.id
    assert indexed == []
    shard(pair / "s-002.tar", range(5, 7), score=0.5)
    second = load(pair / "*.tar", tmp_path)
    assert indexed == ["s-002.tar"]
    assert [second.value(i, "score") for i in range(7)] == [1, 1, 1, 2, 2, 0.5, 0.5]
    assert second.sizes.tolist() == [[10 + i, 20 + i] for i in range(7)]
    (pair / "s-002.tar").unlink()
    indexed.clear()
    third = load(pair / "*.tar", tmp_path)
    assert indexed == []
    assert third.table.equals(first.table)  # the numbers are whole again
    write_tar(pair / "s-000.tar", sample(9))
    fourth = load(pair / "*.tar", tmp_path)
    assert indexed == ["s-000.tar"]
    assert [fourth.read(i) for i in range(3)] == [png(19, 29), png(13, 23), png(14, 24)]
