"""The choice of loops over the values of a mini-batch: in Triton on a GPU, else as torch operations."""

from functools import cache

import torch
from torch import Tensor

from bnbench.training.arithmetic.torch_loops import REFERENCE, Loops

lacking: dict[str, str] = {}  # faster ways that this process cannot use -> why
CHECKED = ((2, 75, 70), (1, 7, 3), (1, 300, 16))
ROUNDING = 1e-5


def loops(x: Tensor) -> Loops:
    """Return the loops for such an array, with its channels last."""
    return on_gpu() if x.is_cuda and x.dtype == torch.float32 else REFERENCE


@cache
def on_gpu() -> Loops:
    """Return the loops in Triton; or the reference if they cannot be used, and note why in `lacking`."""
    try:
        # Triton is installed only with torch for CUDA, and takes half a second to import
        from bnbench.training.arithmetic.triton_norms import Fused

        if near(Fused(), "cuda"):
            return Fused()
        lacking["compiled norms on this GPU"] = "their numbers are not torch's"
    except Exception as error:  # of the Triton compiler, which has its own classes of errors
        lacking["compiled norms on this GPU"] = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
    return REFERENCE


def near(loops: Loops, device: str) -> bool:
    """Return whether these loops of norms give the reference's numbers, within the rounding of sums."""
    dice = torch.Generator().manual_seed(0)
    for shape in CHECKED:
        x, dy = torch.randn(2, *shape, generator=dice).to(device)
        rows = [torch.randn(shape[0], 1, shape[2], generator=dice).to(device) for _ in range(4)]
        one, other = (
            [*each.moments(x), *each.normalise(x, *rows), *each.normalise_back(dy, x, rows[0])]
            for each in (loops, REFERENCE)
        )
        if not all(float((a - b).norm() / b.norm()) < ROUNDING for a, b in zip(one, other, strict=True)):
            return False
    return True
