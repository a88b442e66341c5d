"""The instruction set and the version of the arithmetic that trained a run are recorded."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bnbench.core.files import read_json
from tests.support.little import run
from tests.training import test_job

BNBENCH = Path(sys.executable).with_name("bnbench")
prepared = test_job.prepared  # a fixture


def _train(folder: Path, prepared: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Train one run with these environment variables."""
    job = test_job._job(folder, prepared, [run(model="64-20-10", epochs=1)])
    places = ["--out", "runs", "--timings", "timings", "--provenance", "provenance", "--workers", "1"]
    environment = {key: value for key, value in os.environ.items() if key not in ("MKL_CBWR", "ATEN_CPU_CAPABILITY")}
    return subprocess.run(
        [BNBENCH, "train", str(job), *places],
        cwd=folder, env=environment | variables, capture_output=True, text=True, check=False,
    )  # fmt: skip


def _record(folder: Path, prepared: Path, **variables: str) -> dict[str, Any]:
    """Return the record of the arithmetic of a training with these environment variables."""
    assert _train(folder, prepared, **variables).returncode == 0
    (path,) = (folder / "provenance").glob("*.json")
    record = read_json(path)
    assert record["threads"] == 1
    found: dict[str, Any] = record["arithmetic"]
    return found


@pytest.mark.parametrize("instructions", ["avx2", "plain"])
def test_instructions_that_a_variable_asks_for_are_recorded(tmp_path: Path, prepared: Path, instructions: str) -> None:
    found = _record(tmp_path, prepared, BNBENCH_ARITHMETIC=instructions)
    assert (found["version"], found["instructions"], found["compiled"], found["lacking"]) == (1, instructions, True, "")
