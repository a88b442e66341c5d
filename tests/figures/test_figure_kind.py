"""Kinds of figures: one module each, validated data, and a new kind by one file and one entry."""

import csv
import inspect
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from bnbench.core.errors import UserError
from bnbench.figures.figure_kind import find
from bnbench.figures.plot_data import PlotData
from bnbench.params.figure_kinds import KINDS
from bnbench.params.study_schema import Figure
from tests.support.extensions import patch
from tests.support.little import ROOT

ADDED = """
from pathlib import Path
from tests.support.miniature import finished
finished(Path("out"), ("kind: sweep", "kind: box"), ("x: learning_rate", "x: norm"), ("        hue: norm\\n", ""))
"""


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_has_the_same_signature(name: str) -> None:
    kind = find(name)
    assert list(inspect.signature(kind.data).parameters) == ["source", "options"]
    assert list(inspect.signature(kind.draw).parameters) == ["plot"]
    assert list(inspect.signature(kind.caption).parameters) == ["plot"]


def test_an_unknown_column_is_refused_with_the_known_ones() -> None:
    options = Figure.model_validate(
        {"kind": "sweep", "title": "T", "x": "learning_rate", "y": "test_loss", "hue": "norm"}
    )
    points = pd.DataFrame({"learning_rate": [0.1], "mean": [1.0]})
    with pytest.raises(UserError, match="no column 'norm'; known are learning_rate, mean"):
        PlotData(options=options, table=points)


@pytest.mark.slow
def test_the_documented_extension_adds_a_kind_of_figure(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    apply = ["git", "apply", str(patch("Add a kind of figure", tmp_path))]
    subprocess.run(apply, cwd=tmp_path, check=True, env=os.environ | {"GIT_CEILING_DIRECTORIES": str(tmp_path.parent)})
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "src"), str(ROOT)])}
    done = subprocess.run(
        [sys.executable, "-c", ADDED], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    place = tmp_path / "out" / "reports" / "figures" / "S"
    assert sorted(path.name for path in place.iterdir()) == ["f.csv", "f.md", "f.png", "f.svg"]
    records = [json.loads(path.read_text()) for path in (tmp_path / "out" / "results" / "runs").glob("*/run.json")]
    wanted = {(run["config"]["norm"], run["config"]["seed"]): run["test_accuracy"] for run in records}
    with (place / "f.csv").open() as file:
        drawn = {(row["norm"], int(row["seed"])): float(row["value"]) for row in csv.DictReader(file)}
    assert drawn == wanted
    assert len(drawn) == 4
    assert "quartiles of the test accuracy over 2 seeds" in (place / "f.md").read_text()
    assert "quartiles of the test accuracy" in (tmp_path / "out" / "reports" / "report.html").read_text()
