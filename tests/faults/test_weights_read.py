"""No command uses a file of a stored run before verifying that it is intact and of that run."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bnbench.claims.table import judge
from bnbench.core.errors import UserError
from bnbench.core.files import read_json, write_json
from bnbench.data.manifest import seal
from bnbench.demo.views import choose, data_of
from bnbench.manage import explain
from bnbench.plan.plan import Plan
from bnbench.store import run_record
from bnbench.tables.collect import collect
from bnbench.training import run_writer
from tests.faults.trainings import begun, command, trained

SHAPE = (1, 8, 8)
FILES = ("run.json", "history.json", "probes.parquet", "weights.safetensors")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "project"
    with pytest.MonkeyPatch.context() as patch:
        plan = begun(folder)
        patch.chdir(folder)
        trained(plan)
    return folder


@pytest.fixture
def plan(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Return the plan of a copy of a project whose runs are trained."""
    subprocess.run(["cp", "-r", made, tmp_path], check=True)
    monkeypatch.chdir(tmp_path / "project")
    return Plan(Path("params.yaml"))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-9] ^= 16
    path.write_bytes(content)


def tables(plan: Plan, _run_id: str) -> None:
    collect(plan.record(), plan.store, Path("results/tables"), judge)


# readers of the run store, given a plan and a run
READERS: dict[str, Callable[[Plan, str], Any]] = {
    "the network": lambda plan, run_id: run_writer.read_network(plan.store, run_id, SHAPE),
    "the choice of runs to show": lambda plan, _: choose(plan, [SHAPE]),
    "the data of a run": lambda plan, run_id: data_of(plan, [run_id]),
    "an explanation": lambda plan, run_id: explain.find(plan.params, run_id),
    "tables": tables,
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("reader", READERS)
def test_whoever_reads_a_run_notices_an_altered_file(plan: Plan, reader: str, file: str) -> None:
    run_id = sorted(plan.runs)[0]
    flip(plan.store / run_id / file)
    with pytest.raises(
        UserError, match=rf"run {run_id} in the run store cannot be used: .*{run_id}/{file}[ :]"
    ) as told:
        READERS[reader](plan, run_id)
    assert f"Delete the folder {plan.store / run_id} and start again: only that run" in str(told.value)


@pytest.mark.parametrize("reader", READERS)
def test_whoever_reads_a_run_notices_that_it_is_another_one(plan: Plan, reader: str) -> None:
    first, second, *_ = sorted(plan.runs)
    (plan.store / first).rename("kept")
    (plan.store / second).rename(plan.store / first)
    Path("kept").rename(plan.store / second)
    with pytest.raises(UserError, match=f"{first} holds the intact run {second} under another run's name"):
        READERS[reader](plan, first)


@pytest.mark.parametrize("key", ["run_id", "config", "data", "trainer_version", "files", "status", "test_accuracy"])
@pytest.mark.parametrize("reader", ["the choice of runs to show", "an explanation", "tables"])
def test_a_record_that_lacks_a_key_is_told(plan: Plan, reader: str, key: str) -> None:
    run_id = sorted(plan.runs)[0]
    path = plan.store / run_id / "run.json"
    write_json(path, seal({name: value for name, value in read_json(path).items() if name != key}))
    with pytest.raises(UserError, match=rf"(?s)run {run_id} .*run\.json: .*{key}"):
        READERS[reader](plan, run_id)


def _folder_for_a_file(run: Path) -> None:
    (run / "history.json").unlink()
    (run / "history.json").mkdir()


def _folder_for_the_record(run: Path) -> None:
    (run / "run.json").unlink()
    (run / "run.json").mkdir()


def _file_for_the_folder(run: Path) -> None:
    run.rename("kept")
    run.write_text("dear to somebody")


@pytest.mark.parametrize("damage", [_folder_for_a_file, _folder_for_the_record, _file_for_the_folder])
def test_a_folder_for_a_file_and_a_file_for_a_folder_are_told(plan: Plan, damage: Callable[[Path], None]) -> None:
    run = plan.store / sorted(plan.runs)[0]
    damage(run)
    with pytest.raises(UserError, match=f"run {run.name} in the run store cannot be used: .* cannot be read: "):
        run_record.read(run)


def test_a_hidden_file_beside_a_runs_own_has_no_effect(plan: Plan) -> None:
    run = plan.store / sorted(plan.runs)[0]
    before = run_record.read(run)
    (run / ".DS_Store").write_bytes(b"of a file manager")
    assert run_record.read(run) == before


def test_a_file_too_many_is_told_without_advice_to_delete_the_run(plan: Plan) -> None:
    run = plan.store / sorted(plan.runs)[0]
    (run / "notes.txt").write_text("mine")
    with pytest.raises(
        UserError, match=r"notes.txt is not part of the run\.\nMove it away: the run itself is complete"
    ):
        run_record.read(run)


@pytest.mark.slow
@pytest.mark.parametrize("file", ["weights.safetensors", "run.json"])
def test_the_drawing_page_does_not_open_with_an_altered_run(plan: Plan, file: str) -> None:
    pytest.importorskip("gradio")
    run_id = sorted(plan.runs)[0]
    flip(plan.store / run_id / file)
    done = command("bnbench", "demo", "--no-browser", "--run", run_id)
    assert done.returncode == 2, done.stderr
    assert re.search(rf"{run_id}/{file}( was altered|: no JSON)", done.stderr)
    assert "Traceback" not in done.stderr
