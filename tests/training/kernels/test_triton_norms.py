"""The norms in Triton, run by its interpreter where there is no GPU: PyTorch's numbers within rounding."""

import importlib.util
import os
import subprocess
import sys

import pytest

from tests.support.little import ROOT

PROGRAM = """
import torch
from bnbench.training.kernels import triton_norms as fused
from bnbench.training.kernels import loops, torch_loops

made, dice = fused.Fused(), torch.Generator().manual_seed(0)
assert loops.near(made, "cpu")
for groups, values, channels in [(1, 2, 10), (3, 60, 100), (1, 5000, 3), (2, 33, 130), (5, 17, 256), (1, 20000, 64)]:
    x, dy, normal = torch.randn(3, groups, values, 2 * channels, generator=dice)[..., ::2]
    x = x + 100
    rows = [torch.randn(groups, 2, channels, generator=dice)[:, 1:] for _ in range(4)]
    one = [*made.moments(x), *made.normalise(x, *rows), *made.normalise_back(dy, normal.contiguous(), rows[0])]
    x, dy, normal, *rows = (array.double() for array in (x, dy, normal, *rows))
    of = torch_loops.REFERENCE
    other = [*of.moments(x), *of.normalise(x, *rows), *of.normalise_back(dy, normal, rows[0])]
    apart = [float((a - b).norm() / b.norm()) for a, b in zip(one, other, strict=True)]
    assert max(apart) < 2e-6, (values, channels, apart)
print("alike")
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed: it comes with CUDA")
def test_norms_in_triton_give_the_references_numbers() -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout == "alike\n", done.stderr
