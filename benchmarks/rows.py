"""Rows of the benchmark table: name -> program, its runs and its grids. Adding one is one entry."""

import importlib.util
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from benchmarks.arithmetic import Measured
from benchmarks.grids import WORK, Grid, environment, key, processor
from benchmarks.products import products
from bnbench.arithmetic import library
from bnbench.arithmetic.build import shared_object
from bnbench.core.files import read_json, write_json
from bnbench.params.run_schema import Run
from bnbench.plan.packs import PackRecord, write_packs

Command = list[str]
Measure = Callable[[Grid, list[str], int], Measured]
WIDTHS = (4, 8, 16, 32)  # runs per JAX program: the fastest is measured once for each grid and processor


@dataclass(frozen=True)
class Row:
    """A program, and the runs that it is timed on.

    Attributes:
        measure: trains runs of a grid with a number of workers, and returns the measurement.
        takes: whether the program can train a run.
        grids: names of the grids that it is timed on.
        alone: the program trains each run in a process of its own, so a part of the runs gives the time of all.
        module: the module that must be installed.
    """

    measure: Measure
    takes: Callable[[Run], bool] = lambda _run: True
    grids: str = "abc"
    alone: bool = False
    module: str = "bnbench"

    @property
    def able(self) -> bool:
        """Return whether the program is installed here."""
        return importlib.util.find_spec(self.module) is not None


def started(commands: Iterable[Command], workers: int, own: bool, folder: Path = WORK) -> tuple[float, list[float]]:
    """Run commands, `workers` at a time; return the wall time of all together, and that of each.

    Raises:
        SystemExit: a command fails; with its output.
    """

    def one(command: Command) -> float:
        start = time.perf_counter()
        done = subprocess.run(command, cwd=folder, env=environment(own), capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return time.perf_counter() - start

    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        each = list(pool.map(one, commands))
    return time.perf_counter() - start, each


def accuracies(records: Iterable[Path]) -> dict[str, float | None]:
    """Read records; return the test accuracy by the run's key."""
    read = [read_json(path) for path in records]
    return {key(record["config"]): record["test_accuracy"] for record in read}


def cleared(name: str) -> Path:
    """Make an empty folder for records and return it."""
    folder = WORK / "records" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def peer(module: str) -> Measure:
    """Return the function that measures a peer with a process per run."""

    def measure(grid: Grid, runs: list[str], workers: int) -> Measured:
        out = cleared(module)
        commands = [["python", "-m", f"benchmarks.peers.{module}", str(grid.job([run])), str(out)] for run in runs]
        wall, each = started(commands, workers, own=False)
        keys = [key(grid.runs[run].model_dump()) for run in runs]
        return Measured(wall, dict(zip(keys, each, strict=True)), accuracies(out.iterdir()))

    return measure


def jax(grid: Grid, runs: list[str], workers: int) -> Measured:
    """Measure JAX with the fastest number of runs per program."""
    found = WORK / f"jax-{grid.name}-{len(runs)}-{workers}-{processor().replace(' ', '_')}.json"
    if not found.exists():
        walls = {width: _jax(grid, runs, workers, width).wall for width in WIDTHS}
        write_json(found, {"seconds": {str(width): wall for width, wall in walls.items()}})
    seconds = {int(width): wall for width, wall in read_json(found)["seconds"].items()}
    width = min(seconds, key=seconds.__getitem__)
    tried = ", ".join(f"{width}: {wall:.1f} s" for width, wall in sorted(seconds.items()))
    measured = _jax(grid, runs, workers, width)
    return Measured(measured.wall, {}, measured.accuracy, f"{width} runs a program (tried {tried})")


def _jax(grid: Grid, runs: list[str], workers: int, width: int) -> Measured:
    """Measure JAX with a process per core, each with every `workers`-th run of the grid."""
    out = cleared("jax_vmap")
    parts = [runs[i::workers] for i in range(workers)]
    cores = cycle(sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0])
    commands = [
        ["python", "-m", "benchmarks.peers.jax_vmap", str(grid.job(part)), str(out), str(width), str(core)]
        for part, core in zip(parts, cores, strict=False)
        if part
    ]
    wall, _ = started(commands, workers, own=False)
    return Measured(wall, {}, accuracies(out.iterdir()))


def workflow(**settings: Any) -> Measure:
    """Return the function that measures bnbench as a user starts it: `snakemake trained`, planning included."""

    def measure(grid: Grid, _runs: list[str], workers: int) -> Measured:
        folder = grid.project(settings)
        wall, _ = started([["snakemake", "trained", "--cores", str(workers)]], 1, own=True, folder=folder)
        return Measured(wall, {}, accuracies((folder / "results" / "runs").glob("*/run.json")))

    return measure


def packs(grid: Grid, _runs: list[str], workers: int) -> Measured:
    """Measure bnbench's training alone: `bnbench train` on the plan's packs."""
    folder = grid.project({})
    write_packs(folder / "job.json", grid.plan.packs)
    wall, _ = started([_train("job.json", workers)], 1, own=True, folder=folder)
    return Measured(wall, {}, accuracies((folder / "results" / "runs").glob("*/run.json")))


def one_by_one(grid: Grid, runs: list[str], workers: int) -> Measured:
    """Measure bnbench without packs: `bnbench train` on a job of one run, in a process per run."""
    folder = grid.project({})
    for pack in grid.plan.packs:
        share = pack.seconds / len(pack.runs)
        for name, run in pack.runs.items():
            alone = PackRecord.of({name: run}, pack.data, share, pack.augmented, pack.memory)
            write_packs(folder / f"{name}.json", [alone])
    wall, each = started([_train(f"{run}.json", 1) for run in runs], workers, own=True, folder=folder)
    keys = [key(grid.runs[run].model_dump()) for run in runs]
    stored = accuracies((folder / "results" / "runs").glob("*/run.json"))
    return Measured(wall, dict(zip(keys, each, strict=True)), stored)


def _train(job: str, workers: int) -> Command:
    folders = ["--out", "results/runs", "--timings", "results/timings", "--provenance", "results/provenance"]
    return ["bnbench", "train", job, *folders, "--workers", str(workers)]


def limit(dtype: str) -> Measure:
    """Return the function that measures the runs' matrix products alone: all workers time them, and share the work.

    Each product is timed by PyTorch's library and, in fp32, by bnbench's own; the faster one counts.
    """

    def measure(grid: Grid, _runs: list[str], workers: int) -> Measured:
        job, out = WORK / f"products-{grid.name}.json", cleared("products")
        write_json(job, products(grid))
        command = ["python", "-m", "benchmarks.peers.multiply", str(job)]
        own = str(shared_object(library.instructions())) if dtype == "float32" and not library.lacking() else ""
        started([[*command, str(out / f"{worker}.json"), dtype, own] for worker in range(workers)], workers, own=False)
        return Measured(statistics.fmean(read_json(path)["seconds"] for path in out.iterdir()) / workers)

    return measure


def multiplies_bf16() -> bool:
    """Return whether the processor multiplies bf16, and may: without it PyTorch takes 44 to 500 times as long."""
    flags = Path("/proc/cpuinfo").read_text().split() if Path("/proc/cpuinfo").exists() else []
    return library.instructions() == "avx512" and not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags)


ROWS = {
    "plain torch": Row(peer("plain_torch"), alone=True),
    "Lightning": Row(peer("lightning_module"), alone=True, module="lightning"),
    "scikit-learn": Row(peer("sklearn_mlp"), lambda run: run.norm == "none", grids="b", alone=True),
    "JAX": Row(jax, module="jax"),
    "one process per run": Row(one_by_one, grids="d", alone=True),
    "bnbench": Row(workflow(), grids="abcd"),
    "bnbench fast": Row(workflow(precision="fast")),
    "bnbench train": Row(packs, grids="abcd"),
    "limit, fp32": Row(limit("float32")),
    **({"limit, bf16": Row(limit("bfloat16"))} if multiplies_bf16() else {}),
}
