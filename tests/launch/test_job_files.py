"""Job files of one invocation: written, read back, deleted."""

from pathlib import Path

import pytest

from bnbench.launch.job_files import JobFiles
from bnbench.plan.plan import Plan
from tests.support.parameters import toy


def files(folder: Path) -> JobFiles:
    return JobFiles(Plan(toy(folder), root=folder), None)


def test_one_job_has_all_packs_of_this_machine_and_is_read_back(tmp_path: Path) -> None:
    jobs = files(tmp_path)
    (mark,) = jobs.marks
    assert Path(mark).with_suffix(".json").is_file()
    assert jobs.all_packs() == [jobs.packs(Path(mark).stem)] == [jobs.plan.packs]
    assert not Path(jobs.pending[0]).exists()


def test_the_files_of_other_jobs_are_deleted_and_the_own_ones_kept(tmp_path: Path) -> None:
    jobs = files(tmp_path)
    (mark,) = jobs.marks
    (jobs.folder / "other.json").touch()
    (jobs.folder / "other.done").touch()
    jobs.forget_others()
    assert list(jobs.folder.iterdir()) == [Path(mark).with_suffix(".json")]


def test_a_job_that_cannot_be_read_ends_snakemake_with_a_message(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"snakemake: .*none\.json: no such file"):
        files(tmp_path).packs("none")
