"""Provenance of runs: commit, source, data, libraries, processor; in a folder beside the run store.

A file per trained pack, without time, host or path. It is written before the pack's first step: a run that was started
at one commit and finished at another is in two records.
"""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from bnbench.arithmetic import ARITHMETIC, library
from bnbench.core.files import digest, write_sealed
from bnbench.core.git import revision
from bnbench.data.manifest import read_manifest
from bnbench.data.prepared import ARRAYS, PARTS, file_name
from bnbench.params.run_schema import Run
from bnbench.plan import cost, identity

LIBRARIES = ("bnbench", "torch", "numpy", "safetensors", "scikit-learn")
# environment variables that choose between routines with different rounding of sums
VARIABLES = ("ATEN_CPU_CAPABILITY", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "DNNL_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA")


def write(folder: Path, runs: dict[str, Run], data: Path, device: str) -> None:
    """Write the provenance of runs that are trained together.

    Args:
        folder: the folder of records.
        runs: settings by run id.
        data: folder of the prepared data set.
        device: as torch names it.
    """
    names = sorted(runs)
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
        "cpu": cost.cpu(),
        "gpu": torch.cuda.get_device_name(device) if device.startswith("cuda") else None,
        "threads": torch.get_num_threads(),
        "arithmetic": arithmetic(),
        "precision": next(iter(runs.values())).precision,
    }
    write_sealed(folder / f"{digest(names)}.json", record)


def arithmetic() -> dict[str, Any]:
    """Return all else of this machine and its environment that the last bits of a result depend on."""
    lacking = library.lacking()
    return {
        "version": ARITHMETIC,
        "instructions": None if lacking else library.instructions(),
        "variables": {name: os.environ.get(name) for name in VARIABLES},
        "compiled": not lacking,
        "lacking": lacking,
    }
