"""Layers of a pack: R networks side by side, with forward and backward passes written out.

Every array has the run as its first axis and the features as its last: x_RNF after dense layers, x_RNHWC after conv
layers (R runs, N samples, F features, H height, W width, C channels).

No operation mixes runs, and each is chosen by the shape of one run, never by how many there are: so a run's numbers
are the same, bit for bit, in every pack. For the same reason products and sums are separate operations
(`add(alpha=...)` may round differently in the last elements of an array than in its vectors), and the logistic
function is computed by `tanh` (torch.sigmoid has the same defect).

A layer is a dataclass of the arguments it uses: sizes by position, settings by keyword.
"""

import math
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from bnbench.data.random_streams import normal, uniform
from bnbench.training.arithmetic import convolutions, kernels, matmul

Shape = tuple[int, ...]
Views = dict[str, Tensor]


@dataclass(frozen=True)
class Moment:
    """Position of a training step, for layers that depend on it.

    Attributes:
        seeds: each run's seed.
        step: training steps before this one.
        epoch_steps: steps of an epoch.
        draws: dropout's uniform numbers, (R, N, ...), by the layer's `place`, where they are drawn in advance.
    """

    seeds: list[int]
    step: int = 0
    epoch_steps: int = 1
    draws: dict[int, Tensor] = field(default_factory=dict)


class Layer(Protocol):
    """A layer of a network.

    Attributes:
        weights: shape of each learned array, for one run.
        moving: shape of each statistic that training updates, for one run.
        values: the learned arrays with the run in front, bound by the network; `grads` are their gradients.
        statistics: the arrays of `moving`, likewise.
        moment: position of the training step, set by the network before each.
    """

    weights: dict[str, Shape]
    moving: dict[str, Shape]
    values: Views
    grads: Views
    statistics: Views
    moment: Moment

    @property
    def settled(self) -> float:
        """Epochs after which no constant of a training step differs from that of the step before."""

    def start(self, name: str, seed: int) -> Tensor | float:
        """Return the initial value of a weight or statistic of one run."""

    def forward(self, x: Tensor, training: bool) -> Tensor:
        """Return the layer's output; in training, store what `backward` needs."""

    def backward(self, dy: Tensor, needs_dx: bool) -> Tensor:
        """Write the gradients of the weights to `grads`; return that of the input, if it is needed."""


@dataclass(eq=False, repr=False)
class Plain:
    """A layer without weights and statistics: the base class of all others."""

    weights: dict[str, Shape] = field(init=False, default_factory=dict)
    moving: dict[str, Shape] = field(init=False, default_factory=dict)
    values: Views = field(init=False, default_factory=dict)
    grads: Views = field(init=False, default_factory=dict)
    statistics: Views = field(init=False, default_factory=dict)
    moment: Moment = field(init=False, default_factory=lambda: Moment([]))

    @property
    def settled(self) -> float:
        """0: every training step has the same constants."""
        return 0.0

    def start(self, name: str, seed: int) -> Tensor | float:  # noqa: ARG002
        """Return 0, the initial value of every array."""
        return 0.0


# setting `init` -> standard deviation of the initial weights, of fan-in, fan-out and the setting `init_deviation`
INITS: dict[str, Callable[[int, int, float], float]] = {
    "he": lambda fan_in, _fan_out, _std: math.sqrt(2 / fan_in),
    "glorot": lambda fan_in, fan_out, _std: math.sqrt(2 / (fan_in + fan_out)),
    "normal": lambda _fan_in, _fan_out, std: std,
}


@dataclass(eq=False, repr=False)
class Weighted(Plain):
    """Layer with a weight and, unless a norm takes its part, a bias.

    Args:
        bias: whether it has a bias.
        std: standard deviation of the initial weights.
        precision: `exact` or `fast`, as the setting of that name.
        place: index of the layer in the model; with the seed it selects the random stream of the initial weights.
    """

    _: KW_ONLY
    bias: bool
    std: float
    precision: str
    place: int

    def start(self, name: str, seed: int) -> Tensor | float:
        """Return Gaussian weights, and 0 for the bias."""
        if name == "bias":
            return 0.0
        return normal(seed, "weights", (self.place,), self.weights[name]) * self.std


@dataclass(eq=False, repr=False)
class Linear(Weighted):
    """Fully connected layer, y = x W + b with W of (inputs, units).

    Args:
        inputs: features of x.
        units: features of y.
    """

    inputs: int
    units: int

    def __post_init__(self) -> None:
        self.weights["weight"] = (self.inputs, self.units)
        if self.bias:
            self.weights["bias"] = (1, self.units)

    def forward(self, x: Tensor, training: bool) -> Tensor:  # noqa: ARG002
        """x_RNI -> y_RNO."""
        dtype = matmul.factor(self.precision, x, x.shape[1] * math.prod(self.weights["weight"]))
        self.x, self.weight = narrowed(x, dtype), self.values["weight"].to(dtype)
        if dtype == x.dtype:
            return matmul.product(x, self.weight, self.values.get("bias"))
        y = matmul.product(self.x, self.weight).to(x.dtype)
        return y.add_(self.values["bias"]) if "bias" in self.values else y

    def backward(self, dy: Tensor, needs_dx: bool) -> Tensor:
        """dW = x^T dy, db = sum dy, dx = dy W^T."""
        if "bias" in self.grads:
            torch.sum(dy, dim=1, keepdim=True, out=self.grads["bias"])
        factor = dy.to(self.x.dtype)
        if factor is dy:
            matmul.multiply(self.x.transpose(1, 2), dy, self.grads["weight"])
        else:
            self.grads["weight"].copy_(matmul.product(self.x.transpose(1, 2), factor))
        return matmul.product(factor, self.weight.transpose(1, 2)).to(dy.dtype) if needs_dx else dy


def narrowed(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return x in another type; an array that all runs share is converted once."""
    shared = x.stride(0) == 0 and len(x) > 1
    return x[:1].to(dtype).expand(x.shape) if shared else x.to(dtype)


@dataclass(eq=False, repr=False)
class Conv(Weighted):
    """Convolution with square filters, stride 1, "same" padding; weights of (size, size, channels, kernels).

    Args:
        channels: of the input.
        kernels: filters, the channels of the output.
        size: height and width of a filter.
    """

    channels: int
    kernels: int
    size: int

    def __post_init__(self) -> None:
        self.weights["weight"] = (self.size, self.size, self.channels, self.kernels)
        if self.bias:
            self.weights["bias"] = (1, self.kernels)

    def forward(self, x: Tensor, training: bool) -> Tensor:
        """x_RNHWC -> y_RNHWK."""
        multiplications = math.prod(x.shape[1:4]) * math.prod(self.weights["weight"])
        dtype = matmul.factor(self.precision, x, multiplications)
        factor, self.filters = narrowed(x, dtype), self.values["weight"].movedim(-1, 1).to(dtype).contiguous()
        form = convolutions.fastest(factor, self.filters) if x.is_cuda and training else "looped"
        self.form = convolutions.FORMS[form]
        y, self.kept = self.form.forward(factor, self.filters)
        y = y.to(x.dtype)
        return y + self.values["bias"][:, :, None, None, :] if "bias" in self.values else y

    def backward(self, dy: Tensor, needs_dx: bool) -> Tensor:
        """Gradients of filters, bias and input."""
        if "bias" in self.grads:
            torch.sum(dy.flatten(1, 3), dim=1, keepdim=True, out=self.grads["bias"])
        gradient = self.filters.new_empty(self.filters.shape, dtype=dy.dtype)
        dx = self.form.backward(dy.to(self.filters.dtype), self.kept, self.filters, gradient, needs_dx)
        self.grads["weight"].copy_(gradient.movedim(1, -1))
        return dx


@dataclass(eq=False, repr=False)
class MaxPool(Plain):
    """Maximum over squares of `size` with stride `size`; the gradient goes to the first of equal maxima."""

    size: int

    def forward(self, x: Tensor, training: bool) -> Tensor:  # noqa: ARG002
        """x_RNHWC -> y_RN(H/size)(W/size)C."""
        self.shape, self.x = x.shape, x.flatten(0, 1)
        y, self.places = kernels.loops(x).pool(self.x, self.size)
        return y.view(*x.shape[:2], *y.shape[1:])

    def backward(self, dy: Tensor, needs_dx: bool) -> Tensor:  # noqa: ARG002
        """Return dx: each output's gradient, at the position of its maximum."""
        return kernels.loops(dy).pool_back(dy.flatten(0, 1), self.x, self.places, self.size).view(self.shape)


class Flatten(Plain):
    """x_RNHWC -> x_RN(HWC)."""

    def forward(self, x: Tensor, training: bool) -> Tensor:  # noqa: ARG002
        """Return all values of a sample in one axis."""
        self.shape = x.shape
        return x.flatten(2)

    def backward(self, dy: Tensor, needs_dx: bool) -> Tensor:  # noqa: ARG002
        """Return dy in the input's shape."""
        return dy.view(self.shape)


@dataclass(eq=False, repr=False)
class Dropout(Plain):
    """Inverted dropout: in training a value is 0 with probability `rate`, else multiplied by 1 / (1 - rate).

    The mask is a function of the run's seed, the layer's `place` in the model and the step alone.
    """

    rate: float
    place: int
    shape: Shape = field(init=False, default=())  # of one run's input, (N, ...)

    def forward(self, x: Tensor, training: bool) -> Tensor:
        """Return x times the mask; x itself outside training."""
        if not training:
            return x
        self.shape = tuple(x.shape[1:])
        draw = self.moment.draws.get(self.place)
        if draw is None:
            at = (self.place, self.moment.step)
            draw = torch.stack([uniform(seed, "dropout", at, self.shape) for seed in self.moment.seeds])
        self.mask = (draw >= self.rate).to(x) / (1 - self.rate)
        return x * self.mask

    def backward(self, dy: Tensor, needs_dx: bool) -> Tensor:  # noqa: ARG002
        """Return dy times the same mask."""
        return dy * self.mask
