"""A project of four runs with every kind of file that a run can write, stopped half-way or with all its results."""

import contextlib
import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from pydantic import BaseModel

from bnbench.claims.table import judge
from bnbench.data.augment import augment
from bnbench.data.prepare import prepare
from bnbench.data.prepared import Prepared
from bnbench.figures.draw import draw
from bnbench.plan.packs import write_packs
from bnbench.plan.plan import Plan
from bnbench.report.render import write
from bnbench.tables.collect import collect
from bnbench.training import checkpoints, worker
from bnbench.training.engine import compiled_steps
from bnbench.training.pack.pack import Pack
from bnbench.training.train import start, train
from tests.support.little import ROOT
from tests.support.parameters import toy

MOVED = "{rotate: 10.0, shift: 0.1, flip: false, copies: 2, seed: 0}"
BASE = (
    "{epochs: 3, model: 64-8-10, batch_size: 50, optimizer: adam, augmentation: moved, save_weights: true,"
    " keep_weights: best, probes: [percentiles]}"
)
EDITS = (
    ("studies:\n  S:", f"augmentations:\n  moved: {MOVED}\nstudies:\n  S:"),
    ("base: {epochs: 4}", f"base: {BASE}"),
    ("learning_rate: [0.1, 1]", "learning_rate: [0.01]"),
)
STEP = 60  # of 141: the first epoch is complete
CHECKPOINTS = Path(".bnbench/checkpoints")
JOB = Path(".bnbench/job.json")
PLACE = worker.Workspace(Path("results/runs"), Path("results/timings"), Path(".bnbench"))


def begun(folder: Path) -> Plan:
    """Create a project with its data, original and augmented, and a job of two packs of two runs; return its plan."""
    folder.mkdir(parents=True, exist_ok=True)
    toy(folder, *EDITS)
    with contextlib.chdir(folder):
        plan = Plan(Path("params.yaml"))
        some, settings = plan.packs[0], plan.resolved
        prepare("digits", settings.datasets["digits"], None, Path(some.data))
        moved = settings.augmentations["moved"]
        augment(settings.datasets["digits"], moved, Path(some.data), Path(str(some.augmented)))
        write_packs(JOB, plan.packs)
    return plan


def stopped(plan: Plan, step: int = STEP) -> list[Pack]:
    """Train all packs to a step and save their checkpoints, in the project's folder."""
    packs = []
    for pack in plan.packs:
        data = Prepared.read(Path(pack.data), Path(str(pack.augmented)))
        part = start(list(pack.runs), list(pack.runs.values()), data)

        def stop(pack: Pack) -> None:
            if pack.step == step:
                raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
            patch.setattr(compiled_steps, "BLOCK_SECONDS", 0.0)  # blocks of one step
            train(part, stop, lambda _outcome: None)
        checkpoints.save(CHECKPOINTS, part)
        packs.append(part)
    return packs


def trained(plan: Plan) -> dict[str, bytes]:
    """Train the missing runs, resuming from checkpoints where they exist; return the contents of the run store."""
    torch.set_num_threads(1)  # as in a worker
    for pack in plan.packs:
        worker.train_pack(pack, PLACE)
    return stored()


def stored() -> dict[str, bytes]:
    """Return the contents of the run store's files by path."""
    return {str(path): path.read_bytes() for path in sorted(PLACE.store.rglob("*")) if path.is_file()}


def finished(folder: Path) -> Plan:
    """Create a project with all its results, and with checkpoints as of an interrupted start; return its plan."""
    plan = begun(folder)
    shutil.copytree(ROOT / "workflow", folder / "workflow")
    with contextlib.chdir(folder):
        trained(plan)
        stopped(plan)
        record, tables, figures = plan.record(), Path("results/tables"), Path("reports/figures")
        collect(record, PLACE.store, tables, judge)
        draw(record, tables, figures, 1)
        write(record, tables, figures, Path("reports"))
    return plan


def command(name: str, *words: object) -> "subprocess.CompletedProcess[str]":
    """Run a program of this environment, as users start it."""
    program = Path(sys.executable).with_name(name)
    environment = {key: value for key, value in os.environ.items() if key != "BNBENCH_MIRROR"}
    return subprocess.run(
        [program, *map(str, words)], env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def train_command() -> "subprocess.CompletedProcess[str]":
    """Run `bnbench train` on the project's job."""
    places = ("--out", PLACE.store, "--timings", PLACE.timings, "--provenance", "results/provenance")
    return command("bnbench", "train", JOB, *places, "--workers", 1)


def plain(value: Any) -> Any:
    """Convert a value to builtin types, so that two results compare equal exactly if all their contents do."""
    if isinstance(value, torch.Tensor):
        value = value.numpy()
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, pa.Table):
        return value.to_pydict()
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value
