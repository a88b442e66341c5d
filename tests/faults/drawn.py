"""Figures and report of a small plan, made by the installed command under an environment of one's own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from bnbench.core.files import write_sealed
from bnbench.tables.collect import collect
from tests.support.shell import contents
from tests.support.store import as_record, fill_store, make_plan

Variables = dict[str, str] | None
COMMAND = Path(sys.executable).with_name("bnbench")
HEATMAP = {
    "kind": "heatmap", "title": "A map", "x": "learning_rate", "against": "batch_size", "col": "norm", "row": "model",
}  # fmt: skip


def filled(folder: Path, **figures: dict[str, Any]) -> Path:
    """A folder with a plan of two studies, the figures of E1 as given, and its tables."""
    plan = make_plan()
    plan["studies"]["E1"] |= {"figures": figures, "order": list(figures)}
    fill_store(plan, folder / "runs")
    collect(as_record(plan), folder / "runs", folder / "tables")
    write_sealed(folder / "plan.json", plan)
    return folder


def command(folder: Path, *words: object, cwd: Path | None = None, variables: Variables = None) -> str:
    """What a command says that must end well; `variables` come on top of the environment."""
    done = subprocess.run(
        [COMMAND, *map(str, words)],
        cwd=cwd or folder, env=os.environ | (variables or {}), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    assert "Traceback" not in told
    return told


def figures(
    folder: Path, out: Path, cwd: Path | None = None, workers: int = 1, variables: Variables = None
) -> dict[str, bytes]:
    """The figures' files by their places, drawn into `out`."""
    given = ("--tables", folder / "tables", "--out", out / "figures", "--workers", workers)
    command(folder, "figures", folder / "plan.json", *given, cwd=cwd, variables=variables)
    return contents(out / "figures")


def report(folder: Path, out: Path, cwd: Path | None = None, variables: Variables = None) -> dict[str, bytes]:
    """The report's three files, of figures in `out`."""
    given = ("--tables", folder / "tables", "--figures", out / "figures", "--out", out)
    command(folder, "report", folder / "plan.json", *given, cwd=cwd, variables=variables)
    return {name: content for name, content in contents(out).items() if name.startswith("report.")}
