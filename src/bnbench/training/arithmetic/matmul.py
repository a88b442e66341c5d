"""Matrix products: in fp32, or with factors rounded to bf16 where a run has `precision: fast` and the device has bf16.

Weights, sums, norms, losses and updates are fp32 in either case; so are all products of a run with `precision: exact`.
"""

from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from bnbench.params.run_schema import Run

# in /proc/cpuinfo of a processor that multiplies bf16; without it torch was 44 to 500 times slower
FLAGS = {"avx512_bf16", "amx_bf16"}
# Multiplications of a run's product from which on bf16 is faster, rounding the factors included. One core with
# AVX512-BF16, forward and backward of a dense layer, us a run: 0.3 M 26 against 25, 1.3 M 109 against 87, 4.7 M 300
# against 150.
WORTH = 500_000
ALIGNED = 8  # numbers, 16 bytes of bf16


@cache
def bf16(device: str) -> bool:
    """Return whether a kind of device, `cpu` or `cuda`, has bf16 products in hardware."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    info = Path("/proc/cpuinfo")
    return info.exists() and not FLAGS.isdisjoint(info.read_text().split())


def products(run: Run, device: str) -> str:
    """Return the type of the factors of a run's larger products on a kind of device: `fp32` or `bf16`."""
    return _products(run.precision, device)


def _products(precision: str, device: str) -> str:
    return "bf16" if precision == "fast" and bf16(device) else "fp32"


def factor(precision: str, x: Tensor, multiplications: int) -> torch.dtype:
    """Return the type of the factors of a product of x and a run's weights that takes this many multiplications."""
    return torch.bfloat16 if multiplications >= WORTH and _products(precision, x.device.type) == "bf16" else x.dtype


def product(a_RNI: Tensor, b_RIO: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return A B + bias for each run. Each run's result is aligned to 16 bytes, on which its last bits depend."""
    shape = a_RNI.shape[0], a_RNI.shape[1], b_RIO.shape[2]
    size = shape[1] * shape[2]
    rows = a_RNI.new_empty(shape[0], -(-size // ALIGNED) * ALIGNED)
    out = rows[:, :size].view(shape)
    multiply(a_RNI, b_RIO, out, bias)
    return out.contiguous()


def multiply(a_RNI: Tensor, b_RIO: Tensor, out_RNO: Tensor, bias: Tensor | None = None) -> None:
    """Compute A B + bias for each run into `out_RNO`; on a CPU as one product after the other.

    PyTorch chooses the routine for a batch of products by their number, and the routines sum in different orders.
    """
    arrays = [a_RNI, b_RIO, out_RNO] if bias is None else [a_RNI, b_RIO, out_RNO, bias]
    each = [arrays] if a_RNI.is_cuda else [[array[r].unsqueeze(0) for array in arrays] for r in range(len(a_RNI))]
    for a, b, out, *start in each:
        if start:
            torch.baddbmm(start[0], a, b, out=out)
        else:
            torch.bmm(a, b, out=out)
