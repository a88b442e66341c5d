"""The documented additions of a norm and of an activation, applied to a copy of the project that then uses them."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.extensions import patch
from tests.support.little import ROOT

COPIED = ("src", "tests", "workflow", "params.yaml", "pyproject.toml")
ADDITIONS = ("Add a norm", "Add an activation")
FINISH = """
from pathlib import Path
from tests.support.miniature import finished
edits = ("norm: [none, batch]", "norm: [none, rms]"), ("{epochs: 1,", "{activation: silu, epochs: 1,")
finished(Path("project"), *edits)
"""
# tests parametrised over the tables of norms and activations
TABLES = (
    "tests/params/layers/test_norms.py",
    "tests/training/nets/test_gradients.py",
    "tests/training/nets/test_batch_norms.py",
)


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the project with both additions."""
    folder = tmp_path_factory.mktemp("extended")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(ROOT / name, folder / name)
    for title in ADDITIONS:
        run(folder, "git", "apply", "--whitespace=error", str(patch(title, folder)))
    run(folder, "bnbench", "schema", "--out", "workflow/schemas/params.schema.json")
    return folder


def run(folder: Path, *command: str) -> str:
    """Run a command with the copy's code, which must succeed, and return its output."""
    places = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{folder / 'src'}{os.pathsep}{folder}",
        "GIT_CEILING_DIRECTORIES": str(folder.parent),  # the copy is outside any repository
    }
    done = subprocess.run(
        command, cwd=folder, env=os.environ | places, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_norm_and_an_activation_train_from_the_parameters_to_the_report(extended: Path) -> None:
    run(extended, sys.executable, "-c", FINISH)
    with (extended / "project" / "results" / "tables" / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["norm"], row["activation"], row["status"]) for row in rows} == {
        ("none", "silu", "ok"),
        ("rms", "silu", "ok"),
    }
    assert {row["span"] for row in rows if row["norm"] == "rms"} == {"1"}
    assert all(float(row["train_loss"]) < 2.3 for row in rows)  # the loss at chance: ln 10
    report = (extended / "project" / "reports" / "report.md").read_text()
    assert "RMS norm" in report
    assert "SiLU" in report


def test_the_tests_that_go_through_the_tables_cover_the_additions(extended: Path) -> None:
    output = run(
        extended, sys.executable, "-m", "pytest", "-n", "0", "-rA", *TABLES, "-k", "rms or silu or schema or differ"
    )
    for name in ("rms-dense", "rms-conv", "silu-dense", "silu-conv"):
        assert (
            f"PASSED tests/training/nets/test_gradients.py::test_gradients_match_finite_differences[{name}]" in output
        )


def test_the_additions_are_entries_and_classes_alone(tmp_path: Path) -> None:
    for title in ADDITIONS:
        lines = patch(title, tmp_path).read_text().splitlines()
        assert not [line for line in lines if line.startswith("-") and not line.startswith("--- ")]
        assert sum(line.startswith("+++ ") for line in lines) == 2
