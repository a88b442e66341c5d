"""Norms over the values of one sample: the same in training and outside, whatever the mini-batch.

And the scale and shift that most norms end with, `Affine`. x_R...C is seen as x_RNSC: R runs, N samples, S positions
of an image (1 after dense layers), C channels, which are G groups of K.
"""

from dataclasses import KW_ONLY, dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from bnbench.training.nets.layers import Plain

# a scale or a shift: learned, or a fixed number
Learned = float | Literal["learned"]


@dataclass(eq=False, repr=False)
class Affine(Plain):
    """A norm followed by y = gamma x^ + beta with gamma and beta per channel (Ioffe and Szegedy 2015, algorithm 1).

    Args:
        channels: of the input.
        gamma: `learned` from 1 on, or a fixed number.
        beta: `learned` from 0 on, or a fixed number.
    """

    channels: int
    _: KW_ONLY
    gamma: Learned
    beta: Learned

    def __post_init__(self) -> None:
        both = {"gamma": self.gamma, "beta": self.beta}
        self.fixed = {name: value for name, value in both.items() if not isinstance(value, str)}
        self.weights = {name: (1, self.channels) for name in both if name not in self.fixed}

    def start(self, name: str, seed: int) -> float:  # noqa: ARG002
        """Return 1 for gamma, 0 for beta."""
        return float(name == "gamma")

    def factor(self, name: str) -> Tensor | float:
        """Return gamma or beta, (R, 1, 1, C) or one number."""
        return self.fixed[name] if name in self.fixed else self.values[name].unsqueeze(1)

    def scaled(self, normal: Tensor) -> Tensor:
        """Return gamma x^ + beta, where x^ has four axes, the channels last."""
        return normal * self.factor("gamma") + self.factor("beta")

    def learn(self, dy_RNSC: Tensor, normal_RNSC: Tensor) -> None:
        """Write d beta = sum dy and d gamma = sum dy x^, of each channel."""
        if "beta" in self.grads:
            torch.sum(dy_RNSC.flatten(1, 2), dim=1, keepdim=True, out=self.grads["beta"])
        if "gamma" in self.grads:
            torch.sum((dy_RNSC * normal_RNSC).flatten(1, 2), dim=1, keepdim=True, out=self.grads["gamma"])


@dataclass(eq=False, repr=False)
class Group(Affine):
    """Group normalisation (Wu and He 2018, arXiv 1803.08494, equations 1, 2, 6 and 7).

    y = gamma (x - mean) / sqrt(variance + epsilon) + beta with mean and variance over all positions and the C / G
    channels of a group, of one sample.

    Args:
        epsilon: added to the variance.
        groups: G, a divisor of the channels.
    """

    _: KW_ONLY
    epsilon: float
    groups: int

    def forward(self, x: Tensor, training: bool) -> Tensor:  # noqa: ARG002
        """Return y, with statistics per run, sample and group."""
        x_RNSC = x.reshape(*x.shape[:2], -1, x.shape[-1])
        centred = x_RNSC - self._mean(x_RNSC)
        variance = self._mean(centred * centred)
        self.scale = (variance + self.epsilon).sqrt().reciprocal()
        self.normal = centred * self.scale
        return self.scaled(self.normal).view(x.shape)

    def backward(self, dy: Tensor, needs_dx: bool) -> Tensor:  # noqa: ARG002
        """dx = (g - mean(g) - x^ mean(g x^)) / sqrt(variance + epsilon) with g = gamma dy."""
        dy_RNSC = dy.reshape(self.normal.shape)
        self.learn(dy_RNSC, self.normal)
        g = dy_RNSC * self.factor("gamma")
        inner = g - self._mean(g) - self.normal * self._mean(g * self.normal)
        return (inner * self.scale).view(dy.shape)

    def _mean(self, x_RNSC: Tensor) -> Tensor:
        """Return the mean over positions and each group's channels, repeated for these: (R, N, 1, C)."""
        x_RNGK = x_RNSC.mean(2).unflatten(-1, (self.groups, -1))
        mean: Tensor = x_RNGK.mean(-1, keepdim=True).expand_as(x_RNGK).flatten(2).unsqueeze(2)
        return mean


@dataclass(eq=False, repr=False)
class LayerNorm(Group):
    """Layer normalisation (Ba, Kiros and Hinton 2016, arXiv 1607.06450, equation 3): group norm of a single group.

    Gamma and beta are per channel, as in group norm, also in conv layers.
    """

    groups: int = field(init=False, default=1)


@dataclass(eq=False, repr=False)
class LocalResponse(Plain):
    """Local response normalisation across channels (Krizhevsky et al. 2012, section 3.3), without gamma and beta.

    y_c = x_c / b_c^beta with b_c = k + alpha / size * (sum of x_j^2 over the `size` channels j around c), as in
    torch.nn.LocalResponseNorm. The power is computed by exp and log (pow rounds differently in the last elements of
    an array than in its vectors).

    Args:
        channels: of the input.
        size: channels in the sum, c itself among them: from c - size // 2 to c + (size - 1) // 2.
        alpha: weight of the mean square.
        beta: the exponent.
        k: added to the mean square.
    """

    channels: int
    _: KW_ONLY
    size: int
    alpha: float
    beta: float
    k: float

    def forward(self, x: Tensor, training: bool) -> Tensor:  # noqa: ARG002
        """Return x_R...C times b^-beta."""
        self.x = x
        self.base = self._window(x * x, self.size // 2) * (self.alpha / self.size) + self.k
        self.factor = torch.exp(torch.log(self.base) * -self.beta)
        return x * self.factor

    def backward(self, dy: Tensor, needs_dx: bool) -> Tensor:  # noqa: ARG002
        """dx = dy b^-beta - 2 alpha beta / size x (sum of dy_c y_c / b_c over the channels c whose sum has x)."""
        sums = self._window(dy * self.x * self.factor / self.base, (self.size - 1) // 2)
        return dy * self.factor - self.x * (sums * (2 * self.alpha * self.beta / self.size))

    def _window(self, x: Tensor, before: int) -> Tensor:
        """Return for each channel the sum over `size` channels from `before` channels before it; 0 beyond the ends."""
        channels = x.shape[-1]
        padded = F.pad(x, (before, self.size - 1 - before))
        total = padded[..., :channels]
        for first in range(1, self.size):
            total = total + padded[..., first : first + channels]
        return total
