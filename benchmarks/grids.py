"""Grids to time: a fragment of parameters each, a project folder to train it in, and its runs."""

import functools
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bnbench.arithmetic.library import CHOICE
from bnbench.core import yaml_reader
from bnbench.core.files import digest, write_json
from bnbench.params import architecture
from bnbench.params.run_schema import Run
from bnbench.plan import cost
from bnbench.plan.plan import Plan

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks" / "grids"
WORK = ROOT / ".bnbench" / "bench"
TIER = "quick"
# environment variables that keep a peer's libraries to an instruction set, which BNBENCH_ARITHMETIC names
LIMITED = {
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "avx512": {},
}
NOT_A_SHAPE = {"precision"}  # settings that only bnbench has: for a peer the run is the same


def processor() -> str:
    """Return the processor's name, and the instruction set if BNBENCH_ARITHMETIC asks for one."""
    asked = os.environ.get(CHOICE)
    return f"{cost.cpu()}, {asked} alone" if asked else cost.cpu()


def environment(own: bool) -> dict[str, str]:
    """Return the environment of a program: this Python's commands first on PATH, one thread per process.

    If BNBENCH_ARITHMETIC asks for an instruction set, the peers are kept to it too.

    Args:
        own: for commands of bnbench. A peer imports `benchmarks` instead.
    """
    asked = os.environ.get(CHOICE, "avx512")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    flags = "--xla_cpu_multi_thread_eigen=false" + (" --xla_cpu_max_isa=AVX2" if asked == "avx2" else "")
    xla = {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    source = {"PYTHONPATH": str(ROOT / "src" if own else ROOT)}
    inherited = {key: value for key, value in os.environ.items() if key != "MKL_CBWR"}
    return {**inherited, **LIMITED[asked], **threads, **xla, **source, "PATH": path}


@dataclass(frozen=True)
class Grid:
    """Studies to train: a name, and the values that are merged into params.yaml."""

    name: str
    fragment: dict[str, Any] = field(hash=False)

    @classmethod
    def read(cls, name: str) -> "Grid":
        """Read a grid of `benchmarks/grids/`."""
        return cls(name, yaml_reader.read(FOLDER / f"{name}.yaml").values)

    @property
    def title(self) -> str:
        """Its description for a table."""
        studies = self.fragment.get("studies", {})
        titles = [study["title"] for study in studies.values()]
        return titles[0] if titles else f"the {TIER} tier, {len(self.runs)} runs"

    @functools.cached_property
    def runs(self) -> dict[str, Run]:
        """Its runs by id."""
        return self.plan.runs

    @functools.cached_property
    def plan(self) -> Plan:
        """Its plan, for an empty run store."""
        return Plan(self.project({}) / "params.yaml", TIER, WORK / "nothing")

    def project(self, settings: dict[str, Any]) -> Path:
        """Write a project folder as a user has it, with data and without results; return its path.

        Args:
            settings: keys of `training` that replace the project's values.
        """
        folder = WORK / f"{self.name}-{digest(self.fragment, settings)}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (WORK / "data").mkdir(exist_ok=True)
        for name, target in (("workflow", ROOT / "workflow"), ("data", WORK / "data")):
            (folder / name).symlink_to(target)
        values = yaml_reader.read(ROOT / "params.yaml").values
        for dataset, changed in self.fragment.get("datasets", {}).items():
            values["datasets"][dataset] |= changed
        values["training"] |= settings
        studies = self.fragment.get("studies", values["studies"])
        studies = {name: {"figures": {}, **study} for name, study in studies.items()}
        (folder / "params.yaml").write_text(json.dumps(values | {"tier": TIER, "studies": studies}, indent=1))
        return folder

    def prepare(self) -> None:
        """Download and prepare its data, unless that is already done."""
        command = ["snakemake", "data", "--cores", "all", "--quiet", "all"]
        subprocess.run(command, cwd=self.project({}), env=environment(own=True), check=True)

    def job(self, runs: list[str]) -> Path:
        """Write a file of these runs for the peers, as `benchmarks/peers/task.py` defines it; return its path."""
        path = WORK / "jobs" / f"{self.name}-{digest(runs)}.json"
        write_json(path, [self._task(run_id) for run_id in runs])
        return path

    def _task(self, run_id: str) -> dict[str, Any]:
        run = self.runs[run_id]
        dataset = self.plan.resolved.datasets[run.dataset]
        data = WORK / "data" / "prepared" / f"{run.dataset}-{self.plan.keys[run.dataset]}"
        more = {"run_id": run_id, "layers": layers(run.model), "shape": list(dataset.shape), "data": str(data)}
        return run.model_dump() | more


def layers(model: str) -> list[list[Any]]:
    """Return a model's layers as the peers read them.

    Raises:
        ValueError: the model has a layer that the peers do not implement.
    """
    out: list[list[Any]] = []
    for layer in architecture.parse(model).layers:
        match layer:
            case architecture.Conv(filters=kernels, size=size):
                out.append(["conv", kernels, size])
            case architecture.Pool(size=size):
                out.append(["pool", size])
            case architecture.Dense(units=units):
                out.append(["dense", units])
            case _:
                raise ValueError(f"{model}: the peers have no {type(layer).__name__}")
    return out


def key(config: dict[str, Any]) -> str:
    """Return the key of a run for all programs: the digest of its settings without those that only bnbench has."""
    return digest({name: value for name, value in config.items() if name not in NOT_A_SHAPE})


def evenly(items: list[str], count: int) -> list[str]:
    """Return `count` of the items at even distances; all of them if there are no more, or if `count` is 0."""
    if not 0 < count < len(items):
        return items
    return [items[int((i + 0.5) * len(items) / count)] for i in range(count)]
