"""Processes of several clones that share a run store or data, started as users start them."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bnbench.core.files import read_json
from bnbench.data.prepare import prepare
from bnbench.plan.packs import write_packs
from bnbench.plan.plan import Plan
from tests.support.miniature import EDITS
from tests.support.parameters import toy

PROGRAMS = Path(sys.executable).parent
SECONDS = 120.0
PLACES = ("--out", "results/runs", "--timings", "results/timings", "--provenance", "results/provenance")
TRAIN = ("bnbench", "train", "job.json", *PLACES, "--workers", 2)  # trains the job of a clone


@dataclass(frozen=True)
class Started:
    """A process in its own process group, and the file of its output."""

    process: "subprocess.Popen[bytes]"
    out: Path

    @property
    def told(self) -> str:
        return self.out.read_text()

    def ended(self, code: int = 0) -> str:
        """Wait for the process, check its exit code and the absence of a traceback, and return its output."""
        assert self.process.wait(SECONDS) == code, self.told
        assert "Traceback" not in self.told, self.told
        return self.told

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


@contextlib.contextmanager
def started(folder: Path, *words: object, **variables: str) -> Iterator[Started]:
    """Start `bnbench` or `snakemake` of this environment in a folder; kill its process group at the block's end."""
    variables = {"PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}", **variables}
    out = folder / f".out-{time.monotonic_ns()}"
    with out.open("wb") as file:
        process = subprocess.Popen(
            [str(PROGRAMS / str(words[0])), *map(str, words[1:])], cwd=folder, env={**os.environ, **variables},
            stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip
    one = Started(process, out)
    try:
        yield one
    finally:
        one.signal(signal.SIGKILL)
        process.wait()


def until(seen: Callable[[], object], what: Callable[[], str] = str) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + SECONDS
    while not seen():
        assert time.monotonic() < end, what()
        time.sleep(0.02)


def clone(folder: Path, *edits: tuple[str, str]) -> Plan:
    """Create a folder with a parameter file of two short runs, its data, and a job for them in `job.json`."""
    folder.mkdir(parents=True)
    plan = Plan(toy(folder, *EDITS, *edits), root=folder)
    for pack in plan.packs:
        prepare("digits", plan.resolved.datasets["digits"], None, folder / pack.data)
    write_packs(folder / "job.json", plan.packs)
    return plan


def begun(folder: Path) -> set[str]:
    """Return the runs that a clone's processes started to train, by their provenance records."""
    records = (folder / "results" / "provenance").glob("[!.]*.json")
    return {run for path in records for run in read_json(path)["runs"]}


def share(folder: Path, *places: str) -> Path:
    """Create a second clone beside the first one, with symbolic links to its `places`."""
    other = folder.with_name(f"{folder.name}-too")
    for place in places:
        (folder / place).mkdir(parents=True, exist_ok=True)
        (other / place).parent.mkdir(parents=True, exist_ok=True)
        (other / place).symlink_to(folder / place)
    return other
