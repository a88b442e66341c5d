"""Starts stopped at random moments: all processes end, nothing is lost, a plain restart gives the same bytes."""

import contextlib
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from bnbench.core.files import write_sealed
from bnbench.plan.plan import Plan
from tests.faults.processes import children, ended, members, started, told, until, words
from tests.support.miniature import Project, miniature
from tests.support.shell import PROGRAM
from tests.training import test_job

prepared = test_job.prepared  # a fixture: the digits as a prepared folder
Process = subprocess.Popen[str]


def group(process: Process) -> list[psutil.Process]:
    """Return all processes of a start, as a terminal would signal them."""
    return members(process)


def alone(process: Process) -> list[psutil.Process]:
    return [other for other in members(process) if other.pid == process.pid]


def training(process: Process) -> list[psutil.Process]:
    """Return the main process of a training, if any."""
    found = [other for other in members(process) if "train" in words(other)]
    return [other for other in found if other.ppid() not in {one.pid for one in found}]


def worker(process: Process) -> list[psutil.Process]:
    """Return one worker of a training, if any."""
    return [child for main in training(process) for child in main.children()][:1]


ENDS: list[tuple[signal.Signals, Callable[[Process], list[psutil.Process]]]] = [
    *((number, group) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)),
    *((number, alone) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)),
    *((number, training) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)),
    *((number, worker) for number in (signal.SIGTERM, signal.SIGKILL)),
]


@dataclass
class Session:
    """One command, restarted until it succeeds; counts the signals sent to it and how often it had to be unlocked."""

    command: list[str]
    folder: Path
    stored: Callable[[], dict[str, bytes]]
    environment: dict[str, str] | None = None
    sent: Counter[str] = field(default_factory=Counter)
    unlocked: int = 0

    def disturb(self, dice: random.Random, seconds: float, times: int) -> None:
        """Start the command and send it a signal within its first seconds, up to `times` times or until it succeeds."""
        for _ in range(times):
            before, moment = self.stored(), dice.uniform(0, seconds)
            with started(self.command, self.folder, self.environment) as process:
                _sleep(process, moment)
                number, whom = dice.choice(ENDS)
                for other in whom(process) or alone(process):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        other.send_signal(number)
                        self.sent[f"{number.name} to {whom.__name__}"] += 1
                code = ended(process)
            after = self.stored()
            assert before.items() <= after.items()
            if code == 0:
                return
            self.unlock()

    def finish(self) -> None:
        """Start the command once more, undisturbed."""
        with started(self.command, self.folder, self.environment) as process:
            assert ended(process, 900) == 0, told(self.folder)

    def unlock(self) -> None:
        """Follow Snakemake's advice on its lock where a killed process left one."""
        if self.command[0] == "snakemake" and list(self.folder.glob(".snakemake/locks/*")):
            self.unlocked += 1
            Project(self.folder).run("snakemake --unlock --cores 1")


def _sleep(process: Process, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        time.sleep(0.01)


@pytest.mark.parametrize("seed", [0])
def test_a_training_ended_at_random_moments_comes_to_the_same_bytes(tmp_path: Path, prepared: Path, seed: int) -> None:
    job = test_job._job(tmp_path, prepared, test_job.LONG, width=3)
    whole = tmp_path / "whole"
    subprocess.run(test_job._command(job, whole), check=True, timeout=60)
    command = test_job._command(job, tmp_path, "--checkpoint-seconds", "0.01")
    session = Session(command, tmp_path, lambda: test_job._contents(tmp_path))
    session.disturb(random.Random(seed), 3.0, 4)
    session.finish()
    assert test_job._contents(tmp_path) == test_job._contents(whole)
    assert not list((tmp_path / "work" / "checkpoints").iterdir())
    print(dict(session.sent))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Project]:
    """Return the miniature with longer training before its first start, and a copy of it with all results."""
    project = miniature(tmp_path_factory.mktemp("ends") / "project")
    project.edit("base: {epochs: 1,", "base: {epochs: 1500,")
    project.edit("where: {epochs: 1}", "where: {epochs: 1500}")
    whole = Project(project.folder.with_name("whole"))
    shutil.copytree(project.folder, whole.folder)
    whole.run("snakemake --cores 2")
    return project, whole


@pytest.fixture
def session(reference: tuple[Project, Project], tmp_path: Path) -> Iterator[Session]:
    """Yield `snakemake` in a copy of the miniature; afterwards check that all results equal the reference's."""
    project, whole = reference
    copy = Project(tmp_path / "project")
    shutil.copytree(project.folder, copy.folder)
    session = Session(["snakemake", "--cores", "2"], copy.folder, copy.stored, copy.environment)
    yield session
    session.finish()
    assert copy.stored() == whole.stored()
    assert copy.outputs() == whole.outputs()
    print(dict(session.sent), f"unlocked {session.unlocked} times")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_a_start_ended_at_random_moments_comes_to_the_same_bytes(session: Session, seed: int) -> None:
    session.disturb(random.Random(seed), 6.0, 6)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_snakemake_passes_an_end_on_to_its_training_and_unlocks(session: Session, number: signal.Signals) -> None:
    with started(session.command, session.folder, session.environment) as process:
        until(lambda: worker(process), "workers")
        process.send_signal(number)
        assert ended(process) == 1
    assert not list(session.folder.glob(".snakemake/locks/*"))


@pytest.mark.slow
def test_a_killed_snakemake_leaves_no_command_behind(session: Session) -> None:
    with started(session.command, session.folder, session.environment) as process:
        until(lambda: worker(process), "workers")
        process.kill()
        assert ended(process) == -signal.SIGKILL
    session.unlock()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_figures_leave_no_worker_behind(tmp_path: Path, project: Path, number: signal.Signals) -> None:
    plan = Plan(Path("params.yaml")).record().as_dict()
    study = plan["studies"]["S"]
    study["figures"] = {f"f{i}": study["figures"]["f"] for i in range(12)}
    study["order"] = list(study["figures"])
    write_sealed(tmp_path / "plan.json", plan)
    words = ["figures", str(tmp_path / "plan.json"), "--tables", "results/tables", "--out", str(tmp_path / "figures")]
    with started([PROGRAM, *words, "--workers", "2"], project) as process:
        until(lambda: len(children(process)) >= 2, "workers")
        process.send_signal(number)
        assert ended(process) == (-number if number == signal.SIGKILL else 75)
    if number != signal.SIGKILL:  # another signal may hit it while it starts a process
        assert "Traceback" not in told(project)
        assert not list(tmp_path.glob("figures/.*"))
