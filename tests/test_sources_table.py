"""Tables of images: CSV, JSON lines, Parquet, and the folders of Hugging Face's ImageFolder."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from PIL import Image
from places import encoded, image_column, png, write, write_images, write_lines

from lit_buckets.errors import ConfigError, DataError
from lit_buckets.manifest import Manifest
from lit_buckets.scan import reading, scan
from lit_buckets.sources import ImageFolderSource, TableSource, kind_of

SIZES = {"a.png": (3, 4), "sub/b.png": (5, 6), "c d.png": (7, 8)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_images(tmp_path / "root", SIZES)


@pytest.fixture
def again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Scan, and tell which images were opened."""
    opened: list[str] = []
    real = reading._jobs

    def spy(*args):
        for batch in real(*args):
            opened.extend(Path(job.image).name for job in batch if job.image)
            yield batch

    monkeypatch.setattr(reading, "_jobs", spy)

    def run(source) -> tuple[Manifest, list[str]]:
        opened.clear()
        return scan(source, cache_dir=tmp_path / "cache"), list(opened)

    return run


def refusals(manifest: Manifest) -> dict[str, str]:
    root = manifest.sources[0]["root"]
    return {path.removeprefix(f"{root}/"): reason for path, reason in manifest.refused}


# ------------------------------------------------------------------ the three ways to write one


def as_csv(path: Path, table: pa.Table) -> Path:
    pyarrow.csv.write_csv(table, path)
    return path


def as_tsv(path: Path, table: pa.Table) -> Path:
    pyarrow.csv.write_csv(table, path, pyarrow.csv.WriteOptions(delimiter="\t"))
    return path


def as_lines(path: Path, table: pa.Table) -> Path:
    return write_lines(path, table.to_pylist())


def as_parquet(path: Path, table: pa.Table) -> Path:
    pyarrow.parquet.write_table(table, path)
    return path


@pytest.mark.parametrize(
    ("suffix", "written"),
    [
        (".csv", as_csv),
        (".tsv", as_tsv),
        (".jsonl", as_lines),
        (".NDJSON", as_lines),
        (".parquet", as_parquet),
    ],
)
def test_every_way_to_write_a_table_gives_the_same(root, tmp_path, suffix, written):
    table = pa.table(
        {
            "path": ["sub/b.png", "c d.png", "a.png"],
            "caption": ['one, "two"\nthree', "1984", None],
            "score": [0.5, 1.25, -2.0],
            "day": ["2026-01-02", "2026-01-03", "2026-01-04"],
            "count": [1, 2, None],
        }
    )
    manifest = scan(written(root / f"t{suffix}", table), cache_dir=tmp_path / "cache")
    assert list(manifest.paths) == [f"{root}/{name}" for name in ("sub/b.png", "c d.png", "a.png")]
    assert list(manifest.captions) == ['one, "two"\nthree', "1984", ""]
    assert manifest.sizes.tolist() == [[5, 6], [7, 8], [3, 4]]
    assert sorted(manifest.columns) == ["count", "day", "score"]
    assert manifest.numbers == {"score"}
    assert [manifest.value(i, "day") for i in range(3)] == [
        "2026-01-02",
        "2026-01-03",
        "2026-01-04",
    ]
    assert [manifest.value(i, "count") for i in range(3)] == [1, 2, None]
    assert manifest.table.column("measured").to_pylist() == [True] * 3


def test_names_of_columns_are_found_or_given(root, tmp_path):
    rows = [{"file_name": name, "text": f"{i}", "x": i} for i, name in enumerate(SIZES)]
    manifest = scan(write_lines(root / "t.jsonl", rows), cache_dir=tmp_path / "c1")
    assert (list(manifest.captions), manifest.columns) == (["0", "1", "2"], ("x",))
    odd = [{"bild": r["file_name"], "worte": r["text"], "y": 1, "z": 2} for r in rows]
    path = write_lines(root / "odd.jsonl", odd)
    source = TableSource(path, image_column="bild", caption_column="worte", columns=("z",))
    manifest = scan(source, cache_dir=tmp_path / "c2")
    assert (list(manifest.captions), manifest.columns) == (["0", "1", "2"], ("z",))
    none = TableSource(path, image_column="bild", caption_column=None, columns=("worte",))
    manifest = scan(none, cache_dir=tmp_path / "c3")
    assert (list(manifest.captions), manifest.value(1, "worte")) == (["", "", ""], "1")


@pytest.mark.parametrize(
    ("row", "options", "message"),
    [
        (
            {"bild": "a.png"},
            {},
            "has no column 'path', 'file_name', 'image'; it has 1: 'bild'. Set image_column",
        ),
        (
            {"path": "a.png", "file_name": "a.png"},
            {},
            r"image_column='auto' leaves open .* has 2 that may be: 'path', 'file_name'\. Set",
        ),
        ({"path": "a.png", "caption": "a", "text": "b"}, {}, "caption_column='auto' leaves open"),
        (
            {"path": "a.png", "words": "a"},
            {"caption_column": "word"},
            r"caption_column='word' is no column of path=.*; it has 2: .*\. Did you mean 'words'\?",
        ),
        ({"path": "a.png", "x": 1}, {"columns": ("y",)}, "columns='y' is no column"),
        ({"path": "a.png", "height": 3}, {}, "a column 'height' but none for the width; one side"),
        (
            {"path": "a.png", "source": "web"},
            {},
            r"has a column 'source', a name that .* Rename it",
        ),
        ({"path": "a.png", "index": 1}, {}, "has a column 'index', a name that the batches"),
        ({"path": "a.png", "caption": [1]}, {}, r"cannot be read as a table: .*caption"),
        ({"path": 5}, {}, "cannot be read as a table"),
        (
            {"path": "a.png", "height": "3", "width": "x"},
            {},
            "holds no whole numbers of pixels in the column 'width'",
        ),
    ],
)
def test_columns_that_do_not_fit(root, tmp_path, row, options, message):
    source = TableSource(write_lines(root / "t.jsonl", [row]), **options)
    with pytest.raises((ConfigError, DataError), match=message):
        scan(source, cache_dir=tmp_path / "cache")


def test_a_column_of_a_taken_name_may_be_left_out(root, tmp_path):
    path = write_lines(root / "t.jsonl", [{"path": "a.png", "source": "web", "x": 1}])
    manifest = scan(TableSource(path, columns=("x",)), cache_dir=tmp_path / "cache")
    assert manifest.columns == ("x",)


def test_tables_that_are_none(root, tmp_path):
    for name, content in {"a.csv": "", "b.jsonl": '{"path":', "c.parquet": "PAR1"}.items():
        with pytest.raises(DataError, match=rf"{name}' cannot be read as a table: .+\. Correct"):
            scan(write(root / name, content), cache_dir=tmp_path / "cache")
    with pytest.raises(DataError, match="names no image: it has 0 rows"):
        scan(write(root / "d.csv", "path,caption\n"), cache_dir=tmp_path / "cache")
    with pytest.raises(DataError, match="more than one of them named 'path'"):
        scan(write(root / "e.csv", "path,path\na.png,a.png\n"), cache_dir=tmp_path / "cache")
    with pytest.raises(DataError, match="No such file"):
        scan(TableSource(root / "none.csv"), cache_dir=tmp_path / "cache")
    with pytest.raises(ConfigError, match=r"must be a table; its suffix is none of the 5 known"):
        TableSource(root / "t.txt")
    images = pa.table({"image": image_column([png(3, 4)])})
    with pytest.raises(DataError, match=r"holds struct<.*Save it with save_to_disk"):
        scan(as_parquet(root / "f.parquet", images), cache_dir=tmp_path / "cache")
    files = pa.table({"path": ["a.png"], "mask": image_column([png(3, 4)])})
    with pytest.raises(DataError, match="holds files themselves in the column 'mask'"):
        scan(as_parquet(root / "g.parquet", files), cache_dir=tmp_path / "cache")


# ------------------------------------------------------------------ rows that are refused


def test_rows_without_a_good_file_are_refused_by_name(root, tmp_path):
    out = write_images(tmp_path / "out", {"x.png": (9, 9), "deep/y.png": (9, 9)})
    (root / "link.png").symlink_to(out / "x.png")
    (root / "linked").symlink_to(out / "deep")
    (root / "inner.png").symlink_to(root / "a.png")
    (root / "folder.png").mkdir()
    write(root / "bad.png", b"bad")
    paths = [
        *("a.png", "./a.png", "", "gone.png", "../out/x.png", str(out / "x.png"), "sub/../a.png"),
        *(
            "http://127.0.0.1/x.png",
            "link.png",
            "linked/y.png",
            "inner.png",
            "folder.png",
            "bad.png",
        ),
    ]
    table = as_parquet(root / "t.parquet", pa.table({"path": [*paths, None]}))
    manifest = scan(table, cache_dir=tmp_path / "cache")
    assert list(manifest.paths) == [f"{root}/a.png", f"{root}/inner.png"]
    outside = "its path may lead out of the source's root; allow_outside would allow it"
    link = "a link that leads out of the source's root; allow_outside would allow it"
    found = dict(manifest.refused)
    assert found == {
        f"{root}/a.png (row 2)": "row 1 of the table names it already",
        f"{root}/(row 3)": "its row of the table names no file",
        f"{root}/gone.png": "cannot be opened: No such file or directory",
        f"{root}/../out/x.png": outside,
        f"{out}/x.png": outside,
        f"{root}/sub/../a.png": outside,
        "http://127.0.0.1/x.png": outside,
        f"{root}/link.png": link,
        f"{root}/linked/y.png": link,
        f"{root}/folder.png": "not a file",
        f"{root}/bad.png": "not an image in a format that is read (3 bytes)",
        f"{root}/(row 14)": "its row of the table names no file",
    }
    assert scan(table, cache_dir=tmp_path / "cache").id == manifest.id


def test_what_lies_outside_may_be_allowed(root, tmp_path):
    out = write_images(tmp_path / "out", {"x.png": (9, 9), "y.png": (8, 8)})
    (root / "link.png").symlink_to(out / "y.png")
    rows = [{"path": path} for path in ("../out/x.png", str(out / "y.png"), "link.png", "a.png")]
    source = TableSource(write_lines(root / "t.jsonl", rows), allow_outside=True)
    manifest = scan(source, cache_dir=tmp_path / "cache")
    assert not manifest.refused
    assert manifest.sizes.tolist() == [[9, 9], [8, 8], [8, 8], [3, 4]]
    assert manifest.path(1) == f"{out}/y.png"
    assert manifest.read(0) == (out / "x.png").read_bytes()
    assert scan(source, cache_dir=tmp_path / "cache").id == manifest.id


def test_paths_may_begin_elsewhere(root, tmp_path):
    table = write_lines(tmp_path / "tables/t.jsonl", [{"path": "sub/b.png"}])
    manifest = scan(TableSource(table, image_root=root), cache_dir=tmp_path / "cache")
    assert list(manifest.paths) == [f"{root}/sub/b.png"]
    with pytest.raises(DataError, match="all 1 are refused"):
        scan(TableSource(table), cache_dir=tmp_path / "cache")


# ------------------------------------------------------------------ sizes of the table's own


def sized(root: Path, **changes: tuple[int, int]) -> Path:
    sizes = SIZES | {name.replace("_", "."): size for name, size in changes.items()}
    return write_lines(
        root / "t.jsonl",
        [{"path": name, "height": h, "width": w} for name, (h, w) in sizes.items()],
    )


def test_sizes_of_the_table_are_taken_and_a_sample_is_checked(tmp_path, again):
    sizes = {f"{i:03d}.png": (1 + i % 7, 2 + i % 5) for i in range(600)}
    root = write_images(tmp_path / "root", sizes)
    rows = [{"path": name, "height": h, "width": w} for name, (h, w) in sizes.items()]
    rows[5] |= {"height": None, "width": None}
    rows[9] |= {"height": 0, "width": -1}
    table = write_lines(root / "t.jsonl", rows)
    manifest, opened = again(table)
    assert {"005.png", "009.png", "000.png", "599.png"} <= {*opened}
    assert len(opened) == 256 + 2
    assert manifest.sizes.tolist() == [list(size) for size in sizes.values()]
    assert manifest.table.column("measured").to_pylist().count(True) == 258
    same, opened = again(table)
    assert (same.id, opened) == (manifest.id, [])
    rows[7] |= {"height": None, "width": None}  # never read before, so read now
    row = next(i for i in range(20) if not manifest.table.column("measured")[i].as_py())
    rows[row] |= {"height": None, "width": None}
    write_lines(table, rows)
    changed, opened = again(table)
    assert f"{row:03d}.png" in opened
    assert changed.sizes.tolist() == manifest.sizes.tolist()


def test_a_size_that_is_not_the_files_stops_the_pass(root, again):
    with pytest.raises(DataError) as error:
        again(sized(root, a_png=(4, 3), **{"sub/b_png": (6, 5)}))
    assert str(error.value) == (
        f"path='{root}/t.jsonl' gives sizes that its images do not have: 2 of 3 that were looked "
        f"at differ, such as 'a.png', height 4 x width 3 in the table and height 3 x width 4 in "
        f"the file, as EXIF turns it. Correct the table, or set height_column=null and "
        f"width_column=null."
    )
    table = sized(root, a_png=(4, 5))
    with pytest.raises(DataError, match=r"1 of 3 .* width 4 in the file\. Correct"):
        again(table)
    manifest, _ = again(TableSource(table, height_column=None, width_column=None))
    assert manifest.sizes.tolist() == [list(size) for size in SIZES.values()]
    assert manifest.columns == ()
    good, _ = again(sized(root))
    with pytest.raises(DataError, match="1 of 1 that were looked at"):
        again(sized(root, a_png=(4, 5)))  # the file is known, and known to be another
    assert Manifest.open(good.file).id == good.id


def test_sizes_are_those_that_exif_gives(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    write(tmp_path / "a.jpg", encoded(Image.new("L", (40, 20)), "JPEG", exif=exif))
    table = write_lines(tmp_path / "t.jsonl", [{"path": "a.jpg", "height": 40, "width": 20}])
    assert scan(table, cache_dir=tmp_path / "c").sizes.tolist() == [[40, 20]]


def test_a_size_beyond_the_limit_is_read_and_refused(root, tmp_path):
    write(root / "big.png", png(100, 100))
    rows = [{"path": "a.png", "height": 3, "width": 4}]
    rows += [{"path": "big.png", "height": 100, "width": 100}]
    table = write_lines(root / "t.jsonl", rows)
    for _ in range(2):
        manifest = scan(table, cache_dir=tmp_path / "c", max_image_pixels=9999)
        assert len(manifest) == 1
        assert "exceed max_image_pixels=9,999" in manifest.refused[0].reason
    assert len(scan(table, cache_dir=tmp_path / "c")) == 2


# ------------------------------------------------------------------ captions that are missing


def captioned(root: Path, captions: list[str | None]) -> Path:
    rows = [{"path": n, "caption": c} for n, c in zip(SIZES, captions, strict=True)]
    return write_lines(root / "t.jsonl", rows)


def test_images_without_a_caption_can_be_left_out(root, again):
    table = captioned(root, ["one", None, " "])
    manifest, _ = again(table)
    assert list(manifest.captions) == ["one", "", " "]
    source = TableSource(table, missing_caption="skip")
    manifest, opened = again(source)
    assert opened == []  # whatever the policy, the images are known
    assert list(manifest.captions) == ["one"]
    assert refusals(manifest) == dict.fromkeys(
        ["sub/b.png", "c d.png"], "it has no caption, and missing_caption is skip"
    )
    assert again(source)[0].id == manifest.id
    captioned(root, ["one", "two", None])
    manifest, opened = again(source)
    assert (list(manifest.captions), opened) == (["one", "two"], [])
    assert manifest.sizes.tolist() == [[3, 4], [5, 6]]


def test_images_without_a_caption_can_stop_the_pass(root, again):
    table = captioned(root, ["one", None, ""])
    with pytest.raises(DataError) as error:
        again(TableSource(table, missing_caption="error"))
    assert str(error.value) == (
        f"missing_caption='error': 2 of 3 images of path='{table}' have no caption: 'sub/b.png', "
        f"'c d.png'. Write their captions, or set missing_caption='skip' to leave them out."
    )
    captioned(root, ["one", "two", "three"])
    assert len(again(TableSource(table, missing_caption="error"))[0]) == 3


# ------------------------------------------------------------------ an image folder


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv", "metadata.parquet"])
def test_an_image_folder(tmp_path, name):
    root = write_images(tmp_path / "root", SIZES | {"masks/a.png": (3, 4), "unnamed.png": (1, 1)})
    table = pa.table(
        {
            "file_name": ["sub/b.png", "a.png"],
            "text": ["a bee", "an ay"],
            "mask_file_name": [None, "masks/a.png"],
            "image": [1, 2],
        }
    )
    write = {"jsonl": as_lines, "csv": as_csv, "parquet": as_parquet}[name.rpartition(".")[2]]
    write(root / name, table)
    assert kind_of(root) == "imagefolder"
    manifest = scan(
        ImageFolderSource(root, columns=("mask_file_name",)), cache_dir=tmp_path / "cache"
    )
    assert list(manifest.paths) == [f"{root}/sub/b.png", f"{root}/a.png"]
    assert list(manifest.captions) == ["a bee", "an ay"]
    mask = manifest.value(1, "mask_file_name")
    assert manifest.beside(1, mask).file == f"{root}/masks/a.png"
    assert not manifest.value(0, "mask_file_name")


def test_an_image_folder_needs_one_table(root, tmp_path):
    with pytest.raises(DataError, match=r"has no table of its images; it holds none of the 3 "):
        scan(ImageFolderSource(root), cache_dir=tmp_path / "cache")
    for name in ("metadata.jsonl", "metadata.csv"):
        write(root / name, "")
    with pytest.raises(ConfigError, match=r"which table is meant; it holds 2: metadata\.jsonl"):
        scan(root, cache_dir=tmp_path / "cache")


# ------------------------------------------------------------------ two starts


def test_a_changed_table_opens_no_unchanged_image(root, again):
    table = captioned(root, ["one", "two", "three"])
    first, opened = again(table)
    assert sorted(opened) == sorted(Path(name).name for name in SIZES)
    captioned(root, ["one", "zwei", "three"])
    second, opened = again(table)
    assert (list(second.captions), opened) == (["one", "zwei", "three"], [])
    assert second.fingerprint == first.fingerprint
    rows = [{"path": name, "x": float("nan")} for name in reversed(SIZES)]
    write_lines(table, rows)
    third, opened = again(table)
    assert opened == []
    assert [os.path.relpath(path, root) for path in third.paths] == [*reversed(SIZES)]
    assert list(third.captions) == ["", "", ""]
    assert third.columns == ("x",)
    assert again(table)[0].id == third.id  # NaN is what it was
    write_lines(table, rows[:2])
    write(root / "c d.png", png(70, 80))
    fourth, opened = again(table)
    assert opened == ["c d.png"]
    assert fourth.sizes.tolist() == [[70, 80], [5, 6]]


# ------------------------------------------------------------------ names and quotes


@pytest.mark.parametrize(
    "name",
    [
        *("bytes", "mtime_ns", "container", "offset", "reason", "caption_mtime_ns"),
        *("source", "repeats", "index"),
    ],
)
def test_a_column_never_stands_for_one_of_a_listing(root, name):
    write(root / "t.csv", f"path,{name}\na.png,7\n")
    with pytest.raises(DataError, match=rf"t\.csv' has a column '{name}', a name that the batches"):
        scan(TableSource(root / "t.csv"), cache_dir=root.parent / "cache")
    manifest = scan(TableSource(root / "t.csv", columns=()), cache_dir=root.parent / "cache")
    assert manifest.sizes.tolist() == [[3, 4]]


def test_a_path_or_caption_that_is_not_meant_stays_behind(root, tmp_path):
    write(root / "t.csv", "path,file_name,caption,text\nsub/b.png,a.png,no,yes\n")
    source = TableSource(root / "t.csv", image_column="file_name", caption_column="text")
    manifest = scan(source, cache_dir=tmp_path / "cache")
    assert [*manifest.paths] == [str(root / "a.png")]
    assert [*manifest.captions] == ["yes"]
    assert manifest.columns == ()
    asked = TableSource(
        root / "t.csv", image_column="file_name", caption_column="text", columns=("path",)
    )
    with pytest.raises(DataError, match="has a column 'path', a name that"):
        scan(asked, cache_dir=tmp_path / "cache")


LINES = [f"{number}.png,caption {number}" for number in range(10)]


@pytest.mark.parametrize("opening", [(3,), (3, 7), (8,)])
def test_a_quote_that_is_not_closed_swallows_no_rows(tmp_path, opening):
    lines = [line.replace(",", ',"') if i in opening else line for i, line in enumerate(LINES)]
    write(tmp_path / "t.csv", "\n".join(["path,caption", *lines, ""]))
    with pytest.raises(DataError, match=rf"a quote that opens in line {opening[0] + 2} is closed"):
        scan(tmp_path / "t.csv", cache_dir=tmp_path / "cache")


def test_quotes_that_are_in_order_are_left_alone(root, tmp_path):
    long = "x\n" * 200_000
    rows = ["path,caption", 'a.png,"a 5"" disk,\r\nwith a line"', 'sub/b.png,a 5" disk']
    write(root / "t.csv", "\n".join([*rows, f'"c d.png","{long}"']))
    manifest = scan(root / "t.csv", cache_dir=tmp_path / "cache")
    assert [*manifest.captions] == ['a 5" disk,\r\nwith a line', 'a 5" disk', long]
    rows = ["path,caption,x", 'a.png,"two\nlines" ,"x\n"\t', 'sub/b.png,"nul\n\0",z']
    write(root / "t.csv", "\n".join(rows))
    manifest = scan(root / "t.csv", cache_dir=tmp_path / "cache")
    assert len(manifest) == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("path,Größe\na.png,1\n".encode("latin-1"), "can't decode byte"),
        ("path,ort\na.png,Köln\n".encode("latin-1"), "the column 'ort' is not UTF-8"),
    ],
)
def test_text_that_would_be_misread_is_refused(root, content, reason):
    write(root / "t.csv", content)
    with pytest.raises(DataError, match=rf"t\.csv' cannot be read as a table: .*{reason}"):
        scan(root / "t.csv", cache_dir=root.parent / "cache")


def test_a_name_with_a_space_is_no_other_name(root, tmp_path):
    write(root / "t.csv", "path, caption\na.png,x\n")
    with pytest.raises(ConfigError, match="the name of its column ' caption' begins or ends with"):
        scan(root / "t.csv", cache_dir=tmp_path / "cache")
    write(root / "t.csv", "path,caption, text\na.png,x,y\n")
    assert scan(root / "t.csv", cache_dir=tmp_path / "cache").columns == (" text",)


def test_columns_may_list_what_comes_along_anyway(root, tmp_path):
    write(root / "t.csv", "path,caption,height,width,score,more\na.png,x,3,4,5,6\n")
    source = TableSource(root / "t.csv", columns=("path", "caption", "width", "score"))
    manifest = scan(source, cache_dir=tmp_path / "cache")
    assert manifest.columns == ("score",)
    assert [*manifest.captions] == ["x"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with a name")
def test_a_pipe_is_not_waited_for(root):
    os.mkfifo(root / "t.csv")
    with pytest.raises(DataError, match="cannot be read as a table: not a file"):
        scan(root / "t.csv", cache_dir=root.parent / "cache")


def test_one_file_by_several_spellings_is_one_image(root, tmp_path):
    write(root / "t.csv", "path\nsub/b.png\nsub//b.png\nsub/./b.png\n././sub/b.png\nsub/.//b.png\n")
    manifest = scan(root / "t.csv", cache_dir=tmp_path / "cache")
    assert [*manifest.paths] == [str(root / "sub/b.png")]
    assert {*refusals(manifest).values()} == {"row 1 of the table names it already"}
    assert len(manifest.refused) == 4


def test_one_table_may_be_used_with_two_roots(root, tmp_path):
    other = write_images(tmp_path / "other", SIZES)
    write(root / "t.csv", "path\na.png\n")
    sources = [TableSource(root / "t.csv"), TableSource(root / "t.csv", image_root=other)]
    manifest = scan(sources, cache_dir=tmp_path / "cache")
    assert [*manifest.paths] == [str(root / "a.png"), str(other / "a.png")]
    with pytest.raises(DataError, match="is listed twice among 2 sources"):
        scan([sources[0], sources[0]], cache_dir=tmp_path / "cache")


def test_a_folder_leaves_an_image_folder_inside_it_to_itself(root, tmp_path):
    write(root / "sub/metadata.csv", "file_name,text\nb.png,B\n")
    for sources in ([root, root / "sub"], [root / "sub", root]):
        manifest = scan(sources, cache_dir=tmp_path / "cache")
        captions = dict(zip(manifest.paths, manifest.captions, strict=True))
        assert captions == {
            **{str(root / name): "" for name in ("a.png", "c d.png")},
            str(root / "sub/b.png"): "B",
        }


# ------------------------------------------------------------------ further columns


@pytest.mark.parametrize(
    "values",
    [
        pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int64())),
        pa.array([[float("nan"), 1.0], None, []]),
        pa.array([[float("nan"), 1.0], None, [2.0, 3.0]], pa.list_(pa.float64(), 2)),
        pa.array([{"a": [float("nan")], "b": "x"}, None, {"a": None, "b": "y"}]),
        pa.array([[("k", float("nan"))], None, []], pa.map_(pa.string(), pa.float64())),
        pa.array([float("nan"), None, 1.0], pa.float32()),
        pa.array(["x", None, "y"], pa.string_view()),
        pa.array([b"x", None, b"y"], pa.binary_view()),
        pa.array([b"x", None, b"y"], pa.binary(1)),
        pa.array(["x", None, "y"]).dictionary_encode(),
    ],
    ids=lambda values: str(values.type),
)
def test_columns_of_every_type_are_the_same_at_the_next_start(root, again, values, caplog):
    path = as_parquet(root / "t.parquet", pa.table({"path": [*SIZES], "x": values}))
    first, opened = again(TableSource(path))
    assert len(opened) == 3
    assert repr([first.value(i, "x") for i in range(3)]) == repr(values.to_pylist())  # NaN, too
    second, opened = again(TableSource(path))
    assert (second.id, opened) == (first.id, [])
    Manifest.open_checked(first.file)
    assert "damaged" not in caplog.text


def test_columns_that_no_row_can_be_taken_from(root, again):
    values = pa.array([["x"], None, []], pa.list_(pa.string_view()))
    path = as_parquet(root / "t.parquet", pa.table({"path": [*SIZES], "x": values}))
    with pytest.raises(DataError, match=r"holds list<.*> in the column 'x', a type whose rows"):
        again(TableSource(path))


def test_numbers_that_no_type_holds_together(root, tmp_path, again):
    other = write_images(tmp_path / "other", SIZES)
    first = write_lines(root / "a.jsonl", [{"path": "a.png", "n": 2**53 + 1}])
    second = write_lines(other / "b.jsonl", [{"path": "a.png", "n": 0.5}])
    with pytest.raises(DataError, match=r"do not go together: Integer value 9007199254740993"):
        again([TableSource(first), TableSource(second)])


@pytest.mark.parametrize("repeats", [0, 2**31, True, 1.0])
def test_repeats_that_are_none(root, repeats):
    with pytest.raises(ConfigError, match=r"must be a whole number of at least 1 and less than"):
        TableSource(root / "t.csv", repeats=repeats)


def test_many_columns_take_no_more_than_their_share(root, again):
    table = pa.table({"path": ["a.png"], **{f"c{i}": [i] for i in range(3000)}})
    manifest = again(TableSource(as_parquet(root / "t.parquet", table)))[0]
    assert len(manifest.columns) == 3000
