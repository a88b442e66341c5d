"""Normalisation layers, a table with one signature: adding one is adding a row, here and in `spans`.

All see x_R...C, the features last, so that one formula serves dense and conv layers alike.
`keep` is the weight of the old moving average (TensorFlow's decay); PyTorch's momentum is 1 - keep.
Arrays are named for their axes: R runs, P parts of a batch, M values of a channel, C channels.
"""

from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from torch import Tensor

from bnbench.layers import Layer
from bnbench.perimage import Group, LayerNorm, LocalResponse, Scaled
from bnbench.schema import Run

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
        """x_R...C as x_RPMC: the parts that are normalised each by itself; outside training all is one part."""
        return x.reshape(x.shape[0], self.parts if training else 1, -1, x.shape[-1])

    def known(self, name: str) -> Tensor | None:
        """The population's statistic (R, 1, 1, C), or None where the images' own is asked for."""
        if self.population == "batch":
            return None
        return self.statistics[("last_" if self.population == "last_epoch" else "") + name].unsqueeze(1)

    def gather(self, name: str, new_RP1C: Tensor) -> None:
        """Note a batch's statistic, the mean over its parts."""
        new = new_RP1C.mean(1) if self.parts > 1 else new_RP1C[:, 0]
        _average(self.statistics[name], new, self.run.norm_keep)
        if self.run.population != "last_epoch":
            return
        steps = self.moment.epoch_steps
        place = self.moment.step % steps
        _average(self.statistics[f"epoch_{name}"], new, place / (place + 1))
        if self.moment.step < steps or place == steps - 1:
            self.statistics[f"last_{name}"].copy_(self.statistics[f"epoch_{name}"])

    def learn(self, total_RP1C: Tensor, along_RP1C: Tensor) -> None:
        """Gradients of beta and gamma from the sums over each part of dy, and of dy times the normalised values."""
        for name, sums in (("beta", total_RP1C), ("gamma", along_RP1C)):
            if name in self.grads and self.parts > 1:
                torch.sum(sums, dim=1, out=self.grads[name])
            elif name in self.grads:
                self.grads[name].copy_(sums[:, 0])


def _average(old: Tensor, new: Tensor, keep: float) -> None:
    old.mul_(keep).add_(new * (1 - keep))


class Center(PerChannel):
    """The batch's mean is subtracted, and nothing divided: x - mean."""

    gathered = ("mean",)

    def forward(self, x: Tensor, training: bool) -> Tensor:
        """(x - mean) * gamma + beta."""
        x_RPMC = self.split(x, training)
        mean = None if training else self.known("mean")
        if mean is None:
            mean = x_RPMC.mean(2, keepdim=True)
        if training:
            self.gather("mean", mean)
        self.centred = x_RPMC - mean
        return self.scaled(self.centred).view(x.shape)

    def backward(self, dy: Tensor, wanted: bool) -> Tensor:  # noqa: ARG002
        """dx = gamma (dy - mean(dy))."""
        dy_RPMC = dy.reshape(self.centred.shape)
        total = dy_RPMC.sum(2, keepdim=True)
        self.learn(total, (dy_RPMC * self.centred).sum(2, keepdim=True))
        return ((dy_RPMC - total * (1 / dy_RPMC.shape[2])) * self.factor("gamma")).view(dy.shape)


class BatchNorm(PerChannel):
    """Batch normalisation (arXiv 1502.03167, algorithm 1): over all of a batch's values of a channel.

    The population's variance is of the unbiased estimate, m / (m - 1) times the batch's (algorithm 2, step 10).
    """

    def forward(self, x: Tensor, training: bool) -> Tensor:
        """(x - mean) / sqrt(variance + epsilon) * gamma + beta, the statistics per run and channel."""
        x_RPMC = self.split(x, training)
        mean, variance = (None, None) if training else (self.known("mean"), self.known("variance"))
        if mean is None:
            mean = x_RPMC.mean(2, keepdim=True)
        centred = x_RPMC - mean
        if variance is None:
            variance = (centred * centred).mean(2, keepdim=True)
        self.scale = (variance + self.run.norm_epsilon).sqrt().reciprocal()
        self.normal = centred * self.scale
        y = self.scaled(self.corrected(mean, variance) if training else self.normal)
        if training:
            values = x_RPMC.shape[2]
            self.gather("mean", mean)
            self.gather("variance", variance * (values / (values - 1)))
        return y.view(x.shape)

    def corrected(self, mean: Tensor, variance: Tensor) -> Tensor:  # noqa: ARG002
        """The normalised values that training goes on with."""
        return self.normal

    def backward(self, dy: Tensor, wanted: bool) -> Tensor:  # noqa: ARG002
        """dx = gamma / sqrt(variance + epsilon) * (dy - mean(dy) - x^ mean(dy x^))."""
        dy_RPMC = dy.reshape(self.normal.shape)
        total = dy_RPMC.sum(2, keepdim=True)
        along = (dy_RPMC * self.normal).sum(2, keepdim=True)
        self.learn(total, along)
        share = 1 / dy_RPMC.shape[2]
        inner = dy_RPMC - total * share - self.normal * (along * share)
        return (inner * (self.scale * self.factor("gamma"))).view(dy.shape)


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

    def corrected(self, mean: Tensor, variance: Tensor) -> Tensor:
        """x^ r + d."""
        run = self.run
        old = {name: array.unsqueeze(1) for name, array in self.statistics.items()}
        sigma = (old["variance"] + run.norm_epsilon).sqrt()
        rmax = 1 + (run.renorm_rmax - 1) * self._risen(run.renorm_rmax_ramp)
        dmax = run.renorm_dmax * self._risen(run.renorm_dmax_ramp)
        self.r = ((variance + run.norm_epsilon).sqrt() / sigma).clamp(1 / rmax, rmax)
        self.d = ((mean - old["mean"]) / sigma).clamp(-dmax, dmax)
        return self.normal * self.r + self.d

    def learn(self, total_RP1C: Tensor, along_RP1C: Tensor) -> None:
        """The sum of dy (x^ r + d) is r sum(dy x^) + d sum(dy)."""
        super().learn(total_RP1C, along_RP1C * self.r + total_RP1C * self.d)

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
