"""Everything else that affects the last bits of a result is recorded; a rounding mode that is not strict is refused."""

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
    """Return the provenance of a training with these environment variables."""
    assert _train(folder, prepared, **variables).returncode == 0
    (path,) = (folder / "provenance").glob("*.json")
    record: dict[str, Any] = read_json(path)
    assert record["environment"]["threads"] == 1
    return record


def test_instructions_that_a_variable_asks_for_are_recorded(tmp_path: Path, prepared: Path) -> None:
    found = _record(tmp_path, prepared, ATEN_CPU_CAPABILITY="default")
    assert found["variables"]["ATEN_CPU_CAPABILITY"] == "default"
    environment = found["environment"]
    assert environment["comparable"] is (environment["reason"] is None) is (environment["instructions"] is not None)


def test_training_sets_a_strict_rounding_mode(tmp_path: Path, prepared: Path) -> None:
    found = _record(tmp_path, prepared)
    assert found["variables"]["MKL_CBWR"] == "AUTO,STRICT"


def test_a_strict_mode_of_the_user_is_respected_and_recorded(tmp_path: Path, prepared: Path) -> None:
    found = _record(tmp_path, prepared, MKL_CBWR="AVX2,STRICT")
    assert found["variables"]["MKL_CBWR"] == "AVX2,STRICT"


def test_a_mode_that_is_not_strict_is_refused_before_training(tmp_path: Path, prepared: Path) -> None:
    done = _train(tmp_path, prepared, MKL_CBWR="COMPATIBLE")
    assert done.returncode == 2
    assert "bnbench train: MKL_CBWR=COMPATIBLE is not strict" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("used", [True, False])
def test_training_after_a_product_of_another_mode_is_refused(used: bool) -> None:
    """MKL fixes its mode at its first call, so the order in which torch and bnbench are imported must not matter."""
    if matmul.mkl_mode() is None:
        pytest.skip("torch has no MKL here")
    multiply = "torch.mm(torch.ones(50, 50), torch.ones(50, 50))" if used else "pass"
    training = "trained([run(model='64-10', epochs=1)])"
    code = f"import torch; {multiply}\nfrom tests.support.little import run, trained\n{training}"
    environment = {key: value for key, value in os.environ.items() if key != "MKL_CBWR"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "this process used MKL before" in done.stderr) == ((1, True) if used else (0, False))
