"""Norms over the values of one image: the same in training and outside, whatever the batch.

And what all norms with a scale and a shift share, `Scaled`. x_R...C is seen as x_RNSC: R runs, N images, S places
of an image (1 in dense layers), C channels, which are G groups of K.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from bnbench.params.run_schema import Run
from bnbench.training.nets.layers import Plain


class Scaled(Plain):
    """A norm followed by a scale gamma and a shift beta per channel, each learned or a fixed number."""

    def __init__(self, channels: int, run: Run) -> None:
        super().__init__()
        self.run = run
        both = {"gamma": run.norm_gamma, "beta": run.norm_beta}
        self.fixed = {name: value for name, value in both.items() if not isinstance(value, str)}
        self.weights = {name: (1, channels) for name in both if name not in self.fixed}

    def start(self, name: str, seed: int) -> float:  # noqa: ARG002
        """Gamma is 1, beta 0."""
        return float(name == "gamma")

    def factor(self, name: str) -> Tensor | float:
        """Gamma or beta, (R, 1, 1, C) or one number."""
        return self.fixed[name] if name in self.fixed else self.values[name].unsqueeze(1)

    def scaled(self, normal: Tensor) -> Tensor:
        """The normalised values, four axes with the channels last, times gamma, plus beta."""
        return normal * self.factor("gamma") + self.factor("beta")


class Group(Scaled):
    """Group normalisation (arXiv 1803.08494): over the places and a group of the channels of one image."""

    def __init__(self, channels: int, run: Run) -> None:
        super().__init__(channels, run)
        self.groups = run.norm_groups

    def forward(self, x: Tensor, training: bool) -> Tensor:  # noqa: ARG002
        """(x - mean) / sqrt(variance + epsilon) * gamma + beta, the statistics per run, image and group."""
        x_RNSC = x.reshape(*x.shape[:2], -1, x.shape[-1])
        centred = x_RNSC - self._mean(x_RNSC)
        variance = self._mean(centred * centred)
        self.scale = (variance + self.run.norm_epsilon).sqrt().reciprocal()
        self.normal = centred * self.scale
        return self.scaled(self.normal).view(x.shape)

    def backward(self, dy: Tensor, wanted: bool) -> Tensor:  # noqa: ARG002
        """dx = (g - mean(g) - x^ mean(g x^)) / sqrt(variance + epsilon) with g = gamma dy."""
        dy_RNSC = dy.reshape(self.normal.shape)
        if "beta" in self.grads:
            torch.sum(dy_RNSC.flatten(1, 2), dim=1, keepdim=True, out=self.grads["beta"])
        if "gamma" in self.grads:
            torch.sum((dy_RNSC * self.normal).flatten(1, 2), dim=1, keepdim=True, out=self.grads["gamma"])
        g = dy_RNSC * self.factor("gamma")
        inner = g - self._mean(g) - self.normal * self._mean(g * self.normal)
        return (inner * self.scale).view(dy.shape)

    def _mean(self, x_RNSC: Tensor) -> Tensor:
        """The mean over the places and each group's channels, repeated for these: (R, N, 1, C)."""
        x_RNGK = x_RNSC.mean(2).unflatten(-1, (self.groups, -1))
        mean: Tensor = x_RNGK.mean(-1, keepdim=True).expand_as(x_RNGK).flatten(2).unsqueeze(2)
        return mean


class LayerNorm(Group):
    """Layer normalisation (arXiv 1607.06450) over all values of one image: a single group.

    Gamma and beta are per channel, as in group norm, also in conv layers.
    """

    def __init__(self, channels: int, run: Run) -> None:
        super().__init__(channels, run)
        self.groups = 1


class LocalResponse(Plain):
    """Local response normalisation across channels (Krizhevsky et al. 2012, section 3.3), without gamma and beta.

    y = x / (k + alpha / size * sum of x^2 over `size` channels around)^beta, as torch.nn.LocalResponseNorm; the
    power is written by exp and log (pow rounds otherwise in the last elements of an array than in its vectors).
    """

    def __init__(self, channels: int, run: Run) -> None:  # noqa: ARG002
        super().__init__()
        self.size, self.alpha, self.beta, self.k = run.lrn_size, run.lrn_alpha, run.lrn_beta, run.lrn_k

    def forward(self, x: Tensor, training: bool) -> Tensor:  # noqa: ARG002
        """x_R...C times its factor; the window of channel c is c - size // 2 to c + (size - 1) // 2."""
        self.x = x
        self.base = self._window(x * x, self.size // 2) * (self.alpha / self.size) + self.k
        self.factor = torch.exp(torch.log(self.base) * -self.beta)
        return x * self.factor

    def backward(self, dy: Tensor, wanted: bool) -> Tensor:  # noqa: ARG002
        """dx = dy factor - 2 alpha beta / size x (sum of dy x factor / base over the channels that see x)."""
        seen = self._window(dy * self.x * self.factor / self.base, (self.size - 1) // 2)
        return dy * self.factor - self.x * (seen * (2 * self.alpha * self.beta / self.size))

    def _window(self, x: Tensor, before: int) -> Tensor:
        """For each channel the sum over `size` channels, the first one `before` it, zero beyond the ends."""
        channels = x.shape[-1]
        padded = F.pad(x, (before, self.size - 1 - before))
        total = padded[..., :channels]
        for first in range(1, self.size):
            total = total + padded[..., first : first + channels]
        return total
