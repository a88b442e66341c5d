"""Matrix products: in fp32, or with factors rounded to bf16 where a run has `precision: fast` and the device has bf16.

Weights, sums, norms, losses and updates are fp32 in either case; so are all products of a run with `precision: exact`.
"""

from functools import cache

import torch
from torch import Tensor

from bnbench.arithmetic import fast
from bnbench.params.run_schema import Run

WORTH = 500_000  # multiplications of a run's product on a GPU from which on its factors are rounded: a guess


@cache
def bf16(device: str) -> bool:
    """Return whether a kind of device, `cpu` or `cuda`, has bf16 products that are worth their rounding."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return fast.kind() != "fp32"


def products(run: Run, device: str) -> str:
    """Return the type of the factors of a run's larger products on a kind of device: `fp32` or `bf16`."""
    return "bf16" if run.precision == "fast" and bf16(device) else "fp32"


def factor(precision: str, x: Tensor, multiplications: int) -> torch.dtype:
    """Return the type of the factors of a product of x and a run's weights that takes this many multiplications."""
    rounded = x.is_cuda and precision == "fast" and multiplications >= WORTH and bf16("cuda")
    return torch.bfloat16 if rounded else x.dtype


def product(a_RNI: Tensor, b_RIO: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return A B + bias for each run."""
    out = a_RNI.new_empty(a_RNI.shape[0], a_RNI.shape[1], b_RIO.shape[2])
    multiply(a_RNI, b_RIO, out, bias)
    return out


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
