"""Provenance of runs: commit, source, data, libraries, machine and engine; in a folder beside the run store.

A file per pack that is trained, without time, host or path. It is written before the pack's first step: a run that was
started at one commit or on one machine and finished at another is in two records.
"""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch

from bnbench.arithmetic import ARITHMETIC, library
from bnbench.core.files import digest, write_sealed
from bnbench.core.git import revision
from bnbench.data.manifest import read_manifest
from bnbench.data.prepared import ARRAYS, PARTS, file_name
from bnbench.plan import cost, identity
from bnbench.store.records import Environment, not_comparable
from bnbench.training.engine.choose import Engine
from bnbench.training.engine.step import Operations
from bnbench.training.kernels import matmul
from bnbench.training.pack.pack import Pack

LIBRARIES = ("bnbench", "torch", "numpy", "safetensors", "scikit-learn", "pyarrow")
# environment variables that choose between routines; no comparable result depends on them
VARIABLES = (library.CHOICE, "ATEN_CPU_CAPABILITY", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA")


def write(folder: Path, pack: Pack, data: Path, engine: Engine) -> None:
    """Write the provenance of runs that are trained together.

    Args:
        folder: the folder of records.
        pack: the runs.
        data: folder of the prepared data set.
        engine: what executes the training steps.
    """
    names = sorted(pack.names)
    manifest = read_manifest(data)
    checksums = {file_name(p, a): manifest["parts"][p][f"{a}_sha256"] for p in PARTS for a in ARRAYS}
    of_data = {key: manifest[key] for key in ("name", "fingerprint", "sources", "prepare_version") if key in manifest}
    record = {
        "runs": names,
        "git": revision(Path()),
        "source": identity.trainer_source(),
        "trainer_version": identity.TRAINER_VERSION,
        "data": of_data | {"sha256": checksums},
        "libraries": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
        "variables": {name: os.environ.get(name) for name in VARIABLES},
        "environment": environment(pack, engine).model_dump(),
    }
    write_sealed(folder / f"{digest(names)}.json", record)


def environment(pack: Pack, engine: Engine) -> Environment:
    """Return the machine and engine that train a pack, and whether its results are comparable with other machines'."""
    device = pack.arrays["values"].device
    reason = _not_comparable(pack, engine)
    compiled = device.type == "cpu" and engine.name != Operations.name
    return Environment(
        processor=cost.cpu(),
        device=device.type,
        gpu=torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        threads=torch.get_num_threads(),
        engine=engine.name,
        instructions=library.instructions() if compiled else None,
        arithmetic=ARITHMETIC if compiled else None,
        products=matmul.products(pack.run, device.type),
        comparable=reason is None,
        reason=reason,
    )


def _not_comparable(pack: Pack, engine: Engine) -> str | None:
    """Return why a pack's results may differ on other machines; None if they are the same there."""
    if pack.arrays["values"].is_cuda:
        return "trained on a GPU"
    if reason := not_comparable(pack.run):
        return reason
    why = engine.reason or library.lacking() or "executed by single operations of torch"
    return why if engine.name == Operations.name else None
