"""Parts of the GPU benchmark that can be tested without a GPU."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.gpu import Measured
from benchmarks.grids import ROOT

from benchmarks import gpu as bench
from bnbench.core.files import read_json
from bnbench.params.run_schema import Run
from bnbench.plan import cost
from bnbench.training.nets.network import Network
from tests.support.little import run


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_without_a_gpu_one_message_says_so() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 1
    assert done.stderr == f"benchmarks.gpu: torch {torch.__version__} sees no GPU here; run it where there is one\n"
    assert done.stdout == ""


@pytest.mark.parametrize("settings", [{"norm": "batch"}, {"norm": "none"}, {"norm": "batch", "model": "3072-50-20-10"}])
def test_the_plain_loops_net_is_the_same_net(settings: dict[str, Any]) -> None:
    settled: Run = run(**{"model": "8K-2C2B-32D-Dropout0.5-10D", "activation": "leaky_relu", **settings})
    net = bench.modules(settled)
    assert sum(weight.numel() for weight in net.parameters()) == Network(settled, bench.SHAPE).parameters
    assert net(torch.randn(5, *bench.SHAPE)).shape == (5, 10)


def test_a_share_of_the_peak_is_of_forward_and_twice_as_much_backward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "RESULTS", tmp_path)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "A GPU (80 GB)")
    peak = 10 * 3 * cost.flops(bench.MODEL, bench.SHAPE) * 1000.0
    row = Measured(bench.MODEL, 16, 4, plain=[100, 110, 90], pack=[1000, 990, 1080], graph=True)
    assert bench.share(row, 1000, peak) == pytest.approx(0.1)
    bench.write([row, Measured(bench.MODEL, 256, 16, note="no memory")], peak, "fast")
    text = (tmp_path / "A-GPU-80-GB-gpu-fast.md").read_text()
    assert "| 16 | 4 | 100 (90-110), 1.0% | 1,000 (990-1,080), 10.0% | 10.0 (9.0-12.0) | graph |" in text
    assert text.rstrip().endswith("| 256 | 16 | | | | no memory |")
    assert read_json(tmp_path / "A-GPU-80-GB-gpu-fast.json")["rows"][0]["pack"] == row.pack
