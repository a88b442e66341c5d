"""What products are made of: fp32, or factors rounded to bf16 where a run asks for it and the processor has it.

Weights, sums, norms, losses and updates are fp32 in either case; so are all products of a run that is `exact`.
"""

import ctypes
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from bnbench.params.run_schema import Run

# what a processor says of itself when it multiplies bf16; where it does not, torch was seen 44 to 500 times slower
FLAGS = {"avx512_bf16", "amx_bf16"}
# Multiplications of a run's product from which on bf16 is faster, rounding the factors included. One core with
# AVX512-BF16, forward and backward of a dense layer, us a run: 0.3 M 26 against 25, 1.3 M 109 against 87, 4.7 M 300
# against 150.
WORTH = 500_000
STRICT = 2**16  # mkl_types.h: MKL_CBWR_STRICT
ALIGNED = 8  # numbers, 16 bytes of bf16


def library_mode() -> int | None:
    """How MKL rounds, as it says itself; None where it is not used or does not say.

    `STRICT` is a part of it where MKL_CBWR asked for that before the first product of this process.
    """
    try:
        return int(ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so")).mkl_serv_cbwr_get(-1))
    except (AttributeError, OSError):
        return None


@cache
def bf16(device: str) -> bool:
    """Whether a kind of device, `cpu` or `cuda`, multiplies bf16 itself."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    info = Path("/proc/cpuinfo")
    return info.exists() and not FLAGS.isdisjoint(info.read_text().split())


def products(run: Run, device: str) -> str:
    """What a run's larger products are made of on a kind of device: `fp32` or `bf16`."""
    return _products(run.precision, device)


def _products(precision: str, device: str) -> str:
    return "bf16" if precision == "fast" and bf16(device) else "fp32"


def factor(precision: str, x: Tensor, multiplications: int) -> torch.dtype:
    """Return the type of the factors of x's product with weights, of so many multiplications a run."""
    return torch.bfloat16 if multiplications >= WORTH and _products(precision, x.device.type) == "bf16" else x.dtype


def product(a_RNI: Tensor, b_RIO: Tensor, bias: Tensor | None = None) -> Tensor:
    """A b + bias for each run; each run's begins at a multiple of 16 bytes: a product's last bits depend on it."""
    shape = a_RNI.shape[0], a_RNI.shape[1], b_RIO.shape[2]
    size = shape[1] * shape[2]
    rows = a_RNI.new_empty(shape[0], -(-size // ALIGNED) * ALIGNED)
    out = rows[:, :size].view(shape)
    multiply(a_RNI, b_RIO, out, bias)
    return out.contiguous()


def multiply(a_RNI: Tensor, b_RIO: Tensor, out_RNO: Tensor, bias: Tensor | None = None) -> None:
    """A b + bias for each run, into `out_RNO`; on a CPU one product after the other, each as if its run were alone.

    PyTorch picks the routine for a batch of products by how many there are, and the routines sum in other orders.
    """
    arrays = [a_RNI, b_RIO, out_RNO] if bias is None else [a_RNI, b_RIO, out_RNO, bias]
    each = [arrays] if a_RNI.is_cuda else [[array[r].unsqueeze(0) for array in arrays] for r in range(len(a_RNI))]
    for a, b, out, *start in each:
        if start:
            torch.baddbmm(start[0], a, b, out=out)
        else:
            torch.bmm(a, b, out=out)
