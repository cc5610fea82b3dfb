"""Benchmarks that need what a machine may not have say so, and their code runs."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def training() -> ModuleType:
    spec = importlib.util.spec_from_file_location("training", BENCHMARKS / "training.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_without_a_gpu_nothing_is_measured(training, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["training.py"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    training.main()
    said = capsys.readouterr().out
    assert said.startswith("There is no GPU: nothing was measured.")
    assert not any(character.isdigit() for character in said)


@pytest.mark.slow
def test_the_waiting_of_a_step_is_measured(training, tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(12):
        training.make_photograph(tmp_path / "images", [(100, 140), (140, 100)], number)
    dm = training.module_of(tmp_path / "images", tmp_path / "cache", 64 * 64, 4, 0)
    found = training.measure(dm, torch.device("cpu"), training.NETWORKS["tiny"], pairs=1)
    assert found.with_loader > 0 < found.on_device
    assert 0 <= found.wait_share < 1
    assert found.loader_alone > 0
