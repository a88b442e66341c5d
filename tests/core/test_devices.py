"""Leases of devices: which process holds which GPU, with simulated GPUs and real processes."""

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bnbench.core import devices
from bnbench.core.errors import UserError

HOLD = """
import pathlib, sys
from bnbench.core import devices
with devices.leased(sys.argv[2].split(","), folder=pathlib.Path(sys.argv[1])) as device:
    print(device, flush=True)
    sys.stdin.read()
"""


def _worker(locks: Path, names: str, visible: str | None = None) -> "subprocess.Popen[str]":
    environment = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}
    environment |= {"CUDA_VISIBLE_DEVICES": visible} if visible else {}
    command = [sys.executable, "-c", HOLD, str(locks), names]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def _device(worker: "subprocess.Popen[str]", seconds: float = 30) -> str | None:
    """Return the device that a worker acquired, or None while it waits."""
    assert worker.stdout
    return worker.stdout.readline().strip() if select.select([worker.stdout], [], [], seconds)[0] else None


def _end(*workers: "subprocess.Popen[str]") -> None:
    for worker in workers:
        worker.communicate(timeout=30)


def test_each_worker_leases_a_gpu_of_its_own_and_another_one_waits_for_a_free_one(tmp_path: Path) -> None:
    first, second = _worker(tmp_path, "cuda:0,cuda:1"), _worker(tmp_path, "cuda:0,cuda:1")
    got = {_device(first), _device(second)}
    assert got == {"cuda:0", "cuda:1"}
    third = _worker(tmp_path, "cuda:0,cuda:1")
    assert _device(third, 1) is None
    second.kill()
    assert _device(third) in got
    _end(first, second, third)


def test_each_job_has_the_cpu_as_one_more_worker(tmp_path: Path) -> None:
    workers = [_worker(tmp_path, "cuda:0,cpu") for _ in range(2)]
    assert {_device(worker) for worker in workers} == {"cuda:0", "cpu"}
    _end(*workers)


def test_two_jobs_that_number_the_gpus_differently_never_share_one(tmp_path: Path) -> None:
    first = _worker(tmp_path, "cuda:0", visible="3")
    assert _device(first) == "cuda:0"
    second, third = _worker(tmp_path, "cuda:0,cuda:1", visible="3,2"), _worker(tmp_path, "cuda:0", visible="3")
    assert _device(second) == "cuda:1"
    assert _device(third, 1) is None
    _end(first)
    assert _device(third) == "cuda:0"
    _end(second, third)


def test_devices_by_name() -> None:
    assert devices.check("cpu") == ["cpu"]
    assert devices.choose("cuda", 2, "torch", {}) == ["cuda:0", "cuda:1"]
    assert devices.choose("cuda:1", 2, "torch", {}) == ["cuda:1"]
    assert devices.choose("cuda+cpu", 2, "torch", {}) == ["cuda:0", "cuda:1", "cpu"]


@pytest.mark.parametrize(("device", "count"), [("cuda", 0), ("cuda:2", 2), ("cuda+cpu", 0)])
def test_a_missing_gpu_is_reported_with_the_remedy(device: str, count: int) -> None:
    with pytest.raises(UserError, match=rf"requested, but torch 2 sees {count} GPUs \(CUDA_VISIBLE_DEVICES is '5'\)"):
        devices.choose(device, count, "torch 2", {"CUDA_VISIBLE_DEVICES": "5"})


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cuda:", "cpu+cuda", "cuda+tpu", ""])
def test_an_invalid_device_name_is_refused(device: str) -> None:
    with pytest.raises(UserError, match="use cpu, cuda"):
        devices.choose(device, 2, "torch", {})


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_without_a_gpu_training_does_not_start(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bnbench.cli", "train", "job.json", "--out", "runs", "--timings", "timings"]
    done = subprocess.run(
        [*command, "--device", "cuda"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert "cuda is requested, but torch" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("driver", "mib"), [("echo 81559; echo 24564", 24564), ("exit 9", 16000), (None, 16000)])
def test_packs_fit_the_smallest_gpu(
    tmp_path: Path, driver: str | None, mib: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if driver:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{driver}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert devices.gpu_memory.__wrapped__() == pytest.approx(0.9 * mib)
