"""How long the tools take with a large store: a copy of the project with made-up runs, and a few commands timed.

    python benchmarks/made_up_runs.py FOLDER --runs 10000

Nothing is trained: each run's files are of the size that training leaves (20 evaluations), their numbers are drawn.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import orjson

from bnbench.plan import TRAINER_VERSION, Plan
from bnbench.runs import conclude

ROOT = Path(__file__).parents[1]
COPIED = ("dvc.yaml", "workflow", "src", ".gitignore", ".dvcignore", ".dvc/config", ".dvc/plots")
EPOCHS = 20
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
    """A copy of the project whose parameters ask for so many runs."""
    for name in COPIED:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    text = (ROOT / "params.yaml").read_text()
    study = STUDY.format(epochs=EPOCHS, seeds=", ".join(map(str, range(runs // 2))))
    (folder / "params.yaml").write_text(text[: text.index("\nstudies:\n")] + study)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    return Plan(folder / "params.yaml", None, folder)


def make_up(plan: Plan, dice: random.Random) -> None:
    """Fill the store with the plan's runs."""
    for name, run in plan.runs.items():
        folder = plan.store / name
        folder.mkdir(parents=True)
        steps = list(range(18, 18 * (EPOCHS + 1), 18))
        columns: dict[str, list[Any]] = {"step": steps, "epoch": [step / 18 for step in steps]}
        columns["learning_rate"] = [run.learning_rate] * EPOCHS
        measured = ("train_loss", "train_accuracy", "valid_loss", "valid_accuracy")
        columns |= {column: [dice.random() for _ in steps] for column in measured}
        (folder / "history.json").write_bytes(orjson.dumps(columns))
        conclude(folder, _record(plan, name, dice))


def _record(plan: Plan, name: str, dice: random.Random) -> dict[str, Any]:
    run = plan.runs[name]
    identity = {"run_id": name, "config": run.model_dump(), "data": plan.keys[run.dataset]}
    measured = [f"{part}_{what}" for part in ("train", "valid", "test", "official") for what in ("loss", "accuracy")]
    return {
        **identity,
        "trainer_version": TRAINER_VERSION,
        **{key: dice.random() for key in measured},
        "status": "ok",
        "steps": 18 * EPOCHS,
        "epochs": float(EPOCHS),
        "best_epoch": float(EPOCHS),
        "diverged_step": None,
        "last_finite_loss": None,
        "parameters": 17610,
        "environment": {"torch": "made up", "cpu": "made up", "device": "cpu", "threads": 1, "products": "fp32"},
    }


def main() -> None:
    """Make the copy and time the commands in it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path, help="a new folder")
    parser.add_argument("--runs", type=int, default=10000)
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    plan = project(folder, arguments.runs)
    make_up(plan, random.Random(0))
    for place in ("timings", "provenance"):
        (folder / "results" / place).mkdir()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(folder / "src")}
    print(f"{len(plan.runs)} runs, {sum(1 for _ in plan.store.rglob('*.json'))} files")
    for command in COMMANDS:
        begun, before = time.perf_counter(), os.times()
        done = subprocess.run(command.split(), cwd=folder, env=environment, capture_output=True, text=True, check=False)
        after = os.times()
        used = after.children_user + after.children_system - before.children_user - before.children_system
        wall = time.perf_counter() - begun
        print(f"{wall:6.1f} s, {used:6.1f} s of a core: {command} (exit code {done.returncode})", flush=True)
        if done.returncode:  # the doctor's findings are among them
            print((done.stdout + done.stderr)[-2000:])


if __name__ == "__main__":
    main()
