"""Where runs come from: commit, source, data, libraries, processor. Beside the store, so that runs stay the same bytes.

A file per trained pack, without time, host or path. It is written before the pack's first step: a run that was
begun at one commit and ended at another is in two records.
"""

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from bnbench.core.files import digest, source_digest, write_sealed
from bnbench.data.prepared import ARRAYS, PARTS, file_name, read_manifest
from bnbench.params.schema import Run
from bnbench.plan import cost, records
from bnbench.plan.plan import SOURCES, TRAINER_VERSION
from bnbench.training.arithmetic import calls, kernels, matmul

LIBRARIES = ("bnbench", "torch", "numpy", "safetensors", "scikit-learn")
# variables of git's that say how it works, not on which repository
PASSED_ON = ("GIT_CONFIG_", "GIT_CEILING_", "GIT_DISCOVERY_", "GIT_EXEC_PATH")
# variables that choose between routines whose sums round differently
VARIABLES = ("ATEN_CPU_CAPABILITY", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "DNNL_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA")
DECIDE = ("params.yaml", "src", "workflow")  # what of a clone decides a result


def write(folder: Path, runs: dict[str, Run], data: Path, device: str) -> None:
    """Record where runs that are trained together come from."""
    names = sorted(runs)
    manifest = read_manifest(data)
    checksums = {file_name(p, a): manifest["parts"][p][f"{a}_sha256"] for p in PARTS for a in ARRAYS}
    of_data = {key: manifest[key] for key in ("name", "fingerprint", "sources", "prepare_version") if key in manifest}
    record = {
        "runs": names,
        "git": git(Path()),
        "source": trainer_source(),
        "trainer_version": TRAINER_VERSION,
        "data": of_data | {"sha256": checksums},
        "libraries": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
        "cpu": cost.cpu(),
        "gpu": torch.cuda.get_device_name(device) if device.startswith("cuda") else None,
        "threads": torch.get_num_threads(),
        "arithmetic": arithmetic(),
        "precision": next(iter(runs.values())).precision,
    }
    write_sealed(folder / f"{digest(names)}.json", record)


def read(folder: Path, run_id: str) -> list[dict[str, Any]]:
    """The records that name a run, in the order of their files' names, without those that cannot be used."""
    return [record for _, record in records.whole(folder) if run_id in record["runs"]]


@cache
def git(folder: Path) -> dict[str, Any] | None:
    """The commit of the repository that tracks a folder's project, and what was changed since.

    None where there is no such repository; one that merely lies above (of a home folder's settings, say) is none.
    Where git itself refuses to say, `refused` has its reason in place of a commit.
    """
    try:
        _ask(folder, "rev-parse", "--git-dir")
        if not _ask(folder, "ls-files", "--", *DECIDE):
            return None
        commit = _ask(folder, "rev-parse", "--verify", "--quiet", "HEAD").strip()
        changes = _ask(folder, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=normal", "--", *DECIDE)
    except _Refused as error:
        above = any((place / ".git").exists() for place in (folder.absolute(), *folder.absolute().parents))
        reason = str(error).removeprefix("fatal: ").partition("\n")[0].partition(" at '")[0]
        known = not reason or reason.startswith("not a git repository")  # no reason: there is no commit yet
        return None if known or not above else {"refused": reason}
    changed = sorted(line[3:] for line in changes.split("\0") if line)
    return {"commit": commit, "clean": not changed, "changed": changed}


class _Refused(Exception):
    """What git said."""


def _ask(folder: Path, *arguments: str) -> str:
    """Git's answer about the folder itself: variables that name another repository are not passed on."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_") or key.startswith(PASSED_ON)}
    environment = kept | {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, env=environment, capture_output=True, timeout=60, check=False
        )
    except FileNotFoundError:
        raise _Refused("git is not installed") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _Refused(f"git does not answer ({type(error).__name__})") from None
    if done.returncode:
        raise _Refused(os.fsdecode(done.stderr).strip())
    return os.fsdecode(done.stdout)


def arithmetic() -> dict[str, Any]:
    """What else of this machine and its environment the last bits of a result depend on."""
    lacking = kernels.compiled()[1] or calls.lacking()
    return {
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "variables": {name: os.environ.get(name) for name in VARIABLES},
        "library_mode": matmul.library_mode(),
        "compiled": not lacking,
        "lacking": lacking,
    }


@cache
def trainer_source() -> str:
    """Hash of the source that training consists of."""
    return source_digest(*SOURCES["train"])
