"""Stages refuse altered plans and jobs; no message about an altered plan advises to delete an intact run."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bnbench.manage.doctor import examine
from tests.faults.derived import HARMS, plan_file, stage, start, told

Edit = Callable[[dict[str, Any]], object]


def drop_a_run(plan: dict[str, Any]) -> None:
    name = plan["studies"]["S"]["runs"].pop()
    del plan["runs"][name]


def another_rate(plan: dict[str, Any]) -> None:
    next(iter(plan["runs"].values()))["config"]["learning_rate"] = 0.3


EDITS: dict[str, Edit] = {
    "a run dropped": drop_a_run,
    "another learning rate": another_rate,
    "another title": lambda plan: plan["studies"]["S"].update(title="Another title"),
    "another identity": lambda plan: plan.update(tables_id="0" * 16),
    "another figure": lambda plan: plan["studies"]["S"]["figures"]["f"].update(y="test_loss"),
}


def edited(path: Path, edit: Edit) -> None:
    plan = json.loads(path.read_text())
    edit(plan)
    path.write_text(json.dumps(plan, indent=2, sort_keys=True) + "\n")


def harm(path: Path, name: str) -> None:
    if name in EDITS:
        edited(path, EDITS[name])
    else:
        HARMS[name](path)


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("name", [*EDITS, *HARMS])
def test_a_start_writes_a_plan_anew_that_is_not_its_own(name: str) -> None:
    path = plan_file()
    whole = path.read_bytes()
    harm(path, name)
    if name != "deleted":
        assert any(str(path) in finding.what for finding in examine())
    assert plan_file() == path
    assert path.read_bytes() == whole
    assert not [finding for finding in examine() if not finding.note]


@pytest.mark.usefixtures("project")
def test_another_plan_in_its_place_is_written_over() -> None:
    path = plan_file()
    whole = path.read_bytes()
    Path("params.yaml").write_text(Path("params.yaml").read_text().replace("seed: [0, 1]", "seed: [0]"))
    other = plan_file()
    assert other != path
    shutil.copy(path, other)
    plan_file()
    assert other.read_bytes() != whole
    assert path.read_bytes() == whole


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("command", ["tables", "figures", "report"])
@pytest.mark.parametrize("name", [*EDITS, *HARMS])
def test_a_stage_refuses_a_plan_that_is_not_as_it_was_written(name: str, command: str) -> None:
    path = plan_file()
    before = {file: file.read_bytes() for place in ("results", "reports") for file in Path(place).rglob("*.*")}
    harm(path, name)
    code, said = stage(command, path)
    assert code == 2, said
    assert str(path) in said
    assert "snakemake rewrites whenever it starts" in said
    assert "elete" not in said
    assert before == {file: file.read_bytes() for file in before}


@pytest.mark.usefixtures("project")
def test_a_folder_in_a_plans_place_is_said() -> None:
    path = plan_file()
    path.unlink()
    path.mkdir()
    with pytest.raises(SystemExit, match="a folder lies where a file is needed; move it away"):
        plan_file()


def drop_from_a_pack(job: list[dict[str, Any]]) -> None:
    pack = max(job, key=lambda pack: len(pack["runs"]))
    pack["runs"].popitem()


def some(job: list[dict[str, Any]]) -> dict[str, Any]:
    config: dict[str, Any] = next(iter(job[0]["runs"].values()))
    return config


JOBS: dict[str, Callable[[list[dict[str, Any]]], object]] = {
    "another learning rate": lambda job: some(job).update(learning_rate=0.3),
    "another seed": lambda job: some(job).update(seed=7),
    "a setting that is none": lambda job: some(job).update(norm="bacth"),
    "a run dropped": drop_from_a_pack,
    "seconds as text": lambda job: job[0].update(seconds="long"),
    "no data": lambda job: job[0].pop("data"),
}


@pytest.fixture
def job(project: Path) -> Path:
    """Return a job for all runs, after deleting all of them from the run store."""
    shutil.rmtree(project / "results" / "runs")
    (mark,) = start().trained(None)
    return Path(mark).with_suffix(".json")


@pytest.mark.parametrize("name", [*JOBS, *HARMS, "a list of numbers"])
def test_nothing_is_trained_by_a_job_that_is_not_as_it_was_written(job: Path, name: str) -> None:
    content = json.loads(job.read_text())
    if name in JOBS:
        JOBS[name](content)
        job.write_text(json.dumps(content))
    elif name in HARMS:
        HARMS[name](job)
    else:
        job.write_text("[1, 2]")
    code, said = told("train", job, "--out", "results/runs", "--timings", "results/timings", "--workers", "1")
    assert code == 2, said
    assert "snakemake rewrites whenever it starts" in said
    asked = {name: config for pack in content for name, config in pack["runs"].items()} if name in JOBS else {}
    for path in Path("results/runs").glob("*/run.json"):
        stored = json.loads(path.read_text())
        assert stored["config"]["learning_rate"] in (0.1, 1)
        assert stored["config"]["seed"] in (0, 1)
        assert path.parent.name in asked


@pytest.mark.usefixtures("project")
def test_a_mark_whose_job_cannot_be_read_asks_for_the_tables() -> None:
    mark = Path(".bnbench/jobs") / f"{'0' * 16}.done"
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    mark.with_suffix(".json").write_text("[")
    assert start().trained(None) == []  # the tables already cover the existing runs
    run = sorted(Path("results/runs").glob("[!.]*"))[0]
    (run / "run.json").write_bytes((run / "run.json").read_bytes() + b"\n")
    assert start().trained(None) == []
    assert not list(Path("results/tables").glob("identity-*"))
