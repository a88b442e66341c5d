"""Orphaned files are removed on request; files that a study of any tier requests stay."""

from pathlib import Path

import pytest

from bnbench.cli import main
from bnbench.core import locks
from bnbench.core.files import read_json
from bnbench.manage.prune import size
from bnbench.plan.plan import Plan
from tests.support.parameters import TOY

PARAMS = Path("params.yaml")


def paths(project: Path) -> set[str]:
    return {str(path.relative_to(project)) for path in project.rglob("*") if path.is_file() and path.name != locks.NAME}


def test_removing_a_grid_value_leaves_orphans_that_are_removed_on_request(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    PARAMS.write_text(PARAMS.read_text().replace("seed: [0, 1]", "seed: [0]"))
    runs = project / "results" / "runs"
    seeds = {folder.name: read_json(folder / "run.json")["config"]["seed"] for folder in runs.glob("[!.]*")}
    before = paths(project)
    assert main(["prune"]) == 0
    assert paths(project) == before
    assert "2 orphaned runs; 2 files and folders" in capsys.readouterr().out
    assert main(["prune", "--delete"]) == 0
    assert {folder.name for folder in runs.glob("[!.]*")} == {name for name, seed in seeds.items() if seed == 0}
    gone = {name for name, seed in seeds.items() if seed == 1}
    assert before - paths(project) == {path for path in before if any(name in path for name in gone)}
    capsys.readouterr()
    assert main(["prune"]) == 0
    assert "0 orphaned runs; 0 files" in capsys.readouterr().out


def test_a_run_that_another_tier_requests_stays(project: Path) -> None:
    other = Plan(PARAMS, "small")
    name = next(iter(other.runs))
    assert name not in Plan(PARAMS).runs
    folder = project / "results" / "runs" / name
    folder.mkdir()
    (folder / "run.json").write_text("{}")
    assert main(["prune", "--delete"]) == 0
    assert folder.is_dir()


def test_data_records_and_checkpoints_go_with_their_last_run(project: Path) -> None:
    saved = project / ".bnbench" / "checkpoints" / f"{'0' * 16}.checkpoint"
    saved.parent.mkdir(parents=True)
    saved.touch()
    PARAMS.write_text(PARAMS.read_text().replace("seed: 0}", "seed: 1}", 1))  # another split: other data, other runs
    assert TOY.count("seed: 0}") == 1
    assert main(["prune", "--delete"]) == 0
    for place in ("results/runs", "results/timings", "results/provenance", "data/prepared", ".bnbench/checkpoints"):
        assert [path.name for path in (project / place).iterdir() if path.name != locks.NAME] == [], place


def test_a_folder_is_as_large_as_its_files(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "one").write_bytes(b"12345")
    (tmp_path / "a" / "b" / "two").write_bytes(b"678")
    assert (size(tmp_path / "a"), size(tmp_path / "a" / "one")) == (8, 5)
