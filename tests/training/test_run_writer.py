"""The run store: a run is written completely or not at all, with the same bytes each time; locks exclude others."""

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from bnbench.core import files, locks
from bnbench.core.errors import SystemFault
from bnbench.training import run_writer as store
from bnbench.training.pack.pack import Outcome
from tests.support.little import run, trained

pytestmark = pytest.mark.usefixtures("step_by_step")

NAME = "0" * 16


def _outcome() -> Outcome:
    return trained([run(model="64-10", epochs=1)])[0]


def test_a_run_trained_again_gives_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        store.write(tmp_path / folder, _outcome(), "data")
    for name in ("run.json", "history.json"):
        assert (tmp_path / "one" / NAME / name).read_bytes() == (tmp_path / "two" / NAME / name).read_bytes()


def test_a_stored_run_is_never_written_again(tmp_path: Path) -> None:
    outcome = _outcome()
    store.write(tmp_path, outcome, "first")
    store.write(tmp_path, outcome, "second")
    assert files.read_json(tmp_path / NAME / "run.json")["data"] == "first"
    assert sorted(path.name for path in tmp_path.iterdir()) == [locks.NAME, NAME]


def test_a_disk_that_fills_up_leaves_no_run_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SystemFault, match="no space is left on the disk; free some"):
        store.write(tmp_path / "store", _outcome(), "data")
    assert [path.name for path in (tmp_path / "store").iterdir()] == [locks.NAME]


HOLD = """
import sys, pathlib
from bnbench.core import locks
with locks.all_of([locks.of(pathlib.Path(sys.argv[1]) / name) for name in sys.argv[2:]]):
    print("held", flush=True)
    sys.stdin.read()
"""


def _holder(store: Path, *run_ids: str) -> "subprocess.Popen[str]":
    """Start a process that acquires the locks, prints `held`, and holds them until its input ends."""
    command = [sys.executable, "-c", HOLD, str(store), *run_ids]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _held(process: "subprocess.Popen[str]", seconds: float) -> bool:
    assert process.stdout
    return bool(select.select([process.stdout], [], [], seconds)[0])


def test_a_run_is_locked_for_other_processes_until_its_process_ends(tmp_path: Path) -> None:
    first = _holder(tmp_path, "00000000000000aa", "ffffffffffffffff")
    assert _held(first, 30)
    second = _holder(tmp_path, "ffffffffffffffff")
    third = _holder(tmp_path, "0000000000000001")
    assert _held(third, 30)  # another run is free; and the second process, started before, had enough time
    assert not _held(second, 0.3)
    first.kill()
    assert _held(second, 30)
    for process in (first, second, third):
        process.communicate(timeout=30)
