"""Signals to a training, from its first moment to its last: it saves, ends, and leaves no process behind."""

import fcntl
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from bnbench.core import locks
from bnbench.training import checkpoints
from bnbench.workflow import Workflow
from tests.faults.processes import SIGNALS, catches, children, ended, loads, members, started, told, until
from tests.support.parameters import toy
from tests.support.shell import PROGRAM
from tests.training import test_job

prepared = test_job.prepared  # a fixture: the digits as a prepared folder
Process = subprocess.Popen[str]


@pytest.fixture
def job(tmp_path: Path, prepared: Path) -> Path:
    """Return a job of packs that take much longer than a test."""
    return test_job._job(tmp_path, prepared, [one.model_copy(update={"epochs": 50_000}) for one in test_job.LONG], 3)


def training(job: Path, folder: Path) -> list[str]:
    """Return the command of a training that saves checkpoints as often as possible."""
    return test_job._command(job, folder, "--checkpoint-seconds", "0.01")


def saved(folder: Path) -> list[Path]:
    return sorted((folder / "work" / "checkpoints").glob("*.checkpoint"))


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("send", [os.kill, os.killpg])
def test_a_training_that_gets_a_signal_saves_and_ends(
    tmp_path: Path, job: Path, number: signal.Signals, send: Callable[[int, int], None]
) -> None:
    with started(training(job, tmp_path), tmp_path) as process:
        until(lambda: len(saved(tmp_path)) == test_job.WORKERS, "a checkpoint of each worker's run")
        before = {path: path.stat().st_mtime_ns for path in saved(tmp_path)}
        send(process.pid, number)
        assert ended(process) == 75
    assert f"bnbench train: stopped by {number.name}; finished work is saved" in told(tmp_path)
    assert "Traceback" not in told(tmp_path)
    assert all(path.stat().st_mtime_ns >= stamp for path, stamp in before.items())
    states = [checkpoints.load(path.parent, path.stem) for path in before]  # None for a checkpoint that is not intact
    assert len({state.header.step for state in states if state}) <= 2
    assert None not in states


def _in_imports(process: Process) -> bool:
    return loads(process.pid, "libtorch")


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("moment", [_in_imports, children])
def test_a_signal_before_the_workers_are_set_up_is_heard(
    tmp_path: Path, job: Path, number: signal.Signals, moment: Callable[[Process], object]
) -> None:
    with started(training(job, tmp_path), tmp_path) as process:
        until(lambda: moment(process), "the moment")
        os.kill(process.pid, number)
        assert ended(process) == 75
    assert f"stopped by {number.name}" in told(tmp_path)
    assert "Traceback" not in told(tmp_path)


def test_a_second_ctrl_c_ends_a_training_that_cannot_save(tmp_path: Path, job: Path) -> None:
    with started(training(job, tmp_path), tmp_path) as process:
        until(lambda: saved(tmp_path), "a checkpoint")
        workers = children(process)
        for worker in workers:
            worker.suspend()
        os.killpg(process.pid, signal.SIGINT)
        until(lambda: _noted(process.pid), "the first is handled")
        os.killpg(process.pid, signal.SIGINT)
        until(lambda: process.poll() is not None, "the training gone")
        for worker in workers:
            worker.resume()
        assert ended(process) == -signal.SIGINT
    assert "Traceback" not in told(tmp_path)


def _noted(pid: int) -> bool:
    """Return whether a process has no pending signal."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return all(int(line.split()[1], 16) == 0 for line in lines if line.startswith(("SigPnd", "ShdPnd")))


def test_a_training_whose_main_process_is_killed_leaves_no_worker(tmp_path: Path, job: Path) -> None:
    with started(training(job, tmp_path), tmp_path) as process:
        until(lambda: saved(tmp_path), "a checkpoint")
        assert len(children(process)) == 2
        process.kill()
        assert ended(process) == -signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_training_whose_worker_gets_a_signal_ends(tmp_path: Path, job: Path, number: signal.Signals) -> None:
    with started(training(job, tmp_path), tmp_path) as process:
        until(lambda: len(saved(tmp_path)) == test_job.WORKERS, "a checkpoint of each worker's run")
        children(process)[0].send_signal(number)
        assert ended(process) == 75
    assert "resume" in told(tmp_path)
    assert "Traceback" not in told(tmp_path)


def test_a_worker_that_is_killed_while_idle_leaves_none_that_waits(tmp_path: Path, prepared: Path) -> None:
    one_pack = test_job._job(tmp_path, prepared, [test_job.LONG[0].model_copy(update={"epochs": 5000})])
    with started(training(one_pack, tmp_path), tmp_path) as process:
        until(lambda: saved(tmp_path), "a checkpoint")
        idle = min(children(process), key=lambda child: sum(child.cpu_times()[:2]))
        idle.kill()
        assert ended(process) == 75


@pytest.mark.parametrize("number", SIGNALS)
def test_a_training_that_waits_for_another_one_ends(tmp_path: Path, job: Path, number: signal.Signals) -> None:
    (tmp_path / "runs").mkdir()
    with (tmp_path / "runs" / locks.NAME).open("ab") as other, started(training(job, tmp_path), tmp_path) as process:
        fcntl.lockf(other, fcntl.LOCK_EX)
        until(lambda: len(children(process)) == 2, "workers")
        until(lambda: all(child.status() == "sleeping" for child in children(process)), "workers that wait")
        os.kill(process.pid, number)
        assert ended(process) == 75
    assert not saved(tmp_path)


def test_a_training_under_nohup_outlives_its_terminal(tmp_path: Path, job: Path) -> None:
    with started(training(job, tmp_path), tmp_path, ignore=(signal.SIGHUP,)) as process:
        until(lambda: saved(tmp_path), "a checkpoint")
        os.killpg(process.pid, signal.SIGHUP)
        stamp = saved(tmp_path)[0].stat().st_mtime_ns
        until(lambda: saved(tmp_path)[0].stat().st_mtime_ns > stamp, "another checkpoint")
        assert len(members(process)) == 3
        process.terminate()
        assert ended(process) == 75


@pytest.mark.parametrize("number", SIGNALS)
def test_any_other_command_ends_by_a_signal_without_a_traceback(tmp_path: Path, number: signal.Signals) -> None:
    toy(tmp_path)
    with started([PROGRAM, "prepare", "digits", "--out", "data"], tmp_path) as process:
        until(lambda: catches(process.pid, signal.SIGUSR1), "a handler")
        os.killpg(process.pid, number)
        assert ended(process) == 75
    assert told(tmp_path).startswith(f"bnbench prepare: stopped by {number.name}; ")
    assert told(tmp_path).count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["params.yaml", "told"]


def test_the_end_of_a_start_leaves_timers_of_others_alone(tmp_path: Path) -> None:
    flow = Workflow(toy(tmp_path), {}, tmp_path)
    timer = threading.Timer(60, lambda: None)
    timer.start()
    flow.end()
    assert not timer.finished.is_set()
    timer.cancel()
