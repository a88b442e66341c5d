"""Layers of a pack: R networks side by side, forward and backward written out.

Every array has the run as its first axis and the features as its last: x_RNF after dense layers, x_RNHWC after
conv layers. No operation mixes runs, and each is chosen by the shape of one run, never by how many there are: so a
run's numbers are the same, bit for bit, whatever pack it is in. For that, products and sums are separate
operations (`add(alpha=...)` may round otherwise in the last elements of an array than in its vectors), and the
logistic function is written by `tanh` (torch.sigmoid has the same trait).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from bnbench.data.random_streams import generator, uniform
from bnbench.params.run_schema import Run
from bnbench.training.arithmetic import convolutions, kernels, matmul

Shape = tuple[int, ...]
Views = dict[str, Tensor]


@dataclass(frozen=True)
class Moment:
    """What a layer may have to know of a training step: each run's seed, steps done before it, steps of an epoch.

    `draws` are dropout's numbers by the layer's place, where they are drawn already: (runs, N, ...).
    """

    seeds: list[int]
    step: int = 0
    epoch_steps: int = 1
    draws: dict[int, Tensor] = field(default_factory=dict)


class Layer(Protocol):
    """What a network is made of.

    `weights` are learned, `moving` are statistics that training updates: name -> shape for one run. `values`,
    `grads` and `statistics` are those arrays with the run in front, bound by the network, which also sets the
    `moment` before each training step.
    """

    weights: dict[str, Shape]
    moving: dict[str, Shape]
    values: Views
    grads: Views
    statistics: Views
    moment: Moment

    def start(self, name: str, seed: int) -> Tensor | float:
        """First value of a weight or statistic of one run."""

    def forward(self, x: Tensor, training: bool) -> Tensor:
        """The layer's output; in training, what `backward` needs is kept."""

    def backward(self, dy: Tensor, wanted: bool) -> Tensor:
        """Gradient with respect to the input (if `wanted`); gradients of the weights go to `grads`."""


class Plain:
    """A layer without weights or statistics, to build others from."""

    def __init__(self) -> None:
        self.weights: dict[str, Shape] = {}
        self.moving: dict[str, Shape] = {}
        self.values: Views = {}
        self.grads: Views = {}
        self.statistics: Views = {}
        self.moment = Moment([])

    def start(self, name: str, seed: int) -> Tensor | float:  # noqa: ARG002
        """Zero."""
        return 0.0


INITS: dict[str, Callable[[int, int, Run], float]] = {
    "he": lambda fan_in, _out, _run: math.sqrt(2 / fan_in),
    "glorot": lambda fan_in, fan_out, _run: math.sqrt(2 / (fan_in + fan_out)),
    "normal": lambda _in, _out, run: run.init_deviation,
}


class Linear(Plain):
    """y = x W + b with W of (inputs, units).

    Args:
        place: which linear or conv layer of the net this is, from 0: decides its stream of initial weights.
    """

    def __init__(self, inputs: int, units: int, bias: bool, run: Run, place: int) -> None:
        super().__init__()
        self.weights["weight"] = (inputs, units)
        if bias:
            self.weights["bias"] = (1, units)
        self.deviation, self.place, self.run = INITS[run.init](inputs, units, run), place, run

    def start(self, name: str, seed: int) -> Tensor | float:
        """Gaussian weights, zero bias."""
        if name == "bias":
            return 0.0
        return torch.randn(self.weights[name], generator=generator(seed, "weights", self.place)) * self.deviation

    def forward(self, x: Tensor, training: bool) -> Tensor:  # noqa: ARG002
        """x_RNI -> y_RNO."""
        kind = matmul.factor(self.run, x, x.shape[1] * math.prod(self.weights["weight"]))
        self.x, self.weight = narrowed(x, kind), self.values["weight"].to(kind)
        if kind == x.dtype:
            return matmul.product(x, self.weight, self.values.get("bias"))
        y = matmul.product(self.x, self.weight).to(x.dtype)
        return y.add_(self.values["bias"]) if "bias" in self.values else y

    def backward(self, dy: Tensor, wanted: bool) -> Tensor:
        """dW = x^T dy, db = sum dy, dx = dy W^T."""
        if "bias" in self.grads:
            torch.sum(dy, dim=1, keepdim=True, out=self.grads["bias"])
        slope = dy.to(self.x.dtype)
        if slope is dy:
            matmul.multiply(self.x.transpose(1, 2), dy, self.grads["weight"])
        else:
            self.grads["weight"].copy_(matmul.product(self.x.transpose(1, 2), slope))
        return matmul.product(slope, self.weight.transpose(1, 2)).to(dy.dtype) if wanted else dy


def narrowed(x: Tensor, kind: torch.dtype) -> Tensor:
    """x in another type; what all runs share is rounded once."""
    shared = x.stride(0) == 0 and len(x) > 1
    return x[:1].to(kind).expand(x.shape) if shared else x.to(kind)


class Conv(Plain):
    """Square kernels, stride 1, "same" padding; weights of (kernels, size, size, channels)."""

    # values of unfolded input up to which products of it were faster than torch's convolutions:
    # 0.9 ms against 2.5 at 18k, 2.9 against 2.9 at 37k, 20 against 5.3 at 627k (one core, AVX-512, 15 and 8 runs)
    UNFOLD = 32768

    def __init__(self, channels: int, kernels: int, size: int, bias: bool, run: Run, place: int) -> None:
        super().__init__()
        self.size, self.place, self.run = size, place, run
        self.weights["weight"] = (kernels, size, size, channels)
        if bias:
            self.weights["bias"] = (1, kernels)
        self.deviation = INITS[run.init](channels * size**2, kernels * size**2, run)

    def start(self, name: str, seed: int) -> Tensor | float:
        """Gaussian weights, zero bias."""
        if name == "bias":
            return 0.0
        return torch.randn(self.weights[name], generator=generator(seed, "weights", self.place)) * self.deviation

    def forward(self, x: Tensor, training: bool) -> Tensor:
        """x_RNHWC -> y_RNHWK."""
        small = not x.is_cuda and x[0].numel() * self.size**2 <= self.UNFOLD
        work = math.prod(x.shape[1:4]) * math.prod(self.weights["weight"])
        kind = x.dtype if small else matmul.factor(self.run, x, work)
        factor, self.weight = narrowed(x, kind), self.values["weight"].to(kind)
        form = convolutions.fastest(factor, self.weight) if x.is_cuda and training else "looped"
        self.form = convolutions.FORMS["unfolded" if small else form]
        y, self.kept = self.form.forward(factor, self.weight)
        y = y.to(x.dtype)
        return y + self.values["bias"][:, :, None, None, :] if "bias" in self.values else y

    def backward(self, dy: Tensor, wanted: bool) -> Tensor:
        """Gradients of kernels, bias and input."""
        if "bias" in self.grads:
            torch.sum(dy.flatten(1, 3), dim=1, keepdim=True, out=self.grads["bias"])
        slope = dy.to(self.weight.dtype)
        return self.form.backward(slope, self.kept, self.weight, self.grads["weight"], wanted)


class MaxPool(Plain):
    """Maximum over squares of `size`, moved by `size`; the gradient goes to the first largest value."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor, training: bool) -> Tensor:  # noqa: ARG002
        """x_RNHWC -> y_RN(H/size)(W/size)C."""
        self.shape, self.x = x.shape, x.flatten(0, 1)
        y, self.places = kernels.loops(x).pool(self.x, self.size)
        return y.view(*x.shape[:2], *y.shape[1:])

    def backward(self, dy: Tensor, wanted: bool) -> Tensor:  # noqa: ARG002
        """Each output's gradient, at the place of its maximum."""
        return kernels.loops(dy).pool_back(dy.flatten(0, 1), self.x, self.places, self.size).view(self.shape)


class Flatten(Plain):
    """x_RNHWC -> x_RN(HWC)."""

    def forward(self, x: Tensor, training: bool) -> Tensor:  # noqa: ARG002
        """All of an image's values in a row."""
        self.shape = x.shape
        return x.flatten(2)

    def backward(self, dy: Tensor, wanted: bool) -> Tensor:  # noqa: ARG002
        """The same values in the input's shape."""
        return dy.view(self.shape)


class Dropout(Plain):
    """In training each value is dropped with probability `rate` and the others grow by 1 / (1 - rate).

    The mask is a function of the run's seed, the layer's place and the step alone.
    """

    def __init__(self, rate: float, place: int) -> None:
        super().__init__()
        self.rate, self.place = rate, place
        self.shape: Shape = ()  # of a run's share of the batch

    def forward(self, x: Tensor, training: bool) -> Tensor:
        """x times the mask; x itself outside training."""
        if not training:
            return x
        self.shape = tuple(x.shape[1:])
        draw = self.moment.draws.get(self.place)
        if draw is None:
            draw = uniform(self.moment.seeds, (self.place, self.moment.step), self.shape)
        self.mask = (draw >= self.rate).to(x) / (1 - self.rate)
        return x * self.mask

    def backward(self, dy: Tensor, wanted: bool) -> Tensor:  # noqa: ARG002
        """dy times the same mask."""
        return dy * self.mask
