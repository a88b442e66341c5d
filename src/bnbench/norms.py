"""Normalisation layers, a table with one signature: adding one is adding a row.

All see x_R...C, the features last, so that one formula serves dense and conv layers alike.
`keep` is the weight of the old moving average (TensorFlow's decay); PyTorch's momentum is 1 - keep.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from bnbench.layers import Layer, Plain
from bnbench.schema import Run


class BatchNorm(Plain):
    """Batch normalisation (arXiv 1502.03167, algorithm 1): over all of a batch's values of a channel.

    The moving variance gathers the unbiased estimate, m / (m - 1) times the batch's (algorithm 2, step 10).
    """

    def __init__(self, channels: int, run: Run) -> None:
        super().__init__()
        self.weights = {"gamma": (1, channels), "beta": (1, channels)}
        self.moving = {"mean": (1, channels), "variance": (1, channels)}
        self.epsilon, self.keep = run.norm_epsilon, run.norm_keep

    def start(self, name: str, seed: int) -> float:  # noqa: ARG002
        """Gamma and the moving variance are 1, beta and the moving mean 0."""
        return float(name in ("gamma", "variance"))

    def forward(self, x: Tensor, training: bool) -> Tensor:
        """(x - mean) / sqrt(variance + epsilon) * gamma + beta, the statistics per run and channel."""
        x_RMC = x.flatten(1, -2)
        mean, variance = (self.statistics["mean"], self.statistics["variance"])
        if training:
            mean = x_RMC.mean(1, keepdim=True)
        centred = x_RMC - mean
        if training:
            variance = (centred * centred).mean(1, keepdim=True)
            self._gather(mean, variance, x_RMC.shape[1])
        self.scale = (variance + self.epsilon).sqrt().reciprocal()
        self.normal = centred * self.scale
        return (self.normal * self.values["gamma"] + self.values["beta"]).view(x.shape)

    def backward(self, dy: Tensor, wanted: bool) -> Tensor:  # noqa: ARG002
        """dx = gamma / sqrt(variance + epsilon) * (dy - mean(dy) - x^ mean(dy x^))."""
        dy_RMC = dy.flatten(1, -2)
        torch.sum(dy_RMC, dim=1, keepdim=True, out=self.grads["beta"])
        torch.sum(dy_RMC * self.normal, dim=1, keepdim=True, out=self.grads["gamma"])
        share = 1 / dy_RMC.shape[1]
        inner = dy_RMC - self.grads["beta"] * share - self.normal * (self.grads["gamma"] * share)
        return (inner * (self.values["gamma"] * self.scale)).view(dy.shape)

    def _gather(self, mean: Tensor, variance: Tensor, values: int) -> None:
        unbiased = variance * (values / (values - 1))
        for name, new in (("mean", mean), ("variance", unbiased)):
            self.statistics[name].mul_(self.keep).add_(new * (1 - self.keep))


NORMS: dict[str, Callable[[int, Run], Layer] | None] = {
    "none": None,
    "batch": BatchNorm,
}
