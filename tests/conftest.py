"""Fixtures shared by the tests."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from bnbench.data.prepared import Prepared
from bnbench.training.engine import choose, compiled_steps
from tests.support import little, miniature


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train packs in blocks of one step, so that a test can observe every step."""
    monkeypatch.setattr(compiled_steps, "BLOCK_SECONDS", 0.0)


@pytest.fixture
def by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train by torch's operations, as on a GPU or without a compiler."""
    monkeypatch.setattr(choose, "uncompiled", lambda _network: "as on a GPU")


@pytest.fixture(scope="session")
def digits() -> Prepared:
    """Return scikit-learn's digits as a prepared data set."""
    return little.digits()


@pytest.fixture
def defaults() -> dict[str, Any]:
    """Return the training defaults of params.yaml."""
    return little.defaults()


@pytest.fixture(scope="session")
def _finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return miniature.finished(tmp_path_factory.mktemp("finished") / "project")


@pytest.fixture
def project(_finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the miniature project with all its results, as the working folder."""
    folder = tmp_path / "project"
    shutil.copytree(_finished, folder)
    monkeypatch.chdir(folder)
    return folder
