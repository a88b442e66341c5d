"""Activations. The settings that each takes are in its entry of `params.layers.activations`."""

from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from bnbench.training.nets.layers import Plain


@dataclass(eq=False, repr=False)
class Activation(Plain):
    """Base class of the activations: a function of each value by itself.

    Args:
        channels: of the input.
    """

    channels: int


class Relu(Activation):
    """y = max(x, 0)."""

    def forward(self, x: Tensor, training: bool) -> Tensor:  # noqa: ARG002
        """Return x where it is positive, else 0."""
        self.y = x.clamp_min(0)
        return self.y

    def backward(self, dy: Tensor, needs_dx: bool) -> Tensor:  # noqa: ARG002
        """dx = dy where y > 0, else 0."""
        return dy * (self.y > 0)


@dataclass(eq=False, repr=False)
class LeakyRelu(Activation):
    """y = x where x > 0, else slope x (Maas, Hannun and Ng 2013)."""

    _: KW_ONLY
    slope: float

    def forward(self, x: Tensor, training: bool) -> Tensor:  # noqa: ARG002
        """Return x times 1 or the slope."""
        self.factor = torch.where(x > 0, 1.0, self.slope)
        return x * self.factor

    def backward(self, dy: Tensor, needs_dx: bool) -> Tensor:  # noqa: ARG002
        """dx = dy times the same factor."""
        return dy * self.factor


@dataclass(eq=False, repr=False)
class PRelu(Activation):
    """y = x where x > 0, else a x with a learned number a per channel (He et al. 2015, arXiv 1502.01852, equation 1).

    Args:
        slope: initial value of a.
    """

    _: KW_ONLY
    slope: float

    def __post_init__(self) -> None:
        self.weights = {"slope": (1, self.channels)}

    def start(self, name: str, seed: int) -> float:  # noqa: ARG002
        """Return the initial value of a."""
        return self.slope

    def forward(self, x: Tensor, training: bool) -> Tensor:  # noqa: ARG002
        """Return x_R...C times 1 or the channel's a."""
        self.x, self.positive = x, x > 0
        self.factor = _broadcast(self.values["slope"], x)
        return torch.where(self.positive, x, x * self.factor)

    def backward(self, dy: Tensor, needs_dx: bool) -> Tensor:  # noqa: ARG002
        """dx = dy where x > 0, else a dy; da = sum of dy x where x <= 0 (equations 2 and 3)."""
        negative = torch.where(self.positive, 0, dy * self.x)
        torch.sum(negative.flatten(1, -2), dim=1, keepdim=True, out=self.grads["slope"])
        return torch.where(self.positive, dy, dy * self.factor)


class Sigmoid(Activation):
    """y = 1 / (1 + exp(-x)), computed as (1 + tanh(x / 2)) / 2."""

    def forward(self, x: Tensor, training: bool) -> Tensor:  # noqa: ARG002
        """Return values in (0, 1)."""
        self.y = (x * 0.5).tanh_().mul_(0.5).add_(0.5)
        return self.y

    def backward(self, dy: Tensor, needs_dx: bool) -> Tensor:  # noqa: ARG002
        """dx = dy y (1 - y)."""
        return dy * self.y * (1 - self.y)


class Tanh(Activation):
    """y = tanh(x)."""

    def forward(self, x: Tensor, training: bool) -> Tensor:  # noqa: ARG002
        """Return values in (-1, 1)."""
        self.y = torch.tanh(x)
        return self.y

    def backward(self, dy: Tensor, needs_dx: bool) -> Tensor:  # noqa: ARG002
        """dx = dy (1 - y^2)."""
        return dy * (1 - self.y * self.y)


def _broadcast(row: Tensor, x: Tensor) -> Tensor:
    """Return a number per run and channel, (R, 1, C), in a shape that multiplies x_R...C."""
    return row.view(row.shape[0], *[1] * (x.dim() - 2), row.shape[-1])
