"""Timing of commands with a large run store: in a copy of the project with made-up runs.

    python benchmarks/made_up_runs.py FOLDER --runs 10000

Nothing is trained: each run's files have the size that training gives them (20 evaluations), with random numbers.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from scaling import ROWS, write_store

from bnbench.plan.plan import Plan

ROOT = Path(__file__).parents[1]
COPIED = ("dvc.yaml", "workflow", "src", ".gitignore", ".dvcignore", ".dvc/config", ".dvc/plots")
COMMANDS = (
    "snakemake -n",
    "snakemake data",
    "snakemake tables",
    "snakemake",
    "snakemake -n",
    "dvc commit --force",
    "dvc status",
    "bnbench plan",
    "bnbench doctor",
)
STUDY = """
studies:
  S:
    title: Made-up runs
    question: How long do the tools take?
    work: E
    base: {{epochs: {epochs}}}
    grid:
      product:
        norm: [none, batch]
        seed: [{seeds}]
    figures:
      curves: {{kind: curves, title: Curves, y: valid_accuracy, hue: norm}}
"""


def project(folder: Path, runs: int) -> Plan:
    """Write a copy of the project whose one study has this number of runs; return its plan."""
    for name in COPIED:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    text = (ROOT / "params.yaml").read_text()
    study = STUDY.format(epochs=ROWS, seeds=", ".join(map(str, range(runs // 2))))
    (folder / "params.yaml").write_text(f"max_runs: {runs}\n" + text[: text.index("\nstudies:\n")] + study)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    return Plan(folder / "params.yaml", None, folder)


def main() -> None:
    """Write the copy and time the commands in it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path, help="a new folder")
    parser.add_argument("--runs", type=int, default=10000, help="number of runs (%(default)s)")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    plan = project(folder, arguments.runs)
    write_store(plan, spread=1)
    for name in ("timings", "provenance"):
        (folder / "results" / name).mkdir()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(folder / "src")}
    print(f"{len(plan.runs)} runs, {sum(1 for _ in plan.store.rglob('*.json'))} files")
    for command in COMMANDS:
        started, before = time.perf_counter(), os.times()
        done = subprocess.run(command.split(), cwd=folder, env=environment, capture_output=True, text=True, check=False)
        after = os.times()
        used = after.children_user + after.children_system - before.children_user - before.children_system
        wall = time.perf_counter() - started
        print(f"{wall:6.1f} s, {used:6.1f} s of a core: {command} (exit code {done.returncode})", flush=True)
        if done.returncode:  # the doctor's findings are among them
            print((done.stdout + done.stderr)[-2000:])


if __name__ == "__main__":
    main()
