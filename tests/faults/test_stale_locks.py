"""Snakemake's lock of a start known to be dead is removed; otherwise a message names the lock's owner."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.clones import started, until
from tests.support.miniature import Project, miniature

pytestmark = pytest.mark.slow

START = ("snakemake", "--cores", "1", "data")
UNKNOWN = "belongs to an unknown Snakemake; if none runs here any more: snakemake --unlock"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return miniature(tmp_path / "project")


def killed(project: Project) -> list[Path]:
    """Start training, kill all its processes, and return the files of Snakemake's lock."""
    with started(project.folder, "snakemake", "--cores", "1", **variables(project)) as start:
        until(lambda: list(project.folder.glob("results/provenance/*.json")), lambda: start.told)
        start.signal(signal.SIGKILL)
        start.process.wait()
    return left(project)


def variables(project: Project) -> dict[str, str]:
    return {"PYTHONPATH": str(project.folder / "src")}


def left(project: Project) -> list[Path]:
    return sorted((project.folder / ".snakemake" / "locks").glob("*"))


def notes(project: Project, **changes: Any) -> None:
    """Change the recorded starts of a project."""
    path = project.folder / ".bnbench" / "starts.json"
    path.write_text(json.dumps([{**start, **changes} for start in json.loads(path.read_text())]))


def again(project: Project, code: int = 0) -> str:
    with started(project.folder, *START, **variables(project)) as start:
        return start.ended(code)


def test_the_lock_of_a_killed_start_of_this_machine_is_removed(project: Project) -> None:
    assert killed(project)
    assert "note: " in project.run("bnbench doctor", code=None)  # 1 if the signal came while a run was written
    assert "removed the lock of a Snakemake of this machine that was killed" in again(project)
    assert not left(project)


def test_a_number_that_another_process_has_now_makes_no_difference(project: Project) -> None:
    killed(project)
    notes(project, process=os.getpid())
    again(project)


def test_a_machine_that_was_started_anew_has_none_of_its_old_processes(project: Project) -> None:
    killed(project)
    notes(project, boot="another")
    if not Path("/etc/machine-id").is_file() or not Path("/etc/machine-id").read_text().strip():
        pytest.skip("this machine has no name of its own")
    again(project)


def test_the_lock_of_another_machine_stays_and_is_told(project: Project) -> None:
    files = killed(project)
    notes(project, boot="another", host="elsewhere", process=12)
    told = again(project, code=1)
    assert "belongs to process 12 on elsewhere, another machine; if none runs here" in told
    assert left(project) == files
    assert "snakemake --unlock" in project.run("bnbench doctor", code=1)
    project.run("snakemake --unlock")
    again(project)


@pytest.mark.parametrize("damage", ["empty", "cut", "other"])
def test_a_lock_that_nobody_noted_stays_and_is_told(project: Project, damage: str) -> None:
    killed(project)
    path = project.folder / ".bnbench" / "starts.json"
    if damage == "other":
        notes(project, locks={})
    else:
        path.write_bytes(b"" if damage == "empty" else path.read_bytes()[:20])
    assert UNKNOWN in again(project, code=1)
    assert left(project)


def test_a_lock_that_cannot_be_read_is_told(project: Project) -> None:
    folder = project.folder / ".snakemake" / "locks"
    folder.mkdir(parents=True)
    (folder / "0.input.lock").write_bytes(b"\xff\xfe\x00")
    told = again(project, code=1)
    assert "0.input.lock, a lock of Snakemake, cannot be read" in told
    assert "if none runs here: rm " in told


def test_a_start_that_lives_keeps_its_lock_even_if_it_stands_still(project: Project) -> None:
    with started(project.folder, "snakemake", "--cores", "1", **variables(project)) as first:
        until(lambda: list(project.folder.glob("results/provenance/*.json")), lambda: first.told)
        first.signal(signal.SIGSTOP)
        files = left(project)
        told = again(project, code=1)
        assert f"another one works here, process {first.process.pid} (" in told
        assert left(project) == files
        assert f"snakemake is running here (process {first.process.pid})" in project.run("bnbench doctor")
        first.signal(signal.SIGCONT)
        first.ended()


def test_of_several_starts_after_a_killed_one_one_works_and_none_fails_otherwise(project: Project) -> None:
    killed(project)

    words = ("snakemake", "--cores", "1")
    with contextlib.ExitStack() as stack:
        starts = [stack.enter_context(started(project.folder, *words, **variables(project))) for _ in range(3)]
        codes = [start.process.wait(300) for start in starts]
    told = "\n".join(start.told for start in starts)
    assert 0 in codes, told
    assert "Traceback" not in told
    refused = [start.told for start, code in zip(starts, codes, strict=True) if code]
    assert all("another one works here, process " in text for text in refused), told
    assert told.count("removed the lock") == 1
    assert len(list(project.folder.glob("results/runs/*/run.json"))) == 4
    assert not left(project)
    done = subprocess.run(
        ["git", "status", "--porcelain"], cwd=project.folder, capture_output=True, text=True, check=True
    )
    assert "runs" not in done.stdout


def test_copies_of_outputs_that_a_killed_start_left_are_removed(tmp_path: Path) -> None:
    left = tmp_path / ".snakemake" / "backups" / "data" / "prepared"
    left.mkdir(parents=True)
    code = "import pathlib, sys; from bnbench.core import starts; starts.enter(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)
    assert not left.exists()


def test_a_start_that_was_killed_while_it_prepared_data_is_gone_on_from_to_the_end(project: Project) -> None:
    project.run("snakemake --cores 1 data")
    (record,) = (project.folder / ".snakemake" / "metadata").iterdir()  # of the prepared data
    marks = project.folder / ".snakemake" / "incomplete"
    marks.mkdir(exist_ok=True)
    (marks / record.name).write_text('{"external_jobid": null}')  # written by Snakemake before it runs a rule
    project.run("snakemake --cores 1")
    assert len(project.stored()) == 8
    assert "train" not in project.run("snakemake --cores 1 -n")
