"""Where runs come from: commit, source, data, libraries, processor. Beside the store, so that runs stay the same bytes.

A file per trained pack, without time, host or path. It is written before the pack's first step: a run that was
begun at one commit and ended at another is in two records.
"""

import platform
import re
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from bnbench import cost, records
from bnbench.data import ARRAYS, PARTS, file_name, read_manifest
from bnbench.files import digest, source_digest, write_sealed
from bnbench.plan import TRAINER_VERSION
from bnbench.schema import Run

LIBRARIES = ("bnbench", "torch", "numpy", "safetensors", "scikit-learn")
IMPORTS = re.compile(r"^ *from (bnbench[\w.]*) import (?:\(([^)]*)\)|(.*))", re.MULTILINE)
COMPILED = re.compile(r'"(\w+\.[ch])"')  # what is compiled or included
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
        "precision": next(iter(runs.values())).precision,
    }
    write_sealed(folder / f"{digest(names)}.json", record)


def read(folder: Path, run_id: str) -> list[dict[str, Any]]:
    """The records that name a run, in the order of their files' names, without those that cannot be used."""
    return [record for _, record in records.whole(folder) if run_id in record["runs"]]


@cache
def git(folder: Path) -> dict[str, Any] | None:
    """The commit of a folder's repository and what was changed since, or None where there is no repository."""

    def ask(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
        except FileNotFoundError:  # git is not installed
            return None
        return done.stdout if done.returncode == 0 else None

    commit, changes = ask("rev-parse", "HEAD"), ask("status", "--porcelain", "--", *DECIDE)
    if commit is None or changes is None:
        return None
    changed = sorted(line[3:] for line in changes.splitlines())
    return {"commit": commit.strip(), "clean": not changed, "changed": changed}


@cache
def trainer_source() -> str:
    """Hash of the source that training consists of."""
    return source_digest(*modules("train.py"))


def modules(name: str) -> tuple[str, ...]:
    """The files of this package that a module needs, itself among them: its imports, what it compiles, theirs."""
    folder, found, todo = Path(__file__).parent, set[str](), {name}
    while todo:
        found.add(module := todo.pop())
        text = (folder / module).read_text()
        todo |= {str(Path(module).with_name(name)) for name in COMPILED.findall(text)} - found
        for package, several, line in IMPORTS.findall(text):
            parts = package.split(".")[1:]
            places = ["/".join(parts), *("/".join([*parts, name]) for name in re.findall(r"\w+", several or line))]
            named = {f"{place}{end}" for place in places if place for end in (".py", "/__init__.py")}
            todo |= {path for path in named if (folder / path).is_file()} - found
    return tuple(sorted(found))
