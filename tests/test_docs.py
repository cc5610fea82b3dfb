"""The README and the docs tell the truth: their code runs, their tests exist, names agree."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from conftest import paint
from job import Recorder
from PIL import Image

import lit_buckets
from lit_buckets import BucketDataModule, load_config

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", *sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob("docs/**/*.md"))]
BLOCK = re.compile(r"^(<!-- not run:.*?-->\n)?```(\w+)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
RUN = ("python", "yaml", "bash")


def blocks(page: str) -> list[tuple[str, str]]:
    """Languages and texts of what runs on a page; what it takes in from a file runs elsewhere."""
    found = BLOCK.findall((ROOT / page).read_text())
    kept = [(kind, text) for skip, kind, text in found if kind in RUN and not skip]
    return [(kind, text) for kind, text in kept if not text.startswith("--8<--")]


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A home with the folders and files that the pages speak of."""
    for folder, count in {"photos": 10, "best": 2, "img/10_cat": 3, "img/2_landscape": 9}.items():
        for number, image in enumerate(sorted(paint(tmp_path / folder, count).iterdir())):
            image.with_suffix(".txt").write_text(f"photo, number {number}, of {folder}")
    metadata = {f"photos/image_{n:04d}.png": {"caption": f"photo {n}"} for n in range(10)}
    (tmp_path / "meta.json").write_text(json.dumps(metadata))
    (tmp_path / "config.yaml").write_text(next(text for kind, text in blocks("README.md")))
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    write_tables(tmp_path)
    write_shards(tmp_path / "shards", tmp_path / "photos")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_tables(home: Path) -> None:
    """Tables of the photos: what is known of them, where to look in them, what belongs to them."""
    names = [f"image_{n:04d}.png" for n in range(10)]
    tables = {
        "photos": [
            {"path": name, "caption": f"photo {name}", "label": 3, "camera": "left"}
            for name in names
        ],
        "best": [{"path": name, "caption": name} for name in names[:2]],
        "faces": [{"path": name, "left": 4, "top": 8, "right": 20, "bottom": 24} for name in names],
        "pairs": [
            {"path": name, "edge": f"edges/{name}", "part": f"parts/{name}"} for name in names
        ],
    }
    (home / "tables").mkdir()
    for name, rows in tables.items():
        lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
        (home / "tables" / f"{name}.csv").write_text("\n".join(lines) + "\n")
    pairs = paint(home / "pairs", 10)
    for kind, mode in (("edges", "RGB"), ("parts", "L")):
        (pairs / kind).mkdir()
        for name in names:
            Image.open(pairs / name).convert(mode).save(pairs / kind / name)
    folder = paint(home / "imagefolder", 9)
    lines = [json.dumps({"file_name": file.name, "text": file.stem}) for file in folder.iterdir()]
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")


def write_shards(folder: Path, photos: Path) -> None:
    """Two tar shards, in WebDataset's layout, of a few photos each."""
    folder.mkdir()
    for number in range(2):
        with tarfile.open(folder / f"{number:02d}.tar", "w") as shard:
            for file in sorted(photos.glob(f"image_000{number}.*")):
                shard.add(file, file.name)


def run_python(text: str, names: dict[str, Any], page: str) -> None:
    exec(compile(text, page, "exec"), names)


def run_yaml(text: str, home: Path) -> None:
    """Load a configuration and plan its images; a comment at its beginning may name its file."""
    named = re.match(r"# (\w+\.yaml)\n", text)
    file = home / (named[1] if named else "block.yaml")
    file.write_text(text)
    dm = BucketDataModule(load_config(file))
    dm.prepare_data()
    dm.setup()
    assert len(dm.plan)


def run_shell(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run commands; those of the package by its entry point, in this process, to save its start."""
    for line in text.splitlines():
        words = shlex.split(line.replace("~", os.environ["HOME"]), comments=True)
        if words[:1] == ["lit-buckets"]:
            expected = int((re.search(r"# exit code (\d+)", line) or [0, 0])[1])
            monkeypatch.setattr(sys, "argv", words)
            with pytest.raises(SystemExit) as end:
                entry_point()()
            assert end.value.code == expected, line
        elif words:
            subprocess.run(["bash", "-c", line], check=True, timeout=120)


def entry_point() -> Callable[[], None]:
    """What ``lit-buckets`` is installed as."""
    script = re.search(
        r'^lit-buckets = "([\w.]+):(\w+)"$', (ROOT / "pyproject.toml").read_text(), re.M
    )
    assert script is not None
    main: Callable[[], None] = getattr(import_module(script[1]), script[2])
    return main


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)])
def test_what_a_page_says_runs(page, home, monkeypatch):
    """Block by block, in the page's order."""
    names: dict[str, Any] = {"model": Recorder()}
    for kind, text in blocks(page):
        if kind == "python":
            run_python(text, names, page)
        elif kind == "yaml":
            run_yaml(text, home)
        else:
            run_shell(text, monkeypatch)


def test_what_does_not_run_says_why():
    for page in PAGES:
        for reason in re.findall(r"<!-- not run(.*?)-->", (ROOT / page).read_text()):
            assert re.fullmatch(r": \S.{5,} ", reason), f"{page}: {reason}"


def test_every_promise_names_tests_that_exist():
    named = re.findall(r"`(test_\w+\.py)(?:::(\w+))?`", (ROOT / "docs/promises.md").read_text())
    assert len(named) > 10
    for file, function in named:
        tree = ast.parse((ROOT / "tests" / file).read_text())
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert not function or function in functions, f"{file}::{function}"


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md", "benchmarks/README.md"])
def test_links_between_pages_lead_somewhere(page):
    for link in re.findall(r"\]\((?!http)([^)#]+)", (ROOT / page).read_text()):
        assert ((ROOT / page).parent / link).exists(), f"{page}: {link}"


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("material", reason="the site needs mkdocs-material")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    fetched = re.compile(r'(?:src|href)="(?:https?:)?//[^"]+\.(?:js|css|woff2?|png|svg)"')
    for page in tmp_path.rglob("*.html"):
        assert not fetched.search(page.read_text()), page


def test_the_public_face_is_what_can_be_imported():
    assert lit_buckets.__all__ == sorted(lit_buckets.__all__)
    assert set(lit_buckets.__all__) <= set(dir(lit_buckets))
    for name in lit_buckets.__all__:
        value = getattr(lit_buckets, name)  # some are imported now, when they are asked for
        assert value.__module__.startswith("lit_buckets."), name
    ours = {
        name
        for name, value in vars(lit_buckets).items()
        if getattr(value, "__module__", "").startswith("lit_buckets.")
    }
    assert ours == set(lit_buckets.__all__)


def test_the_reference_shows_every_public_name():
    shown = re.findall(
        r"^::: lit_buckets\.([\w.]+)$", (ROOT / "docs/reference/index.md").read_text(), re.M
    )
    assert sorted(name.rpartition(".")[2] for name in shown) == lit_buckets.__all__
