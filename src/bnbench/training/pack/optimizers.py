"""Optimisers, a table with one signature: adding one is adding a row.

Each works on whole rows, (runs, row), with a learning rate per run; its memory is arrays of that shape.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from bnbench.params.run_schema import Run
from bnbench.training.arithmetic import kernels, torch_loops

Arrays = dict[str, Tensor]
Update = Callable[[Arrays, Tensor, Tensor, Run, int | Tensor], None]


def sgd(arrays: Arrays, grads: Tensor, rate: Tensor, run: Run, step: int | Tensor) -> None:  # noqa: ARG001
    """Momentum: v = momentum v + g; w = w - rate v (PyTorch's form: the rate is outside the velocity)."""
    velocity = arrays["velocity"] if run.momentum else None
    kernels.loops(grads).sgd(arrays["values"], grads, velocity, rate, run.momentum)


def adam(arrays: Arrays, grads: Tensor, rate: Tensor, run: Run, step: int | Tensor) -> None:
    """Adam with bias correction (arXiv 1412.6980, algorithm 1); `step` counts from 1."""
    by = torch_loops.Adam(rate, run.beta1, run.beta2, run.adam_epsilon, step)
    kernels.loops(grads).adam(arrays["values"], grads, arrays["mean"], arrays["square"], by)


# name -> the update, and the names of the arrays it remembers
OPTIMIZERS: dict[str, tuple[Update, tuple[str, ...]]] = {
    "sgd": (sgd, ("velocity",)),
    "adam": (adam, ("mean", "square")),
}


def memory(run: Run, values: Tensor) -> Arrays:
    """The optimiser's arrays before the first step: zeros."""
    return {name: torch.zeros_like(values) for name in OPTIMIZERS[run.optimizer][1]}
