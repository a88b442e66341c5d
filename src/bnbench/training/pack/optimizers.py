"""Optimizers: a table of updates with one signature. Adding one is adding a row.

An update is in place and on the rows of all runs, (runs, row), with a learning rate per run. The optimizer's state is
arrays of that shape.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from bnbench.params.run_schema import Run
from bnbench.training.arithmetic import kernels, torch_loops

Arrays = dict[str, Tensor]
Update = Callable[[Arrays, Tensor, Tensor, Run, int | Tensor], None]


def sgd(arrays: Arrays, grads: Tensor, rate: Tensor, run: Run, step: int | Tensor) -> None:  # noqa: ARG001
    """Update the weights by SGD with momentum: v = momentum v + g; w = w - rate v.

    The learning rate is outside the velocity, as in PyTorch (Polyak 1964).
    """
    velocity = arrays["velocity"] if run.momentum else None
    kernels.loops(grads).sgd(arrays["values"], grads, velocity, rate, run.momentum)


def adam(arrays: Arrays, grads: Tensor, rate: Tensor, run: Run, step: int | Tensor) -> None:
    """Update the weights by Adam with bias correction (Kingma and Ba 2014, arXiv 1412.6980, algorithm 1).

    m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2;
    w = w - rate m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon), with the step t from 1.
    """
    by = torch_loops.Adam(rate, run.beta1, run.beta2, run.adam_epsilon, step)
    kernels.loops(grads).adam(arrays["values"], grads, arrays["mean"], arrays["square"], by)


# value of the setting `optimizer` -> its update, and the names of the arrays of its state
OPTIMIZERS: dict[str, tuple[Update, tuple[str, ...]]] = {
    "sgd": (sgd, ("velocity",)),
    "adam": (adam, ("mean", "square")),
}


def memory(run: Run, values: Tensor) -> Arrays:
    """Return the optimizer's state before the first step: zeros, of the shape of `values`."""
    return {name: torch.zeros_like(values) for name in OPTIMIZERS[run.optimizer][1]}
