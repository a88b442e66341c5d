"""`snakemake` and `dvc repro` in one folder: each recognises the results of the other."""

import shutil
from pathlib import Path

import pytest

from tests.faults.derived import start
from tests.support.miniature import belongs, locked, miniature, trained
from tests.support.store import rewrite


def mark_of_all_runs(project: Path) -> Path:
    """Write marker and job file of a job with all runs, as `snakemake trained` does; return the marker's path."""
    runs, aside = project / "results" / "runs", project / "aside"
    runs.rename(aside)
    (mark,) = start().trained(None)
    aside.rename(runs)
    Path(mark).touch()
    return Path(mark)


def test_runs_that_came_out_the_same_ask_for_no_new_tables(project: Path) -> None:
    mark = mark_of_all_runs(project)
    flow = start()
    assert flow.trained(None) == []
    assert flow.pending == []
    assert flow.rebuilt(None) == []
    assert mark.exists()  # another start may be about to collect them by this marker


def test_runs_that_came_out_otherwise_ask_for_new_tables(project: Path) -> None:
    mark = mark_of_all_runs(project)
    rewrite(sorted((project / "results" / "runs").glob("[!.]*"))[0], test_accuracy=0.5)
    flow = start()
    assert flow.trained(None) == [str(mark)]
    assert len(flow.pending) == 1
    assert flow.rebuilt(None) == flow.tables[-1:]


def test_runs_that_were_never_collected_ask_for_tables(project: Path) -> None:
    mark = mark_of_all_runs(project)
    shutil.rmtree(project / "results" / "tables")
    assert start().trained(None) == [str(mark)]


@pytest.mark.slow
def test_after_dvc_repro_of_one_deleted_run_nothing_is_to_be_done(tmp_path: Path) -> None:
    project = miniature(tmp_path / "project")
    assert trained(project.run("dvc repro")) == 4
    assert "Nothing to be done" in project.run("snakemake -n")
    outputs = project.outputs()
    shutil.rmtree(sorted((project.folder / "results" / "runs").glob("[!.]*"))[0])
    assert trained(project.run("dvc repro")) == 1
    assert project.outputs() == outputs
    assert "Nothing to be done" in project.run("snakemake -n")
    locked(project)
    (project.folder / "reports" / "figures" / "S" / "f.png").write_bytes(b"")
    assert trained(project.run("dvc repro")) == 0
    assert project.outputs() == outputs
    assert "Nothing to be done" in project.run("snakemake -n")
    belongs(project)
    locked(project)
