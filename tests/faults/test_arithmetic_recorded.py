"""What the last bits of a result depend on besides the libraries is recorded, and what is overruled is said."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bnbench.core.files import read_json
from bnbench.training.arithmetic import matmul
from tests.support.little import ROOT, run
from tests.training import test_job

BNBENCH = Path(sys.executable).with_name("bnbench")
prepared = test_job.prepared  # a fixture


def _record(folder: Path, prepared: Path, **variables: str) -> tuple[dict[str, Any], str]:
    """What training under these variables records of its arithmetic, and says."""
    job = test_job._job(folder, prepared, [run(model="64-20-10", epochs=1)])
    places = ["--out", "runs", "--timings", "timings", "--provenance", "provenance", "--workers", "1"]
    environment = {key: value for key, value in os.environ.items() if key not in ("MKL_CBWR", "ATEN_CPU_CAPABILITY")}
    done = subprocess.run(
        [BNBENCH, "train", str(job), *places],
        cwd=folder, env=environment | variables, capture_output=True, text=True, check=True,
    )  # fmt: skip
    (path,) = (folder / "provenance").glob("*.json")
    record = read_json(path)
    assert record["threads"] == 1
    found: dict[str, Any] = record["arithmetic"]
    return found, done.stderr


def test_instructions_that_a_variable_asks_for_are_recorded(tmp_path: Path, prepared: Path) -> None:
    found, _ = _record(tmp_path, prepared, ATEN_CPU_CAPABILITY="default")
    assert found["instructions"] in ("DEFAULT", "NO AVX")
    assert found["variables"]["ATEN_CPU_CAPABILITY"] == "default"
    assert found["compiled"] is False
    assert found["lacking"]


def test_a_mode_of_the_library_that_is_overruled_is_said(tmp_path: Path, prepared: Path) -> None:
    found, told = _record(tmp_path, prepared, MKL_CBWR="COMPATIBLE")
    assert "MKL_CBWR=COMPATIBLE is not used: bnbench computes with AUTO,STRICT" in told
    assert found["variables"]["MKL_CBWR"] == "AUTO,STRICT"
    assert found["library_mode"] is None or found["library_mode"] & matmul.STRICT


@pytest.mark.parametrize("used", [True, False])
def test_a_library_that_was_used_before_is_warned_of(used: bool) -> None:
    if matmul.library_mode() is None:
        pytest.skip("torch has no MKL here")
    multiply = "torch.mm(torch.ones(50, 50), torch.ones(50, 50))" if used else "pass"
    code = f"import torch; {multiply}\nimport bnbench"
    environment = {key: value for key, value in os.environ.items() if key != "MKL_CBWR"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert ("torch multiplied before bnbench was imported" in done.stderr) == used
