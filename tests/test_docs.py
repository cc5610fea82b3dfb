"""The README and the docs tell the truth: their code runs, their tests exist, names agree."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from conftest import paint
from job import Recorder

import lit_buckets
from lit_buckets import load_config

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "docs/howto.md"]
BLOCK = re.compile(r"^(<!-- not run.*?-->\n)?```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: str, language: str) -> list[str]:
    found = BLOCK.findall((ROOT / page).read_text())
    return [code for skip, kind, code in found if kind == language and not skip]


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A home with the folders and the file that the docs speak of."""
    paint(tmp_path / "photos", 10)
    paint(tmp_path / "best", 2)
    (tmp_path / "config.yaml").write_text(blocks("README.md", "yaml")[0])
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_code_blocks_run(page, home):
    code = blocks(page, "python")
    assert code
    names = {"model": Recorder()}
    for block in code:
        exec(compile(block, page, "exec"), names)


@pytest.mark.parametrize("page", PAGES)
def test_yaml_blocks_load(page, home):
    for block in blocks(page, "yaml"):
        (home / "block.yaml").write_text(block)
        assert load_config(home / "block.yaml").data.train


def test_every_promise_names_tests_that_exist():
    named = re.findall(r"`(test_\w+\.py)(?:::(\w+))?`", (ROOT / "README.md").read_text())
    assert len(named) > 10
    for file, function in named:
        tree = ast.parse((ROOT / "tests" / file).read_text())
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert not function or function in functions, f"{file}::{function}"


def test_links_between_pages_lead_somewhere():
    for page in [*PAGES, "CONTRIBUTING.md", "docs/design.md", "benchmarks/README.md"]:
        for link in re.findall(r"\]\((?!http)([^)#]+)", (ROOT / page).read_text()):
            assert ((ROOT / page).parent / link).exists(), f"{page}: {link}"


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
