"""Norms over a mini-batch, with statistics per channel: the mini-batch's in training, running ones outside.

All take x_R...C, the features last, so that one formula serves dense and conv layers alike. Arrays are named for
their axes: R runs, G groups normalised separately (a run's mini-batch, or its parts in turn), M values of a channel,
C channels.

Convention: `keep` weighs the old running average, running = keep running + (1 - keep) new. PyTorch's momentum is
1 - keep; TensorFlow's decay is keep.
"""

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from bnbench.params.run_schema import Population as Population
from bnbench.training.arithmetic import kernels
from bnbench.training.nets.sample_norms import Affine


@dataclass(eq=False, repr=False)
class PerChannel(Affine):
    """Base class of the norms whose statistics are per channel and over a mini-batch.

    Args:
        keep: weight of the old running average.
        population: statistics outside training. `moving`: running averages. `last_epoch`: means over the last epoch's
            mini-batches; `epoch_...` is the mean over the epoch so far, copied to `last_...` at the end of the epoch,
            and in the first epoch after each step. `batch`: those of the evaluated samples.
    """

    gathered: ClassVar[tuple[str, ...]] = ("mean", "variance")

    _: KW_ONLY
    keep: float
    population: Population
    parts: int = field(init=False, default=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.by_epoch = self.population == "last_epoch"
        kinds = ("", "epoch_", "last_") if self.by_epoch else ("",)
        self.moving = {kind + name: (1, self.channels) for kind in kinds for name in self.gathered}

    @property
    def settled(self) -> float:
        """Infinity where the mean over an epoch is stored: its weights differ from step to step."""
        return math.inf if self.by_epoch else 0.0

    def start(self, name: str, seed: int) -> float:
        """Return 1 for a running variance, 0 for a running mean."""
        return 1.0 if name.endswith("variance") else super().start(name, seed)

    def split(self, x: Tensor, training: bool) -> Tensor:
        """Return x_R...C as x_GMC, one group per part; outside training all samples of a run are one group."""
        return x.reshape(x.shape[0] * (self.parts if training else 1), -1, x.shape[-1])

    def running(self) -> list[Tensor] | None:
        """Return the statistics for use outside training, (R, 1, C) each; None: those of the evaluated samples."""
        if self.population == "batch":
            return None
        return [self.statistics[("last_" if self.population == "last_epoch" else "") + name] for name in self.gathered]

    def each(self, name: str, x_GMC: Tensor) -> Tensor:
        """Return gamma or beta of each group, (G, 1, C)."""
        groups, channels = x_GMC.shape[0], x_GMC.shape[2]
        if name in self.fixed:
            return x_GMC.new_full((groups, 1, channels), self.fixed[name])
        value = self.values[name]
        return value if len(value) == groups else value.repeat_interleave(groups // len(value), 0)

    def gather(self, name: str, new_G1C: Tensor) -> None:
        """Update the running averages of a statistic with a mini-batch's, the mean over its parts."""
        new = new_G1C.unflatten(0, (-1, self.parts)).mean(1) if self.parts > 1 else new_G1C
        _average(self.statistics[name], new, self.keep)
        if not self.by_epoch:
            return
        steps = self.moment.epoch_steps
        step = self.moment.step % steps
        _average(self.statistics[f"epoch_{name}"], new, step / (step + 1))
        if self.moment.step < steps or step == steps - 1:
            self.statistics[f"last_{name}"].copy_(self.statistics[f"epoch_{name}"])

    def learn_sums(self, total_G1C: Tensor, along_G1C: Tensor) -> None:
        """Write d beta = sum dy and d gamma = sum dy x^, of the sums over each part."""
        for name, sums in (("beta", total_G1C), ("gamma", along_G1C)):
            if name in self.grads and self.parts > 1:
                torch.sum(sums.unflatten(0, (-1, self.parts)), dim=1, out=self.grads[name])
            elif name in self.grads:
                self.grads[name].copy_(sums)


def _average(old: Tensor, new: Tensor, keep: float) -> None:
    old.mul_(keep).add_(new * (1 - keep))


@dataclass(eq=False, repr=False)
class Center(PerChannel):
    """Batch norm without its division: y = gamma (x - mean) + beta, with the mean over a channel's values."""

    gathered = ("mean",)

    def forward(self, x: Tensor, training: bool) -> Tensor:
        """Return y."""
        x_GMC = self.split(x, training)
        running = None if training else self.running()
        mean = running[0] if running else x_GMC.mean(1, keepdim=True)
        if training:
            self.gather("mean", mean)
        self.centred = x_GMC - mean
        return (self.centred * self.each("gamma", x_GMC) + self.each("beta", x_GMC)).view(x.shape)

    def backward(self, dy: Tensor, needs_dx: bool) -> Tensor:  # noqa: ARG002
        """dx = gamma (dy - mean(dy))."""
        dy_GMC = dy.reshape(self.centred.shape)
        total = dy_GMC.sum(1, keepdim=True)
        self.learn_sums(total, (dy_GMC * self.centred).sum(1, keepdim=True))
        return ((dy_GMC - total * (1 / dy_GMC.shape[1])) * self.each("gamma", dy_GMC)).view(dy.shape)


@dataclass(eq=False, repr=False)
class BatchNorm(PerChannel):
    """Batch normalisation (Ioffe and Szegedy 2015, arXiv 1502.03167, algorithm 1).

    y = gamma x^ + beta with x^ = (x - mean) / sqrt(variance + epsilon), mean and variance over the m values of a
    channel in the mini-batch. The running variance is of the unbiased estimate, m / (m - 1) times the mini-batch's
    (algorithm 2, step 10).

    Args:
        epsilon: added to the variance.
    """

    _: KW_ONLY
    epsilon: float

    def forward(self, x: Tensor, training: bool) -> Tensor:
        """Return y; in training, update the running statistics."""
        x_GMC = self.split(x, training)
        running = None if training else self.running()
        mean, variance = running or kernels.loops(x_GMC).moments(x_GMC)
        self.scale = (variance + self.epsilon).sqrt().reciprocal()
        if not training:
            gamma, beta = self.each("gamma", x_GMC), self.each("beta", x_GMC)
            return kernels.loops(x_GMC).normalised(x_GMC, mean, self.scale, gamma, beta).view(x.shape)
        y = self.corrected(x_GMC, mean, variance)
        values = x_GMC.shape[1]
        self.gather("mean", mean)
        self.gather("variance", variance * (values / (values - 1)))
        return y.view(x.shape)

    def normalised(self, x_GMC: Tensor, mean_G1C: Tensor) -> Tensor:
        """Return gamma x^ + beta, and store x^ as `normal`."""
        gamma, beta = self.each("gamma", x_GMC), self.each("beta", x_GMC)
        self.normal, y = kernels.loops(x_GMC).normalise(x_GMC, mean_G1C, self.scale, gamma, beta)
        return y

    def corrected(self, x_GMC: Tensor, mean_G1C: Tensor, variance_G1C: Tensor) -> Tensor:  # noqa: ARG002
        """Return y of a training step."""
        return self.normalised(x_GMC, mean_G1C)

    def backward(self, dy: Tensor, needs_dx: bool) -> Tensor:  # noqa: ARG002
        """dx = gamma / sqrt(variance + epsilon) * (dy - mean(dy) - x^ mean(dy x^)): section 3, simplified."""
        dy_GMC = dy.reshape(self.normal.shape)
        factor = self.scale * self.each("gamma", dy_GMC)
        total, along, dx = kernels.loops(dy_GMC).normalise_back(dy_GMC, self.normal, factor)
        self.learn_sums(total, along)
        return dx.view(dy.shape)


@dataclass(eq=False, repr=False)
class Ghost(BatchNorm):
    """Ghost batch normalisation: batch norm of equal parts of a mini-batch (Hoffer et al. 2017, arXiv 1705.08741).

    The running statistics take the mean over the parts once per step, as TensorFlow's `virtual_batch_size` does; the
    paper updates them part after part. Outside training there are no parts.

    Args:
        parts: that a mini-batch is cut into.
    """

    parts: int = field(kw_only=True)


@dataclass(eq=False, repr=False)
class Renorm(BatchNorm):
    """Batch renormalisation (Ioffe 2017, arXiv 1702.03275, algorithm 1).

    y = gamma (x^ r + d) + beta with x^ = (x - mean_B) / sigma_B, r = sigma_B / sigma within [1 / rmax, rmax] and
    d = (mean_B - mean) / sigma within [-dmax, dmax]. mean_B and sigma_B = sqrt(variance_B + epsilon) are the
    mini-batch's, mean and sigma those of the running averages before the step. r and d are constants to the gradient.
    With rmax = 1 and dmax = 0 this is batch norm.

    Args:
        rmax: final limit of r.
        dmax: final limit of d.
        rmax_ramp: epochs between which the limit of r rises from 1 to rmax.
        dmax_ramp: epochs between which the limit of d rises from 0 to dmax.
    """

    _: KW_ONLY
    rmax: float
    dmax: float
    rmax_ramp: Sequence[float]
    dmax_ramp: Sequence[float]

    @property
    def settled(self) -> float:
        """The epoch in which the limits have risen."""
        return max(super().settled, *self.rmax_ramp, *self.dmax_ramp)

    def corrected(self, x_GMC: Tensor, mean_G1C: Tensor, variance_G1C: Tensor) -> Tensor:
        """Return y of a training step."""
        sigma = (self.statistics["variance"] + self.epsilon).sqrt()
        lowest, rmax, dmax = self.limits(self.moment.step / self.moment.epoch_steps)
        self.r = ((variance_G1C + self.epsilon).sqrt() / sigma).clamp(lowest, rmax)
        self.d = ((mean_G1C - self.statistics["mean"]) / sigma).clamp(-dmax, dmax)
        self.normal, y = kernels.loops(x_GMC).normalise(x_GMC, mean_G1C, self.scale, self.r, self.d)
        return y * self.each("gamma", x_GMC) + self.each("beta", x_GMC)

    def learn_sums(self, total_G1C: Tensor, along_G1C: Tensor) -> None:
        """d gamma = sum dy (x^ r + d) = r sum(dy x^) + d sum(dy)."""
        super().learn_sums(total_G1C, along_G1C * self.r + total_G1C * self.d)

    def backward(self, dy: Tensor, needs_dx: bool) -> Tensor:
        """Return batch norm's dx times r."""
        dx = super().backward(dy, needs_dx)
        return (dx.view(self.normal.shape) * self.r).view(dy.shape)

    def limits(self, epoch: float) -> tuple[float, float, float]:
        """Return the limits of r, 1 / rmax and rmax, and that of d at a fractional epoch."""
        rmax = 1 + (self.rmax - 1) * _risen(self.rmax_ramp, epoch)
        return 1 / rmax, rmax, self.dmax * _risen(self.dmax_ramp, epoch)


def _risen(ramp: Sequence[float], epoch: float) -> float:
    """Return how far a ramp between two epochs has risen, from 0 to 1."""
    begin, end = ramp
    return min(max((epoch - begin) / (end - begin), 0.0), 1.0) if begin < end else float(epoch >= begin)
