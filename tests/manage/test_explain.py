"""Explanation of a run: its studies, settings and provenance, and the check that it is reproduced."""

import re
from importlib.metadata import version
from pathlib import Path

import pytest

from bnbench.cli import main
from bnbench.core.errors import UserError
from bnbench.core.files import read_json
from bnbench.manage import explain
from bnbench.manage.retrain import differences
from bnbench.manage.tiers import valid_tiers
from bnbench.params.run_schema import Run
from bnbench.plan import cost
from bnbench.store.run_record import identity
from tests.support.store import rewrite

PARAMS = Path("params.yaml")


def some(project: Path, **settings: object) -> str:
    """Return the id of a stored run with these settings."""
    for folder in sorted((project / "results" / "runs").glob("[!.]*")):
        config = read_json(folder / "run.json")["config"]
        if all(config[name] == value for name, value in settings.items()):
            return folder.name
    raise AssertionError(f"no run with {settings}")


@pytest.mark.usefixtures("project")
def test_base_and_differences_together_are_the_settings_of_the_run() -> None:
    plan = valid_tiers(PARAMS)[0][0]
    for name, run in plan.runs.items():
        request = explain.find(PARAMS, name).requests[0]
        base = Run.model_validate(plan.resolved.studies[0].base).model_dump()
        assert base | {key: value for key, (_, value) in request.differs.items()} == run.model_dump()
        assert all(base[key] == before for key, (before, _) in request.differs.items())


def test_an_explanation_names_study_settings_data_and_software(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = some(project, norm="none", seed=1)
    assert main(["explain", name[:10]]) == 0
    out = capsys.readouterr().out
    stored = read_json(project / "results" / "runs" / name / "run.json")
    for part in (
        f"run {name}: ok, test accuracy {stored['test_accuracy']:.4f}",
        "requested by study S (A study), tier quick",
        'norm: "none" (base: "batch")',
        "seed: 1 (base: 0)",
        f"data/prepared/digits-{stored['data']}",
        "360 test, 1197 train, 240 valid images",
        f"torch {version('torch')}",
        f"on {cost.cpu()}, cpu, threads 1; executed by programs",
        "outside any git repository",
        f"rm -r results/runs/{name} && snakemake trained --config tier=quick",
    ):
        assert part in out


def test_a_run_trained_again_has_the_same_bytes(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", some(project, norm="batch"), "--check"]) == 0
    assert "the same bytes" in capsys.readouterr().out


def test_retraining_reports_a_different_result(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = some(project, norm="batch")
    right = read_json(project / "results" / "runs" / name / "run.json")["test_accuracy"]
    rewrite(project / "results" / "runs" / name, test_accuracy=0.5)
    assert main(["explain", name, "--check"]) == 1
    out = capsys.readouterr().out
    assert "different bytes in run.json" in out
    assert f"test_accuracy: stored 0.5, here {right}" in out


@pytest.mark.usefixtures("project")
def test_a_run_that_is_not_trained_yet_is_explained() -> None:
    small = valid_tiers(PARAMS)[0][1]
    name = next(iter(small.runs.keys() - small.stored))
    lines = explain.lines(explain.find(PARAMS, name))
    assert lines[0] == f"run {name}: not trained yet"
    assert "train just this run: snakemake trained --config tier=small" in lines
    with pytest.raises(UserError, match="is not in the store, so there is nothing to compare with"):
        differences(explain.find(PARAMS, name))


@pytest.mark.usefixtures("project")
def test_a_prefix_of_no_run_or_of_several_is_refused() -> None:
    with pytest.raises(UserError, match=r"one run id .* must start with 'zz', but none does; their ids are in"):
        explain.find(PARAMS, "zz")
    with pytest.raises(UserError, match=r"one run id .* must start with '', but 8 do: "):
        explain.find(PARAMS, "")


def test_an_altered_run_is_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = some(project, norm="batch")
    path = project / "results" / "runs" / name / "history.json"
    path.write_bytes(path.read_bytes()[:-1])
    assert main(["explain", name]) == 2
    message = capsys.readouterr().err
    assert re.search(rf"{name}/history.json was altered: sha256 .*recorded is", message)
    assert f"Delete the folder results/runs/{name} and start again: only that run is trained again." in message


def test_a_run_of_another_trainer_version_is_not_compared(project: Path) -> None:
    name = some(project, norm="batch")
    folder = project / "results" / "runs" / name
    record = read_json(folder / "run.json")
    old = identity(record["config"], record["data"], 0)
    rewrite(folder.rename(folder.with_name(old)), trainer_version=0, run_id=old)
    with pytest.raises(UserError, match="was trained by trainer version 0, this is version"):
        differences(explain.find(PARAMS, old))
