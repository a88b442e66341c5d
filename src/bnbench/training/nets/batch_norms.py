"""Normalisation layers, a table with one signature: adding one is adding a row, here and in `spans`.

All see x_R...C, the features last, so that one formula serves dense and conv layers alike.
`keep` is the weight of the old moving average (TensorFlow's decay); PyTorch's momentum is 1 - keep.
Arrays are named for their axes: R runs, G groups normalised each by itself (the parts of each run's batch in turn),
M values of a channel, C channels.
"""

from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from torch import Tensor

from bnbench.params.run_schema import Run
from bnbench.training.arithmetic import kernels
from bnbench.training.nets.image_norms import Group, LayerNorm, LocalResponse, Scaled
from bnbench.training.nets.layers import Layer

Population = Literal["moving", "last_epoch", "batch"]


class PerChannel(Scaled):
    """A norm whose statistics, one per channel, are a batch's in training and a population's outside.

    With `population: last_epoch` the mean of a statistic over the epoch so far is kept as `epoch_...`, and copied to
    `last_...` when the epoch ends; in the first epoch after each step.
    """

    gathered: ClassVar[tuple[str, ...]] = ("mean", "variance")
    parts = 1

    def __init__(self, channels: int, run: Run) -> None:
        super().__init__(channels, run)
        kinds = ("", "epoch_", "last_") if run.population == "last_epoch" else ("",)
        self.moving = {kind + name: (1, channels) for kind in kinds for name in self.gathered}
        self.population: Population = run.population

    def start(self, name: str, seed: int) -> float:
        """A variance is 1 before the first step, a mean 0."""
        return 1.0 if name.endswith("variance") else super().start(name, seed)

    def split(self, x: Tensor, training: bool) -> Tensor:
        """x_R...C as x_GMC: the parts that are normalised each by itself; outside training a run's images are one."""
        return x.reshape(x.shape[0] * (self.parts if training else 1), -1, x.shape[-1])

    def known(self) -> list[Tensor] | None:
        """The population's statistics, (R, 1, C) each, or None where the images' own are asked for."""
        if self.population == "batch":
            return None
        return [self.statistics[("last_" if self.population == "last_epoch" else "") + name] for name in self.gathered]

    def each(self, name: str, x_GMC: Tensor) -> Tensor:
        """Gamma or beta of each group, (G, 1, C)."""
        groups, channels = x_GMC.shape[0], x_GMC.shape[2]
        if name in self.fixed:
            return x_GMC.new_full((groups, 1, channels), self.fixed[name])
        value = self.values[name]
        return value if len(value) == groups else value.repeat_interleave(groups // len(value), 0)

    def gather(self, name: str, new_G1C: Tensor) -> None:
        """Note a batch's statistic, the mean over its parts."""
        new = new_G1C.unflatten(0, (-1, self.parts)).mean(1) if self.parts > 1 else new_G1C
        _average(self.statistics[name], new, self.run.norm_keep)
        if self.run.population != "last_epoch":
            return
        steps = self.moment.epoch_steps
        place = self.moment.step % steps
        _average(self.statistics[f"epoch_{name}"], new, place / (place + 1))
        if self.moment.step < steps or place == steps - 1:
            self.statistics[f"last_{name}"].copy_(self.statistics[f"epoch_{name}"])

    def learn(self, total_G1C: Tensor, along_G1C: Tensor) -> None:
        """Gradients of beta and gamma from the sums over each part of dy, and of dy times the normalised values."""
        for name, sums in (("beta", total_G1C), ("gamma", along_G1C)):
            if name in self.grads and self.parts > 1:
                torch.sum(sums.unflatten(0, (-1, self.parts)), dim=1, out=self.grads[name])
            elif name in self.grads:
                self.grads[name].copy_(sums)


def _average(old: Tensor, new: Tensor, keep: float) -> None:
    old.mul_(keep).add_(new * (1 - keep))


class Center(PerChannel):
    """The batch's mean is subtracted, and nothing divided: x - mean."""

    gathered = ("mean",)

    def forward(self, x: Tensor, training: bool) -> Tensor:
        """(x - mean) * gamma + beta."""
        x_GMC = self.split(x, training)
        known = None if training else self.known()
        mean = known[0] if known else x_GMC.mean(1, keepdim=True)
        if training:
            self.gather("mean", mean)
        self.centred = x_GMC - mean
        return (self.centred * self.each("gamma", x_GMC) + self.each("beta", x_GMC)).view(x.shape)

    def backward(self, dy: Tensor, wanted: bool) -> Tensor:  # noqa: ARG002
        """dx = gamma (dy - mean(dy))."""
        dy_GMC = dy.reshape(self.centred.shape)
        total = dy_GMC.sum(1, keepdim=True)
        self.learn(total, (dy_GMC * self.centred).sum(1, keepdim=True))
        return ((dy_GMC - total * (1 / dy_GMC.shape[1])) * self.each("gamma", dy_GMC)).view(dy.shape)


class BatchNorm(PerChannel):
    """Batch normalisation (arXiv 1502.03167, algorithm 1): over all of a batch's values of a channel.

    The population's variance is of the unbiased estimate, m / (m - 1) times the batch's (algorithm 2, step 10).
    """

    def forward(self, x: Tensor, training: bool) -> Tensor:
        """(x - mean) / sqrt(variance + epsilon) * gamma + beta, the statistics per run and channel."""
        x_GMC = self.split(x, training)
        known = None if training else self.known()
        mean, variance = known or kernels.loops(x_GMC).moments(x_GMC)
        self.scale = (variance + self.run.norm_epsilon).sqrt().reciprocal()
        if not training:
            gamma, beta = self.each("gamma", x_GMC), self.each("beta", x_GMC)
            return kernels.loops(x_GMC).normalised(x_GMC, mean, self.scale, gamma, beta).view(x.shape)
        y = self.corrected(x_GMC, mean, variance)
        values = x_GMC.shape[1]
        self.gather("mean", mean)
        self.gather("variance", variance * (values / (values - 1)))
        return y.view(x.shape)

    def normalised(self, x_GMC: Tensor, mean_G1C: Tensor) -> Tensor:
        """x^ * gamma + beta, and `normal` = x^ kept."""
        gamma, beta = self.each("gamma", x_GMC), self.each("beta", x_GMC)
        self.normal, y = kernels.loops(x_GMC).normalise(x_GMC, mean_G1C, self.scale, gamma, beta)
        return y

    def corrected(self, x_GMC: Tensor, mean_G1C: Tensor, variance_G1C: Tensor) -> Tensor:  # noqa: ARG002
        """What training goes on with."""
        return self.normalised(x_GMC, mean_G1C)

    def backward(self, dy: Tensor, wanted: bool) -> Tensor:  # noqa: ARG002
        """dx = gamma / sqrt(variance + epsilon) * (dy - mean(dy) - x^ mean(dy x^))."""
        dy_GMC = dy.reshape(self.normal.shape)
        factor = self.scale * self.each("gamma", dy_GMC)
        total, along, dx = kernels.loops(dy_GMC).normalise_back(dy_GMC, self.normal, factor)
        self.learn(total, along)
        return dx.view(dy.shape)


class Ghost(BatchNorm):
    """Batch norm over equal parts of a batch, each by itself (arXiv 1705.08741).

    The population gathers the mean over the parts of their statistics once a step, as TensorFlow's
    `virtual_batch_size` does; the paper gathers part after part. Outside training there are no parts.
    """

    def __init__(self, channels: int, run: Run) -> None:
        super().__init__(channels, run)
        self.parts = run.norm_parts


class Renorm(BatchNorm):
    """Batch renormalisation (arXiv 1702.03275): x^ = (x - mean_B) / sigma_B * r + d.

    r = sigma_B / sigma within [1/rmax, rmax] and d = (mean_B - mean) / sigma within [-dmax, dmax] are constants to
    the gradient; mean and sigma = sqrt(variance + epsilon) are of the moving averages before the step.
    With rmax = 1 and dmax = 0 this is batch norm.
    """

    def corrected(self, x_GMC: Tensor, mean_G1C: Tensor, variance_G1C: Tensor) -> Tensor:
        """(x^ r + d) * gamma + beta."""
        run = self.run
        sigma = (self.statistics["variance"] + run.norm_epsilon).sqrt()
        rmax = 1 + (run.renorm_rmax - 1) * self._risen(run.renorm_rmax_ramp)
        dmax = run.renorm_dmax * self._risen(run.renorm_dmax_ramp)
        self.r = ((variance_G1C + run.norm_epsilon).sqrt() / sigma).clamp(1 / rmax, rmax)
        self.d = ((mean_G1C - self.statistics["mean"]) / sigma).clamp(-dmax, dmax)
        self.normal, y = kernels.loops(x_GMC).normalise(x_GMC, mean_G1C, self.scale, self.r, self.d)
        return y * self.each("gamma", x_GMC) + self.each("beta", x_GMC)

    def learn(self, total_G1C: Tensor, along_G1C: Tensor) -> None:
        """The sum of dy (x^ r + d) is r sum(dy x^) + d sum(dy)."""
        super().learn(total_G1C, along_G1C * self.r + total_G1C * self.d)

    def backward(self, dy: Tensor, wanted: bool) -> Tensor:
        """Batch norm's dx times r."""
        dx = super().backward(dy, wanted)
        return (dx.view(self.normal.shape) * self.r).view(dy.shape)

    def _risen(self, ramp: list[float]) -> float:
        """How far a ramp between two epochs has risen, from 0 to 1."""
        epoch = self.moment.step / self.moment.epoch_steps
        begin, end = ramp
        return min(max((epoch - begin) / (end - begin), 0.0), 1.0) if begin < end else float(epoch >= begin)


NORMS: dict[str, Callable[[int, Run], Layer] | None] = {
    "none": None,
    "batch": BatchNorm,
    "center": Center,
    "renorm": Renorm,
    "ghost": Ghost,
    "group": Group,
    "layer": LayerNorm,
    "local_response": LocalResponse,
}
