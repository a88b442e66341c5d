"""The examples run by the command of their README and leave the project's results unchanged."""

import csv
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.support.little import ROOT
from tests.support.miniature import Project, miniature, trained

COMMAND = "snakemake --directory examples/minimal"


@pytest.mark.slow
def test_the_minimal_example_makes_its_table_in_its_own_folder(tmp_path: Path) -> None:
    project = with_example(tmp_path / "project")
    before = project.run("git status --porcelain --ignored")
    assert trained(project.run(COMMAND)) == 6
    with (project.folder / "examples/minimal/results/tables/runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert Counter((row["study"], row["norm"], row["status"]) for row in rows) == {
        ("minimal", "none", "ok"): 3,
        ("minimal", "batch", "ok"): 3,
    }
    assert {(row["dataset"], row["model"], row["max_epochs"]) for row in rows} == {("digits", "64-32-10", "3")}
    assert min(float(row["test_accuracy"]) for row in rows) > 0.8  # chance: 0.1
    assert (project.folder / "examples/minimal/reports/figures/minimal/accuracy.svg").is_file()
    assert "Batch norm on 8x8 digits" in (project.folder / "examples/minimal/reports/report.html").read_text()
    records = [path.read_text() for path in (project.folder / "examples/minimal/results/provenance").iterdir()]
    assert {json.loads(record)["git"]["clean"] for record in records} == {True}
    assert not [name for name in ("results", "reports", "data", ".bnbench") if (project.folder / name).exists()]
    assert before == ""
    assert project.run("git status --porcelain") == ""
    assert trained(project.run(COMMAND)) == 0


@pytest.mark.slow
def test_a_changed_program_is_no_clean_one_for_a_run_of_an_example(tmp_path: Path) -> None:
    project = with_example(tmp_path / "project")
    project.edit("Training of runs", "Training of the runs", "src/bnbench/training/__init__.py")
    project.run(COMMAND, "trained")
    for path in (project.folder / "examples/minimal/results/provenance").iterdir():
        git = json.loads(path.read_text())["git"]
        assert (git["clean"], git["changed"]) == (False, ["src/bnbench/training/__init__.py"])


def test_the_readme_of_the_examples_names_the_command_and_each_example() -> None:
    text = (ROOT / "examples" / "README.md").read_text()
    assert f"`{COMMAND}`" in text
    examples = {path.parent.name for path in (ROOT / "examples").glob("*/params.yaml")}
    assert set(re.findall(r"\((\w+)/params\.yaml\)", text)) == examples


def with_example(folder: Path) -> Project:
    """Return the miniature project with the examples and the real params.yaml."""
    project = miniature(folder)
    target = folder / "examples" / "minimal"
    target.mkdir(parents=True)
    for name in ("params.yaml", "examples/minimal/params.yaml"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    project.commit()
    return project
