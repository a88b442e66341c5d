"""Reproduction check of a stored run: train it again outside the store, and compare all files byte by byte."""

import subprocess
import sys
import tempfile
from pathlib import Path

from bnbench.core.errors import UserError
from bnbench.core.files import canonical
from bnbench.data.manifest import MANIFEST
from bnbench.manage.explain import Explained
from bnbench.params.run_schema import Run
from bnbench.plan.identity import TRAINER_VERSION
from bnbench.plan.packs import PackRecord, write_packs
from bnbench.store import records, run_record


def differences(run: Explained) -> list[str]:
    """Train a stored run again and compare it with the stored one.

    Returns:
        The differences, a line each; none if every file has the same bytes.

    Raises:
        UserError: the run is not stored, has another trainer version, or its data are missing.
    """
    if run.record is None:
        raise UserError(f"run {run.id} is not in the store, so there is nothing to compare with; `snakemake` trains it")
    if run.record["trainer_version"] != TRAINER_VERSION:
        raise UserError(
            f"run {run.id} was trained by trainer version {run.record['trainer_version']}, this is version "
            f"{TRAINER_VERSION}; check out the commit that trained it"
        )
    for folder in filter(None, (run.prepared, run.augmented)):
        if not (folder / MANIFEST).is_file():
            raise UserError(f"{folder} is missing; `snakemake data{run.options}` creates it, if a tier uses it")
    with tempfile.TemporaryDirectory(prefix="bnbench-check-") as name:
        return _compare(run.folder, _train(run, Path(name)))


def _train(run: Explained, folder: Path) -> Path:
    """Train the run on the kind of device that the stored one was trained on; return its folder."""
    assert run.record
    augmented = str(run.augmented) if run.augmented else None
    pack = PackRecord.of({run.id: Run.model_validate(run.config)}, str(run.prepared), 1.0, augmented)
    write_packs(folder / "job.json", [pack])
    paths = [f"--{name}={folder / path}" for name, path in (("out", "runs"), ("timings", "t"), ("work", "w"))]
    origins = [record.get("environment") for record in records.of_run(run.project.provenance, run.id)]
    on_gpu = any(environment and environment["device"] == "cuda" for environment in origins)
    device = f"--device={'cuda' if on_gpu else 'cpu'}"
    command = [sys.executable, "-m", "bnbench.cli", "train", str(folder / "job.json"), *paths, device, "--workers=1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"training run {run.id} again failed: {done.stderr.strip()}")
    return folder / "runs" / run.id


def _compare(stored: Path, again: Path) -> list[str]:
    """Return a line that names the files with different bytes, and a line per different value in `run.json`."""
    one, two = run_record.load(stored), run_record.load(again)
    names = sorted(one.files.keys() | two.files.keys())
    different = [name for name in names if one.files.get(name) != two.files.get(name)]
    if not different:
        return []
    keys = [key for key in one.record if key not in ("digest", "files") and one.record[key] != two.record.get(key)]
    values = [(key, canonical(one.record[key]).decode(), canonical(two.record.get(key)).decode()) for key in keys]
    return [
        f"different bytes in {', '.join(different)}",
        *(f"{key}: stored {before}, here {after}" for key, before, after in values),
    ]
