"""Figures and report of a small plan, written by the installed command under a given environment."""

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
    """Write a plan of two studies with these figures for E1, and its tables, to a folder; return the folder."""
    plan = make_plan()
    plan["studies"]["E1"] |= {"figures": figures, "order": list(figures)}
    fill_store(plan, folder / "runs")
    collect(as_record(plan), folder / "runs", folder / "tables")
    write_sealed(folder / "plan.json", plan)
    return folder


def command(folder: Path, *words: object, cwd: Path | None = None, variables: Variables = None) -> str:
    """Run a command that must succeed and return its output; `variables` extend the environment."""
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
    """Draw the figures into `out` and return the files' contents by path."""
    given = ("--tables", folder / "tables", "--out", out / "figures", "--workers", workers)
    command(folder, "figures", folder / "plan.json", *given, cwd=cwd, variables=variables)
    return contents(out / "figures")


def report(folder: Path, out: Path, cwd: Path | None = None, variables: Variables = None) -> dict[str, bytes]:
    """Write the report of the figures in `out` and return the contents of its three files by name."""
    given = ("--tables", folder / "tables", "--figures", out / "figures", "--out", out)
    command(folder, "report", folder / "plan.json", *given, cwd=cwd, variables=variables)
    return {name: content for name, content in contents(out).items() if name.startswith("report.")}
