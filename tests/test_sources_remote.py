"""Sources on other machines: fsspec's file system in memory, and a web server on this machine."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from places import encoded, png, served, write, write_images, write_lines, write_tar

from lit_buckets.errors import ConfigError, DataError
from lit_buckets.manifest import Manifest
from lit_buckets.scan import scan
from lit_buckets.sources import FolderSource, ImageFolderSource, ShardSource, TableSource, kind_of
from lit_buckets.storage import Span, read, remote, stamp
from lit_buckets.storage.remote import RemoteContent

SIZES = {"b/c.png": (3, 4), "a.png": (5, 6), "b-d.png": (7, 8), "b/a/e.png": (9, 9)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Images, two of them with captions, and files that are none."""
    root = write_images(tmp_path / "root", {**SIZES, ".hidden.png": (1, 1), ".git/x.png": (1, 1)})
    write(root / "a.txt", "an ay\n")
    write(root / "b/c.txt", b"\xef\xbb\xbfa sea")
    write(root / "notes.txt", "no caption")
    return root


@pytest.fixture
def memory(root: Path) -> Iterator[str]:
    """The same in memory."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    for file in root.rglob("*"):
        if file.is_file():
            system.pipe(f"/photos/{file.relative_to(root)}", file.read_bytes())
    yield "memory://photos"
    system.store.clear()


@pytest.fixture
def web(root: Path) -> Iterator[tuple[str, list[Any]]]:
    with served(root) as server:
        yield server


def load(source: Any, tmp_path: Path) -> Manifest:
    return scan(source, cache_dir=tmp_path / "cache")


def told(manifest: Manifest) -> list[tuple[str, list[int], str, bytes]]:
    """All that training gets to know of the images."""
    root = manifest.sources[0]["root"]
    return [
        (path.removeprefix(f"{root}/"), size, caption, manifest.read(i))
        for i, (path, size, caption) in enumerate(
            zip(manifest.paths, manifest.sizes.tolist(), manifest.captions, strict=True)
        )
    ]


# ------------------------------------------------------------------ bytes


@given(st.binary(min_size=1, max_size=3000), st.data())
@settings(deadline=None, max_examples=50)
def test_remote_bytes_are_those_of_the_file(content, data):
    fsspec.filesystem("memory").pipe("/bytes", content)
    offset = data.draw(st.integers(0, len(content) - 1))
    length = data.draw(st.integers(0, len(content) - offset))
    part = content[offset : offset + length]
    assert read(Span("memory://bytes", offset, length)) == part
    assert read(Span("memory://bytes", offset)) == content[offset:]
    far = RemoteContent("memory://bytes", offset, length)
    remote_range = data.draw(st.integers(1, 300))
    for module_name, value in (("_RANGE", remote_range), ("_LARGEST", 4 * remote_range)):
        setattr(remote, module_name, value)
    try:
        for _ in range(data.draw(st.integers(1, 9))):
            at, count = data.draw(st.integers(0, 3100)), data.draw(st.integers(0, 900))
            assert far.pread(at, count) == part[at : at + count]
        assert (far.length, RemoteContent("memory://bytes").length) == (length, len(content))
    finally:
        remote._RANGE, remote._LARGEST = 2**16, 2**22


def test_what_ends_too_soon_or_is_not_there():
    fsspec.filesystem("memory").pipe("/short", b"0123")
    with pytest.raises(OSError, match="ends 2 bytes before what was to be read"):
        read(Span("memory://short", 2, 4))
    for ask in (read, stamp):
        with pytest.raises(FileNotFoundError) as error:
            ask(Span("memory://none"))
        assert error.value.strerror == "No such file or directory"


def test_a_server_that_fails_is_asked_again(monkeypatch):
    fsspec.filesystem("memory").pipe("/file", b"0123")
    failures = [RuntimeError("busy\nsorry"), TimeoutError()]
    real = fsspec.implementations.memory.MemoryFileSystem.cat_file

    def flaky(*args, **options):
        if failures:
            raise failures.pop()
        return real(*args, **options)

    monkeypatch.setattr(fsspec.implementations.memory.MemoryFileSystem, "cat_file", flaky)
    assert remote._tried("memory://file", lambda s, p: s.cat_file(p), (0, 0)) == b"0123"
    lost = FileNotFoundError("memory://file")
    lost.__cause__ = ConnectionError("no answer")
    failures = [lost, lost]
    assert remote._tried("memory://file", lambda s, p: s.cat_file(p), (0, 0)) == b"0123"
    failures = [RuntimeError("busy\nsorry")] * 3
    with pytest.raises(OSError, match="busy sorry") as error:
        remote._tried("memory://file", lambda s, p: s.cat_file(p), (0, 0))
    assert error.value.errno is not None
    assert not failures


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({"size": 5, "mtime": 2.5}, (5, 2_500_000_000)),
        ({"size": 5, "created": datetime(1970, 1, 1, 0, 0, 1)}, (5, 10**9)),
        (
            {"size": 5, "LastModified": datetime(1970, 1, 1, 0, 0, 2, tzinfo=timezone.utc)},
            (5, 2 * 10**9),
        ),
        ({"size": None}, (-1, 0)),
    ],
)
def test_stamps(info, expected):
    assert remote._stamped(info) == expected
    tagged = [remote._stamped({**info, "ETag": tag})[1] for tag in ("a", "b", "a")]
    assert tagged[0] == tagged[2] != tagged[1]
    assert 0 <= min(tagged) <= max(tagged) < 2**63
    text = remote._stamped({"size": 1, "Last-Modified": "Tue, 24 Nov 2026 20:00:00 GMT"})[1]
    assert text not in (0, *tagged)


@pytest.mark.parametrize(
    ("url", "message"),
    [("nowhere://x", "Protocol not known: nowhere. Use a"), ("s3://bucket/x", "Install s3fs")],
)
def test_protocols_that_cannot_be_used(url, message, tmp_path):
    if url.startswith("s3") and importlib.util.find_spec("s3fs") is not None:
        pytest.skip("s3fs is installed")
    with pytest.raises(DataError, match=rf"path='{url}' cannot be opened: .*{message}"):
        load(url, tmp_path)


@pytest.mark.parametrize("path", ["zip://::/data/x.zip", "simplecache::tar://a::s3://b/x.tar"])
def test_an_archive_is_no_folder(path, tmp_path):
    with pytest.raises(ConfigError, match="must not lead into a file"):
        scan(path, cache_dir=tmp_path)


# ------------------------------------------------------------------ folders


@pytest.mark.parametrize("place", ["memory", "web"])
def test_a_remote_folder_lists_what_a_local_one_does(root, tmp_path, place, request):
    url = request.getfixturevalue(place)
    url = url if isinstance(url, str) else url[0]
    assert kind_of(url) == "folder"
    local, far = load(root, tmp_path), load(url, tmp_path)
    assert told(far) == told(local)
    assert [path for path, *_ in told(far)] == ["a.png", "b-d.png", "b/a/e.png", "b/c.png"]
    assert far.path(0) == f"{url}/a.png"
    assert far.fingerprint == local.fingerprint
    assert load(url, tmp_path).id == far.id
    part = FolderSource(url, include=("b*",), exclude=("a/",), captions=None)
    assert [path for path, *_ in told(load(part, tmp_path))] == ["b-d.png", "b/c.png"]
    both = load([url, FolderSource(f"{url}/b", repeats=3)], tmp_path)
    assert both.repeats.tolist() == [1, 1, 3, 3]


@pytest.mark.parametrize("place", ["memory", "web"])
def test_changes_of_a_remote_folder(root, tmp_path, place, request):
    url = request.getfixturevalue(place)
    url = url if isinstance(url, str) else url[0]

    def put(name: str, content: bytes) -> None:
        if place == "memory":
            fsspec.filesystem("memory").pipe(f"/photos/{name}", content)
        write(root / name, content)

    first = load(url, tmp_path)
    put("a.png", png(50, 60))
    put("a.txt", b"another")
    put("b/a/new.png", png(7, 7))
    second = load(url, tmp_path)
    assert told(second) == told(load(root, tmp_path))
    assert second.sizes.tolist()[0] == [50, 60]
    assert second.caption(0) == "another"
    assert len(first) + 1 == len(second)


def test_a_folder_that_is_not_there(web, memory, tmp_path):
    for url in (f"{web[0]}/none", "memory://none"):
        with pytest.raises(DataError, match=rf"path='{url}' cannot be listed: "):
            load(url, tmp_path)


def test_strange_names_on_a_web_server(tmp_path):
    names = ["with space.png", "ü/日本.png", "50%.png", "a#b.png", "what?.png", "p+q&r.png"]
    root = write_images(tmp_path / "root", {name: (3 + i, 4) for i, name in enumerate(names)})
    for name in names:
        write((root / name).with_suffix(".txt"), name)
    with served(root) as (url, _):
        manifest = load(url, tmp_path)
        assert {*manifest.captions} == {*names}
        assert not manifest.refused
        table = write_lines(tmp_path / "t.jsonl", [{"path": name, "text": name} for name in names])
        named = load(TableSource(table, image_root=url), tmp_path)
        assert [named.read(i) for i in range(6)] == [(root / name).read_bytes() for name in names]


@pytest.mark.parametrize("folder", ["", "set#1/", "why?/"])
def test_strange_names_in_a_store(memory, tmp_path, folder):
    system = fsspec.filesystem("memory")
    names = [f"{folder}{name}.png" for name in ("n#1", "plain", "q?", "50%23", "p&q;r", "a#b?c=d")]
    names += [f"{folder}x#?/{i}#.png" for i in range(30)]
    for i, name in enumerate(names):
        system.pipe(f"/strange/{name}", png(3 + i, 4))
        system.pipe(f"/strange/{name.removesuffix('.png')}.txt", name.encode())
    manifest = load("memory://strange", tmp_path)
    assert {*manifest.captions} == {*names}
    for some in (names[:4], names):  # asked for one by one, and listed
        rows = [{"path": name, "text": name} for name in [*some, f"{folder}gone#.png"]]
        table = write_lines(tmp_path / "t.jsonl", rows)
        named = load(TableSource(table, image_root="memory://strange"), tmp_path)
        assert list(named.captions) == some
        assert named.sizes.tolist() == [[3 + i, 4] for i in range(len(some))]
        assert [named.read(i) for i in range(len(some))] == [
            system.cat_file(f"/strange/{name}") for name in some
        ]
        assert [path for path, _ in named.refused] == [f"memory://strange/{folder}gone#.png"]


def test_names_that_a_protocol_cannot_tell(memory, tmp_path, monkeypatch):
    system = fsspec.filesystem("memory")
    for name in ("?/a.png", "b?c.png", "a?/d.png", "n#1.png"):
        system.pipe(f"/photos/{name}", png(9, 9))
    real = type(system)._strip_protocol
    monkeypatch.setattr(
        type(system), "_strip_protocol", staticmethod(lambda path: real(path.partition("?")[0]))
    )
    paths = [path for path, *_ in told(load(memory, tmp_path))]
    assert paths == ["a.png", "b-d.png", "b/a/e.png", "b/c.png", "n#1.png"]


def test_names_on_a_web_server_that_look_like_urls(tmp_path):
    names = ["http.png", "https/http/z.png", "https_logo.png", "httpd-1.png"]
    root = write_images(tmp_path / "root", {name: (3 + i, 4) for i, name in enumerate(names)})
    for name in names:
        write((root / name).with_suffix(".txt"), name)
    with served(root) as (url, _):
        assert sorted(told(load(url, tmp_path))) == sorted(told(load(root, tmp_path)))


@pytest.mark.parametrize("below", ["", "/two words/ü", "/b/../two words/ü"])
def test_links_of_a_web_page(tmp_path, below):
    root = tmp_path / "root"
    with served(root) as (url, _):
        here = f"{url}/two%20words/%C3%BC" if below else url
        links = ["./b.png", f"{here}/c.png", f"{here.removeprefix(url)}/d.png", " e.png ", "./f/"]
        links += ["b.png", "B.png", "g&amp;h.png", "with space.png", "i%23j%3F.png", "%C3%BC.png"]
        links += ["日本.png", "http.png", ".", "./", "../", "..", "/", "", "//[", "?C=N;O=D", "#a"]
        links += ["a.png?full", "a.png#part", "f/a.png", "../z/a.png", "/x/a.png", "mailto:a@b.png"]
        links += ["http://example.org/a.png", "//example.org/a.png", f"{url}0/a.png", "x/../k.png"]
        page = "".join(f'<A class=x\nHREF="{link}">a.png</A> {url}/a.png\n' for link in links)
        unlike = "<!-- <a href='a.png'> --><a>a.png</a><a href><img src='a.png'><link href='a.png'>"
        folder = root / below.replace("/b/..", "").lstrip("/")
        write(folder / "index.html", f"{unlike}{page}<a href=l.png><a href='m.png'>")
        found = remote.found_in(url + below)
        names = ["b.png", "c.png", "d.png", "e.png", "B.png", "g&h.png", "with space.png"]
        names += ["i%23j%3F.png", "%C3%BC.png", "日本.png", "http.png", "k.png", "l.png", "m.png"]
        assert sorted(each.name for each in found if not each.is_folder) == sorted(names)
        assert [each.name for each in found if each.is_folder] == ["f"]
        assert {each[2:] for each in found} == {(-1, 0)}
        assert {*remote.found_in(f"simplecache::{url}{below}")} == {*found}
        write(folder / "index.html", b"\xff\x00<a href='a.png'><![ <!x <a href=")
        assert [each.name for each in remote.found_in(url + below)] == ["a.png"]


# ------------------------------------------------------------------ no more than is needed


@pytest.fixture(scope="module")
def large() -> dict[str, bytes]:
    noise = np.random.default_rng(0).integers(0, 255, (400, 500, 3), dtype=np.uint8)
    return {
        f"a.{kind}": encoded(Image.fromarray(noise), name)
        for kind, name in {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "bmp": "BMP"}.items()
    }


def test_headers_cost_the_first_part_of_a_file(tmp_path, large):
    for name, content in large.items():
        write(tmp_path / "root" / name, content)
    with served(tmp_path / "root") as (url, log):
        manifest = load(url, tmp_path)
        assert manifest.sizes.tolist() == [[400, 500]] * 4
        wanted = [(path, ranges) for verb, path, ranges in log if verb == "GET" and path != "/"]
        first = [(f"/a.{kind}", "bytes=0-65535") for kind in ("bmp", "jpg", "png", "webp")]
        assert [each for each in wanted if each[1].startswith("bytes=0-")] == first
        # behind a PNG's pixels there may be metadata that turn it
        assert {path for path, ranges in wanted if (path, ranges) not in first} <= {"/a.png"}
        log.clear()
        assert load(url, tmp_path).id == manifest.id
        assert [verb for verb, path, _ in log if path != "/"] == ["HEAD"] * 4


def test_a_server_without_ranges(tmp_path, large):
    for name, content in large.items():
        write(tmp_path / "root" / name, content)
    write_tar(tmp_path / "root/s.tar", large)
    with served(tmp_path / "root", ranges=False) as (url, _):
        assert load(url, tmp_path).sizes.tolist() == [[400, 500]] * 4
        source = ShardSource(f"{url}/s.tar", image_column="png")
        shard = load(source, tmp_path)
        assert shard.read(0) == large["a.png"]


# ------------------------------------------------------------------ tables and shards


@pytest.mark.parametrize("place", ["memory", "web"])
def test_remote_tables_and_image_folders(root, tmp_path, place, request):
    url = request.getfixturevalue(place)
    url = url if isinstance(url, str) else url[0]
    rows = [{"file_name": name, "text": name.upper()} for name in [*SIZES, "gone.png"]]
    rows += [{"file_name": f"b/../{name}"} for name in SIZES]
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    write(root / "metadata.jsonl", content)
    fsspec.filesystem("memory").pipe("/photos/metadata.jsonl", content)
    assert kind_of(f"{url}/metadata.jsonl") == "table"
    for source in (f"{url}/metadata.jsonl", ImageFolderSource(url)):
        far = load(source, tmp_path)
        assert far.sizes.tolist() == [list(size) for size in SIZES.values()]
        assert list(far.captions) == [name.upper() for name in SIZES]
        assert far.read(1) == (root / "a.png").read_bytes()
        assert far.refused[0] == (f"{url}/gone.png", "cannot be opened: No such file or directory")
        assert len(far.refused) == 1 + len(SIZES)
        assert load(source, tmp_path).id == far.id
    local = load(TableSource(root / "metadata.jsonl", image_root=url), tmp_path)
    assert told(local) == told(far)


@pytest.mark.parametrize(
    "error", [PermissionError("no listing"), RuntimeError("busy"), FileNotFoundError("none")]
)
def test_a_table_in_folders_that_may_not_be_listed(memory, tmp_path, monkeypatch, error):
    names = [*SIZES, *(f"b/{i}.png" for i in range(30))]
    for i in range(30):
        fsspec.filesystem("memory").pipe(f"/photos/b/{i}.png", png(7, 7))
    table = write_lines(tmp_path / "t.jsonl", [{"path": name} for name in [*names, "b/gone.png"]])
    real = fsspec.implementations.memory.MemoryFileSystem.ls
    listed = []

    def ls(system, path, **options):
        listed.append(path)
        if path.endswith("/b"):
            raise error
        return real(system, path, **options)

    monkeypatch.setattr(fsspec.implementations.memory.MemoryFileSystem, "ls", ls)
    monkeypatch.setattr(remote.time, "sleep", lambda _: None)
    manifest = load(TableSource(table, image_root=memory), tmp_path)
    assert "/photos/b" in listed
    reason = "cannot be opened: No such file or directory"
    lost = [name for name in names if re.fullmatch(r"b/[^/]+", name)]
    lost = [*(lost if isinstance(error, FileNotFoundError) else []), "b/gone.png"]
    assert [tuple(each) for each in manifest.refused] == [(f"{memory}/{x}", reason) for x in lost]
    assert list(manifest.paths) == [f"{memory}/{name}" for name in names if name not in lost]


def test_a_table_with_a_signature(root, web, tmp_path):
    url, log = web
    write(root / "t.csv", "path\na.png\n")
    signed = f"{url}/t.csv?signature=x/y"
    assert kind_of(signed) == "table"
    assert kind_of("https://host/photos?x=t.csv") == "folder"
    manifest = load(signed, tmp_path)
    assert [*manifest.paths] == [f"{url}/a.png"]
    assert manifest.sizes.tolist() == [[5, 6]]
    log.clear()
    again = load(f"{url}/t.csv?signature=z", tmp_path)  # of another day
    assert again.sizes.tolist() == [[5, 6]]
    assert not [each for each in log if "GET" in str(each) and "a.png" in str(each)]
    assert any("t.csv" in str(each) for each in log)


def test_urls_in_a_table(web, root, tmp_path):
    rows = [{"path": f"{web[0]}/a.png"}, {"path": "b/c.png"}, {"path": f"{web[0]}/none.png"}]
    table = write_lines(root / "t.jsonl", rows)
    with pytest.raises(DataError, match="all 1 are refused"):
        load(write_lines(root / "u.jsonl", rows[:1]), tmp_path)
    source = TableSource(table, allow_outside=True)
    manifest = load(source, tmp_path)
    assert manifest.sizes.tolist() == [[5, 6], [3, 4]]
    assert manifest.path(0) == f"{web[0]}/a.png"
    assert [manifest.read(i) for i in range(2)] == [png(5, 6), png(3, 4)]
    assert manifest.refused[0].path == f"{web[0]}/none.png"
    assert load(source, tmp_path).id == manifest.id


def samples(*numbers: int) -> dict[str, bytes | str]:
    members: dict[str, bytes | str] = {}
    for i in numbers:
        members |= {f"{i}.png": png(10 + i, 20 + i), f"{i}.txt": f"picture {i}"}
        members[f"{i}.npy"] = bytes(100_000)  # never fetched for its own sake
    return members


@pytest.mark.parametrize("place", ["memory", "web"])
def test_remote_shards(tmp_path, place):
    system = fsspec.filesystem("memory")
    files = {"s-0.tar": samples(0, 1), "s-1.tar": samples(2, 3)}
    for name, members in files.items():
        write_tar(tmp_path / "root" / name, members)
        system.pipe(f"/shards/{name}", (tmp_path / "root" / name).read_bytes())
    with served(tmp_path / "root") as (web, log):
        url = f"{web}/s-{{0..1}}.tar" if place == "web" else "memory://shards/s-*.tar"
        manifest = load(url, tmp_path)
        assert [manifest.read(i) for i in range(4)] == [png(10 + i, 20 + i) for i in range(4)]
        assert manifest.sizes.tolist() == [[10 + i, 20 + i] for i in range(4)]
        assert list(manifest.captions) == [f"picture {i}" for i in range(4)]
        log.clear()
        assert load(url, tmp_path).id == manifest.id
        if place == "web":
            assert [(verb, path) for verb, path, _ in sorted(log)] == [
                ("HEAD", "/s-0.tar"),
                ("HEAD", "/s-1.tar"),
            ]
        write_tar(tmp_path / "root/s-1.tar", samples(4))
        os.utime(tmp_path / "root/s-1.tar", ns=(1, 1))
        system.pipe("/shards/s-1.tar", (tmp_path / "root/s-1.tar").read_bytes())
        log.clear()
        changed = load(url, tmp_path)
        assert [changed.read(i) for i in range(3)] == [png(10 + i, 20 + i) for i in (0, 1, 4)]
        fetched = {path for verb, path, ranges in log if verb == "GET" and ranges}
        assert place == "memory" or "/s-1.tar" in fetched
    system.store.clear()


def test_a_shard_that_cannot_be_fetched_is_named(web, tmp_path):
    write_tar(tmp_path / "root/s-0.tar", samples(0))
    manifest = load(f"{web[0]}/s-{{0..1}}.tar", tmp_path)
    assert len(manifest) == 1
    assert [tuple(each) for each in manifest.refused] == [
        (f"{web[0]}/s-1.tar", "cannot be opened: No such file or directory")
    ]
