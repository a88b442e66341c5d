"""After any change exactly the missing runs are trained, and all published results match the parameters.

Each cell is a change followed by one start of `snakemake` or `dvc repro`; all cells run in sequence in one folder.
"""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bnbench.plan.identity import TRAINER_VERSION
from tests.support.miniature import Project, belongs, locked, miniature, trained

pytestmark = pytest.mark.slow

START = {"snakemake": "snakemake --cores 2", "dvc": "dvc repro"}


@dataclass
class Column:
    """The sequence of cells of one tool: its current folder, and the outputs seen in each state."""

    tool: str
    here: Project
    states: dict[tuple[str, str], dict[str, bytes]] = field(default_factory=dict)

    def state(self) -> tuple[str, str]:
        """Return the inputs that determine the results: parameters and the trainer's version."""
        plan = self.here.folder / "src" / "bnbench" / "plan" / "identity.py"
        version = next(line for line in plan.read_text().splitlines() if line.startswith("TRAINER_VERSION"))
        return (self.here.folder / "params.yaml").read_text(), version


Change = Callable[[Column], None]


def edit(old: str, new: str, name: str = "params.yaml") -> Change:
    return lambda column: column.here.edit(old, new, name)


def forget(column: Column) -> None:
    shutil.rmtree(column.here.folder / ".snakemake")


def both(*changes: Change) -> Change:
    def change(column: Column) -> None:
        for one in changes:
            one(column)

    return change


def start(column: Column) -> None:
    assert trained(column.here.run(START[column.tool])) == 0


def kill(column: Column) -> None:
    """Kill a start and all its children once training has started; the next start finds its stale lock."""
    here = column.here
    here.edit("seed: [0]}]", "seed: [0]}, {norm: [batch], epochs: [400], seed: [0]}]")
    records = here.folder / "results" / "provenance"
    before, stored = set(records.iterdir()), here.stored()
    process = subprocess.Popen(
        START[column.tool].split(),
        cwd=here.folder,
        env=here.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    end = time.monotonic() + 60
    while not set(records.glob("*.json")) - before:
        assert process.poll() is None
        assert time.monotonic() < end
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert here.stored() == stored


def scramble(column: Column) -> None:
    """Set the modification time of every file to a random one within ten years."""
    dice = random.Random(0)
    for path in sorted(column.here.folder.rglob("*")):
        if ".git" not in path.parts and not path.is_symlink():
            moment = dice.uniform(1.4e9, 1.7e9)
            os.utime(path, (moment, moment))


def copy(column: Column) -> None:
    target = column.here.folder.with_name("copied")
    subprocess.run(["cp", "-a", column.here.folder, target], check=True)
    column.here = Project(target)


def clone(column: Column) -> None:
    """Push to a remote, clone the repository, pull. Results of plain `snakemake` are added by `dvc commit`."""
    here = column.here
    if column.tool == "snakemake":
        here.run("dvc commit --force")
    here.run("dvc remote add --default store", str(here.folder.with_name("remote")))
    here.commit()
    here.run("dvc push")
    target = here.folder.with_name("cloned")
    here.run("git clone --quiet .", str(target))
    column.here = Project(target)
    column.here.run("dvc pull")
    assert column.here.stored() == here.stored()
    assert column.here.outputs() == here.outputs()
    assert "Nothing to be done" in column.here.run("snakemake -n")
    locked(column.here)


def lose(column: Column) -> None:
    """Delete one run that is part of every state."""
    column.here.run("git status --short")
    lost = sorted(path for path in (column.here.folder / "results" / "runs").glob("[!.]*") if path.is_dir())[0]
    shutil.rmtree(lost)


RAISED = edit(
    f"TRAINER_VERSION = {TRAINER_VERSION}", f"TRAINER_VERSION = {TRAINER_VERSION + 1}", "src/bnbench/plan/identity.py"
)
COMMENT = edit(
    "def train_step(", "# said otherwise, meant the same\ndef train_step(", "src/bnbench/training/engine/step.py"
)
DIVERGING = edit(
    "seed: [0, 1, 2]\n", "seed: [0, 1, 2]\n      include: [{norm: [none], learning_rate: [1e9], seed: [0]}]\n"
)
WITHOUT, WITH = edit("seed: [0, 1, 2]\n", "seed: [0, 1]\n"), edit("seed: [0, 1]\n", "seed: [0, 1, 2]\n")

# event -> the change, and the number of runs that the next start trains
CELLS: dict[str, tuple[Change, int]] = {
    "fresh": (both(), 4),
    "a seed is added": (WITH, 2),
    "a grid value is added": (edit("learning_rate: [0.1]", "learning_rate: [0.1, 0.5]"), 6),
    "a grid value is removed": (edit("learning_rate: [0.1, 0.5]", "learning_rate: [0.1]"), 0),
    "a grid value is put back": (edit("learning_rate: [0.1]", "learning_rate: [0.1, 0.5]"), 0),
    "a figure's option is edited": (edit("title: A figure", "title: Another title"), 0),
    "the code of training is edited, its version is not raised": (COMMENT, 0),
    "one run diverges": (DIVERGING, 1),
    "a job is killed in mid-training": (kill, 1),
    ".snakemake is deleted": (forget, 0),
    ".snakemake is deleted, then a value put back": (both(WITHOUT, start, forget, WITH), 0),
    "all modification times are scrambled": (scramble, 0),
    "the folder is copied": (copy, 0),
    "clone and pull": (clone, 0),
    "one run is deleted in the clone": (lose, 1),
    "the trainer's version is raised": (RAISED, 14),
}


@pytest.mark.parametrize("tool", START)
def test_exactly_what_is_missing_is_trained(tmp_path: Path, tool: str) -> None:
    column = Column(tool, miniature(tmp_path / "project"))
    for name, (change, expected) in CELLS.items():
        change(column)
        before = column.here.stored()
        told = column.here.run(START[tool])
        after = column.here.stored()
        assert trained(told) == expected, f"{name}\n{told}"
        assert len(after.keys() - before.keys()) == 2 * expected, name
        assert {path: after[path] for path in before} == before, name
        belongs(column.here)
        outputs = column.here.outputs()
        assert column.states.setdefault(column.state(), outputs) == outputs, name
        if tool == "dvc":
            locked(column.here)
    assert "Nothing to be done" in column.here.run("snakemake -n")
