"""Several tiers in one file: an invalid tier hides nothing of the others; runs of other tiers are reported as such."""

import shutil
from pathlib import Path

import pytest

from bnbench.cli import main
from bnbench.core.files import read_json
from bnbench.plan.plan import Plan

PARAMS = Path("params.yaml")


@pytest.fixture
def small_invalid(project: Path) -> str:
    """Make tier small of a project invalid and return the id of a stored run."""
    text = PARAMS.read_text()
    old = "tiers: {small: {base: {epochs: 2}}}"
    assert text.count(old) == 1
    PARAMS.write_text(text.replace(old, "tiers: {small: {base: {batch_size: 9999}}}"))
    return sorted((project / "results" / "runs").glob("[!.]*"))[0].name


def test_a_run_is_explained_where_another_tier_is_invalid(
    small_invalid: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", small_invalid]) == 0
    told = capsys.readouterr().out
    assert "requested by study S (A study), tier quick" in told
    assert "tier small is invalid and was not searched: params.yaml:" in told
    assert "a batch of 9999 is larger than the training set" in told


def test_the_tier_in_use_may_be_the_invalid_one(small_invalid: str, capsys: pytest.CaptureFixture[str]) -> None:
    PARAMS.write_text(PARAMS.read_text().replace("tier: quick", "tier: small", 1))
    assert main(["explain", small_invalid]) == 0
    assert "tier quick" in capsys.readouterr().out


@pytest.mark.usefixtures("small_invalid")
def test_nothing_is_removed_while_a_tier_is_invalid(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stray = project / "results" / "runs" / ("f" * 16)  # may belong to the invalid tier
    shutil.copytree(sorted((project / "results" / "runs").glob("[!.]*"))[0], stray)
    for words in (["prune"], ["prune", "--delete"]):
        assert main(words) == 2
        told = capsys.readouterr()
        assert str(stray.relative_to(project)) in told.out
        assert "nothing is removed while a tier is invalid" in told.err
        assert "tier small: params.yaml:" in told.err
        assert stray.is_dir()


def test_a_plan_names_the_runs_of_other_tiers_as_such(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--tier", "small"]) == 0
    told = capsys.readouterr().out
    assert "also in results/runs: 4 of tier quick" in told
    assert "orphaned" not in told
    stray = project / "results" / "runs" / ("f" * 16)
    shutil.copytree(sorted((project / "results" / "runs").glob("[!.]*"))[0], stray)
    assert main(["plan", "--tier", "small"]) == 0
    told = capsys.readouterr().out
    assert "also in results/runs: 4 of tier quick" in told
    assert "also in results/runs: 1 in no study of any tier; `bnbench prune` lists them" in told


def test_runs_of_a_tier_that_is_invalid_are_not_said_to_be_of_none(
    project: Path, small_invalid: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert read_json(project / "results" / "runs" / small_invalid / "run.json")["run_id"] in Plan(PARAMS).runs
    stray = project / "results" / "runs" / ("f" * 16)
    shutil.copytree(project / "results" / "runs" / small_invalid, stray)
    assert main(["plan"]) == 0
    told = capsys.readouterr().out
    assert "also in results/runs: 1 of no valid tier" in told
    assert "tier small is invalid: params.yaml:" in told
