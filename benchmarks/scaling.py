"""Time and memory of every stage but training for a number of made-up runs, each stage as a process.

    python benchmarks/scaling.py 1000 10000 100000 > table.md

The files have the size of those of real runs: 20 evaluations each, two files per run. The dry run is that of the
profile `slurm`, which needs `bnbench[slurm]` but no cluster. The table in docs/scaling.md was printed by this program.
"""

import argparse
import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from bnbench.plan.identity import TRAINER_VERSION
from bnbench.plan.plan import Plan
from bnbench.store.run_record import conclude
from bnbench.tables.collect import RESULTS
from bnbench.workflow import Workflow

ROOT = Path(__file__).parent.parent
ROWS = 20  # evaluations per run
STEPS = 18  # steps per epoch
PER_SEED = 100  # 2 norms, 5 models, 10 learning rates

STUDY = """
studies:
  S1:
    title: Made up
    question: How far does it go?
    work: E
    base: {{epochs: 200, evaluate_every: 180}}   # 18 steps an epoch: 20 evaluations
    grid:
      product:
        norm: [none, batch]
        model: [64-32-10, 64-50-10, 64-100-10, 64-200-10, 64-100-100-10]
        learning_rate: [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30]
        seed: {seeds}
    figures:
      rate: {{kind: sweep, title: Rate, x: learning_rate, y: test_accuracy, hue: norm, col: model}}
      curves: {{kind: curves, title: Curves, y: valid_accuracy, hue: norm, col: model, where: {{learning_rate: 0.1}}}}
"""


def main() -> None:
    """Print the table, a row per stage, a column per size."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("runs", type=int, nargs="+", help="numbers of runs, multiples of 100")
    sizes = arguments.parse_args().runs
    columns: list[dict[str, str]] = []
    for runs in sizes:
        with tempfile.TemporaryDirectory() as folder:
            columns.append({})
            for row, cell in measure(Path(folder), runs):
                columns[-1][row] = cell
                print(f"{runs:,} runs: {row}: {cell}", file=sys.stderr, flush=True)
    print("| stage | " + " | ".join(f"{runs:,} runs" for runs in sizes) + " |")
    print("| --- |" + " ---: |" * len(sizes))
    for row in columns[0]:
        print(f"| {row} | " + " | ".join(column[row] for column in columns) + " |")


def measure(folder: Path, runs: int) -> Iterator[tuple[str, str]]:
    """Yield the name of each row with its measurement."""
    write_project(folder, runs)
    bnbench = [sys.executable, "-m", "bnbench.cli"]
    yield "plan", timed(folder, [*bnbench, "plan"])
    dry = [sys.executable, "-m", "snakemake", "--profile", "workflow/profiles/slurm", "--dry-run"]
    yield "dry run of profile slurm", timed(folder, dry)
    files = list((folder / ".bnbench" / "jobs").glob("*.json"))
    minutes = [sum(pack["seconds"] for pack in json.loads(path.read_bytes())) / 60 for path in files]
    yield "jobs, and their longest work on one core", f"{len(files)}, {max(minutes):.0f} min"
    yield "files of jobs", f"{sum(path.stat().st_size for path in files) / 2**20:.0f} MiB"
    flow = in_folder(folder)
    plan = folder / flow.record(None)
    write_store(flow.plan)
    stored = [path.stat().st_size for path in (folder / "results" / "runs").glob("*/*")]
    yield "run store", f"{len(stored):,} files, {sum(stored) / 2**20:.0f} MiB"
    yield "plan, all runs stored", timed(folder, [*bnbench, "plan"])
    store, tables, out = (str(folder / "results" / "runs"), str(folder / "results" / "tables"), str(folder / "reports"))
    yield "collect", timed(folder, [*bnbench, "collect", str(plan), "--store", store, "--out", tables])
    size = sum(path.stat().st_size for path in Path(tables).iterdir()) / 2**20
    yield "tables", f"{size:.0f} MiB"
    drawn = f"{out}/figures"
    yield "figures", timed(folder, [*bnbench, "figures", str(plan), "--tables", tables, "--out", drawn])
    yield "report", timed(folder, [*bnbench, "report", str(plan), "--tables", tables, "--figures", drawn, "--out", out])


def write_project(folder: Path, runs: int) -> None:
    """Write a project whose one study has this number of runs."""
    text = (ROOT / "params.yaml").read_text()
    study = STUDY.format(seeds=list(range(runs // PER_SEED)))
    (folder / "params.yaml").write_text(f"max_runs: {runs}\n" + text[: text.index("\nstudies:\n")] + study)
    shutil.copytree(ROOT / "workflow", folder / "workflow")


def in_folder(folder: Path) -> Workflow:
    """Return the project's plan as Snakemake makes it."""
    return Workflow(folder / "params.yaml", {}, root=folder)


def write_store(plan: Plan, spread: float = 0.0) -> None:
    """Write every run of the plan as if it had been trained; `spread` (0 to 1) scales how much their curves differ."""
    dice = random.Random(0)
    for run_id, run in plan.runs.items():
        config, factor = run.model_dump(), 1 - spread * dice.random()
        epochs, seed = config["epochs"], config["seed"]
        at = [epochs * row / ROWS for row in range(1, ROWS + 1)]
        curve = [factor * (1 - 0.9 * math.exp(-row / 5)) for row in range(1, ROWS + 1)]
        history: dict[str, list[Any]] = {"step": [round(STEPS * epoch) for epoch in at], "epoch": at}
        history |= {"learning_rate": [0.1] * ROWS}
        history |= {f"{part}_{what}": curve for part in ("train", "valid") for what in ("loss", "accuracy")}
        outcome = {"run_id": run_id, "config": config, "data": plan.key(run), "trainer_version": TRAINER_VERSION}
        outcome |= {"status": "ok", "steps": STEPS * epochs, "epochs": epochs, "best_epoch": epochs}
        outcome |= {"diverged_step": None, "last_finite_loss": None, "parameters": 17610}
        outcome |= dict.fromkeys(RESULTS, 1 - 0.1 / (1 + seed % 7))
        outcome |= {"confusion": {"test": [[row + column for column in range(10)] for row in range(10)]}}
        folder = plan.store / run_id
        folder.mkdir(parents=True)
        (folder / "history.json").write_bytes(orjson.dumps(history))
        conclude(folder, outcome)


def timed(folder: Path, command: list[str]) -> str:
    """Run a command; return its wall time, CPU time and the largest memory of a process, as a cell of the table.

    Raises:
        SystemExit: the command fails; with its output.
    """
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout
    output = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)}\n{output}")
    wall, cpu = time.perf_counter() - start, usage.ru_utime + usage.ru_stime
    return f"{wall:.1f} s ({cpu:.1f} s of CPU), {usage.ru_maxrss / 2**20:.2f} GiB"


if __name__ == "__main__":
    main()
