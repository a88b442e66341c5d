"""Optimizers: a table of updates with one signature. Adding one is adding a row.

An update is in place and on the rows of all runs, (runs, row), with a learning rate per run. The optimizer's state is
arrays of that shape.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from bnbench.params.run_schema import Run

Arrays = dict[str, Tensor]
Update = Callable[[Arrays, Tensor, Tensor, Run, int | Tensor], None]


def sgd(arrays: Arrays, grads: Tensor, rate: Tensor, run: Run, step: int | Tensor) -> None:  # noqa: ARG001
    """Update the weights by SGD with momentum: v = momentum v + g; w = w - rate v.

    The learning rate is outside the velocity, as in PyTorch (Polyak 1964).
    """
    if run.momentum:
        grads = arrays["velocity"].mul_(run.momentum).add_(grads)
    arrays["values"].sub_(grads * rate)


def adam(arrays: Arrays, grads: Tensor, rate: Tensor, run: Run, step: int | Tensor) -> None:
    """Update the weights by Adam with bias correction (Kingma and Ba 2014, arXiv 1412.6980, algorithm 1).

    m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2;
    w = w - rate m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon), with the step t from 1.
    """
    mean = arrays["mean"].mul_(run.beta1).add_(grads * (1 - run.beta1))
    square = arrays["square"].mul_(run.beta2).addcmul_(grads, grads, value=1 - run.beta2)
    root = (square / (1 - run.beta2**step)).sqrt_().add_(run.adam_epsilon)
    arrays["values"].sub_((mean / root).mul_(rate / (1 - run.beta1**step)))


# value of the setting `optimizer` -> its update, and the names of the arrays of its state
OPTIMIZERS: dict[str, tuple[Update, tuple[str, ...]]] = {
    "sgd": (sgd, ("velocity",)),
    "adam": (adam, ("mean", "square")),
}


def memory(run: Run, values: Tensor) -> Arrays:
    """Return the optimizer's state before the first step: zeros, of the shape of `values`."""
    return {name: torch.zeros_like(values) for name in OPTIMIZERS[run.optimizer][1]}
