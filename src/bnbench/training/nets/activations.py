"""Activations, a table with one signature: adding one is adding a row."""

import torch
from torch import Tensor

from bnbench.params.run_schema import Run
from bnbench.training.arithmetic import kernels
from bnbench.training.nets.layers import Layer, Plain


class Relu(Plain):
    """max(x, 0)."""

    def __init__(self, channels: int, run: Run) -> None:  # noqa: ARG002
        super().__init__()

    def forward(self, x: Tensor, training: bool) -> Tensor:  # noqa: ARG002
        """x where positive."""
        self.y = x.clamp_min(0)
        return self.y

    def backward(self, dy: Tensor, wanted: bool) -> Tensor:  # noqa: ARG002
        """dy where the output is positive."""
        return kernels.loops(dy).relu_back(dy, self.y)


class LeakyRelu(Plain):
    """x where positive, `slope` x elsewhere."""

    def __init__(self, channels: int, run: Run) -> None:  # noqa: ARG002
        super().__init__()
        self.slope = run.slope
        self.factors = torch.tensor([1.0, 0.0]) * (1 - run.slope) + run.slope

    def forward(self, x: Tensor, training: bool) -> Tensor:  # noqa: ARG002
        """x times its factor, 1 or `slope`."""
        above, below = self.factors.to(x)
        self.factor = torch.where(x > 0, above, below)
        return x * self.factor

    def backward(self, dy: Tensor, wanted: bool) -> Tensor:  # noqa: ARG002
        """dy times the same factor."""
        return dy * self.factor


class PRelu(Plain):
    """x where positive, a learned slope per channel times x elsewhere (arXiv 1502.01852)."""

    def __init__(self, channels: int, run: Run) -> None:
        super().__init__()
        self.weights = {"slope": (1, channels)}
        self.first = run.slope

    def start(self, name: str, seed: int) -> float:  # noqa: ARG002
        """The run's `slope`."""
        return self.first

    def forward(self, x: Tensor, training: bool) -> Tensor:  # noqa: ARG002
        """x_R...C times 1 or the channel's slope."""
        self.x, self.positive = x, x > 0
        self.slope = _spread(self.values["slope"], x)
        return torch.where(self.positive, x, x * self.slope)

    def backward(self, dy: Tensor, wanted: bool) -> Tensor:  # noqa: ARG002
        """d slope = sum of dy x where x is not positive."""
        negative = torch.where(self.positive, 0, dy * self.x)
        torch.sum(negative.flatten(1, -2), dim=1, keepdim=True, out=self.grads["slope"])
        return torch.where(self.positive, dy, dy * self.slope)


class Sigmoid(Plain):
    """1 / (1 + exp(-x)), written as (1 + tanh(x / 2)) / 2."""

    def __init__(self, channels: int, run: Run) -> None:  # noqa: ARG002
        super().__init__()

    def forward(self, x: Tensor, training: bool) -> Tensor:  # noqa: ARG002
        """Values in (0, 1)."""
        self.y = (x * 0.5).tanh_().mul_(0.5).add_(0.5)
        return self.y

    def backward(self, dy: Tensor, wanted: bool) -> Tensor:  # noqa: ARG002
        """dy y (1 - y)."""
        return kernels.loops(dy).sigmoid_back(dy, self.y)


class Tanh(Plain):
    """Hyperbolic tangent."""

    def __init__(self, channels: int, run: Run) -> None:  # noqa: ARG002
        super().__init__()

    def forward(self, x: Tensor, training: bool) -> Tensor:  # noqa: ARG002
        """Values in (-1, 1)."""
        self.y = torch.tanh(x)
        return self.y

    def backward(self, dy: Tensor, wanted: bool) -> Tensor:  # noqa: ARG002
        """dy (1 - y^2)."""
        return kernels.loops(dy).tanh_back(dy, self.y)


def _spread(row: Tensor, x: Tensor) -> Tensor:
    """A row per run and channel (R, 1, C) in a shape that multiplies x_R...C."""
    return row.view(row.shape[0], *[1] * (x.dim() - 2), row.shape[-1])


ACTIVATIONS: dict[str, type[Relu | LeakyRelu | PRelu | Sigmoid | Tanh]] = {
    "relu": Relu,
    "leaky_relu": LeakyRelu,
    "prelu": PRelu,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
}


def activation(name: str, channels: int, run: Run) -> Layer:
    """The activation of that name for `channels` features."""
    return ACTIVATIONS[name](channels, run)
