"""Training by the NumPy reference in float64, one run after the other: `backend: numpy`, for dense nets.

Expect: 784-100-10 on MNIST, Adam, batches of 100: 97 % test accuracy after a few epochs.
"""

from collections.abc import Callable

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from bnbench.params import architecture
from bnbench.params.run_schema import Run
from bnbench.training.nets.batch_norms import Population
from bnbench.training.nets.layers import Layer, Views
from bnbench.training.nets.network import Network
from bnbench.training.nets.reference import layers as hand
from bnbench.training.nets.reference.layers import Array
from bnbench.training.nets.reference.passes import Back, Own
from bnbench.training.nets.reference.table import PASSES
from bnbench.training.pack.optimizers import OPTIMIZERS
from bnbench.training.pack.pack import Pack

# a diverging run is a result, recognised by its loss
quiet = np.errstate(over="ignore", invalid="ignore", divide="ignore")


class HandNetwork(Network):
    """Networks of one shape with the same arrays as torch's, in float64.

    NumPy's products use one thread, as PyTorch's do: their rounding depends on the number.
    """

    def __init__(self, run: Run, shape: architecture.Shape) -> None:
        super().__init__(run, shape)
        threadpool_limits(1, user_api="blas")

    def start(self, seeds: list[int]) -> tuple[Tensor, Tensor]:
        """Return the same initial weights as `Network.start`."""
        values, moving = super().start(seeds)
        return values.double(), moving.double()

    @quiet
    def forward(
        self,
        x: Tensor,
        training: bool = False,
        statistics: Population | None = None,
        trace: list[Tensor] | None = None,  # noqa: ARG002 - nothing asks for it here
    ) -> Tensor:
        """Return logits_RNK as `Network.forward` does, without a trace."""
        self.choose(statistics or self.population)
        self.ways: list[list[Back]] = []
        return torch.stack([self._forward(row, images.double().numpy(), training) for row, images in enumerate(x)])

    def _forward(self, row: int, x: Array, training: bool) -> Tensor:
        ways = []
        for layer in self.layers:
            x, back = PASSES[type(layer)](layer, _own(layer, row), x, training)
            ways.append(back)
        self.ways.append(ways)
        return torch.from_numpy(x)

    def backward(self, dy: Tensor) -> None:
        """Compute gradients as `Network.backward` does."""
        for row, ways in enumerate(self.ways):
            gradient = dy[row].numpy()
            for layer, back in zip(reversed(self.layers), reversed(ways), strict=True):
                gradient, grads = back(gradient)
                for name, grad in _arrays(layer.grads, row).items():
                    grad[:] = grads[name]


def _own(layer: Layer, row: int) -> Own:
    return Own(row, _arrays(layer.values, row), _arrays(layer.statistics, row))


def _arrays(views: Views, row: int) -> dict[str, Array]:
    """Return a run's arrays as NumPy arrays: weights (inputs, units), all others (units,)."""
    return {name: view[row].numpy() if name == "weight" else view[row, 0].numpy() for name, view in views.items()}


@quiet
def step(pack: Pack, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Train every run by one step; return logits_RNK and loss_R of before the weight update."""
    logits = pack.network.forward(x, training=True)
    share = 1 / pack.run.batch_size if pack.run.loss == "mean" else 1.0
    pairs = list(zip(logits.numpy(), target.double().numpy(), strict=True))
    loss = [hand.cross_entropy(*pair) * share for pair in pairs]
    pack.network.backward(torch.from_numpy(np.stack([hand.cross_entropy_back(*pair) * share for pair in pairs])))
    decay = pack.network.decayed().double().numpy() * pack.run.weight_decay
    for row in range(len(pack.runs)):
        own = {name: pack.arrays[name][row].numpy() for name in ("values", "grads", *OPTIMIZERS[pack.run.optimizer][1])}
        rate = float(pack.arrays["rate"][row] * pack.arrays["factor"][row])
        UPDATES[pack.run.optimizer](own, own["grads"] + decay * own["values"], rate, pack.run, pack.step + 1)
    return logits, torch.tensor(loss)


def _sgd(own: dict[str, Array], gradient: Array, rate: float, run: Run, step: int) -> None:  # noqa: ARG001
    own["values"][:], own["velocity"][:] = hand.sgd(own["values"], own["velocity"], gradient, rate, run.momentum)


def _adam(own: dict[str, Array], gradient: Array, rate: float, run: Run, step: int) -> None:
    betas = (run.beta1, run.beta2)
    own["mean"][:], own["square"][:] = hand.adam_moments(own["mean"], own["square"], gradient, betas)
    own["values"][:] -= rate * hand.adam_step(own["mean"], own["square"], betas, run.adam_epsilon, step)


UPDATES: dict[str, Callable[[dict[str, Array], Array, float, Run, int], None]] = {"sgd": _sgd, "adam": _adam}
