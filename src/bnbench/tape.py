"""The training step of dense nets as a list of compiled calls, replayed step after step without Python.

A run trains through a block of steps alone, so that its weights and gradients stay in the core's cache; the runs of
a pack follow each other. Every call gives the numbers of the torch operations of `layers`, `norms`, `activations`,
`optimizers` and `evaluation`, bit for bit; the first step of each recording is held against theirs.
What cannot be recorded (`recordable`) trains by those operations.
"""

import ctypes
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bnbench import precision
from bnbench.activations import LeakyRelu, Relu, Sigmoid, Tanh
from bnbench.layers import Flatten, Layer, Linear
from bnbench.norms import BatchNorm
from bnbench.optimizers import OPTIMIZERS
from bnbench.pack import Pack
from bnbench.probes import PROBES
from bnbench.recorder import LOOPED, Array, Call, EachStep, Recorder, lacking, shared_library
from bnbench.schema import Run

LANES = 16 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 8  # numbers in a vector of torch's
# what a block of steps may take: batches that stay in a shared cache, and seconds until a signal is heard
BATCHES_BYTES, BLOCK_SECONDS, OPERATIONS = 2**23, 0.25, 5e10
ROWS_BYTES = 2**18  # of a weight's gradient, which its update finds in a core's second cache

Back = Callable[[Tensor, bool], Tensor]


def _flatten(_tape: Recorder, _index: int, _layer: Layer, x: Array) -> tuple[Array, Back]:
    return x, lambda dy, _wanted: dy


def _linear(tape: Recorder, index: int, layer: Layer, x: Array) -> tuple[Tensor, Back]:
    assert isinstance(layer, Linear)
    inputs, units = layer.weights["weight"]
    weight, grads = tape.slot(index, "weight"), tape.slot(index, "weight", "grads")
    y = tape.empty(tape.run.batch_size, units)
    work = y.numel() * inputs
    tape.rounded = rounded = _rounds(tape.run) and work >= precision.WORTH
    if "bias" in layer.weights:
        tape.call("spread", y.shape, [tape.slot(index, "bias"), y])
    tape.product(x, weight, y, add="bias" in layer.weights)

    def back(dy: Tensor, wanted: bool) -> Tensor:
        dx = tape.empty(len(dy), inputs) if wanted else dy
        tape.rounded = rounded
        if wanted:
            tape.product(dy, weight, dx, (False, True))
        if "bias" in layer.weights:
            tape.call("column_sums", dy.shape, [dy, tape.slot(index, "bias", "grads")])
            tape.update(index, "bias")
        rows = inputs if work < LOOPED else max(16, ROWS_BYTES // (4 * units) // 16 * 16)
        for first in range(0, inputs, rows):
            last = min(first + rows, inputs)
            some = EachStep(x.array[..., first:last]) if isinstance(x, EachStep) else x[:, first:last]
            tape.product(some, dy, grads[first:last], (True, False))
            tape.update(index, "weight", first, last)
        return dx

    return y, back


def _batch_norm(tape: Recorder, index: int, layer: Layer, x: Array) -> tuple[Tensor, Back]:
    assert isinstance(layer, BatchNorm)
    assert isinstance(x, Tensor)
    values, channels = x.shape
    normal, y, work = tape.empty(*x.shape), tape.empty(*x.shape), tape.empty(values + 3, channels)
    gamma, beta = (_given(tape, index, layer, name) for name in ("gamma", "beta"))
    keep, unbiased = layer.run.norm_keep, values / (values - 1)
    moving = [tape.slot(index, name, "moving") for name in ("mean", "variance")]
    constants = [layer.run.norm_epsilon, keep, 1 - keep, unbiased]
    tape.call("batch_norm", x.shape, [x, gamma, beta, *moving, normal, y, work], constants)

    def back(dy: Tensor, wanted: bool) -> Tensor:  # noqa: ARG001
        dx, sums = tape.empty(*dy.shape), tape.empty(3, channels)
        slopes = [
            tape.slot(index, name, "grads") if name in layer.weights else tape.empty(1, channels)
            for name in ("beta", "gamma")
        ]
        tape.call("batch_norm_back", dy.shape, [dy, normal, work, gamma, *slopes, dx, sums])
        for name in layer.weights:
            tape.update(index, name)
        return dx

    return y, back


def _given(tape: Recorder, index: int, layer: BatchNorm, name: str) -> Tensor:
    """Gamma or beta, (1, C), learned or a fixed number."""
    return tape.slot(index, name) if name in layer.weights else torch.full(layer.moving["mean"], layer.fixed[name])


def _by_output(name: str) -> Callable[[Recorder, int, Layer, Array], tuple[Tensor, Back]]:
    """An activation whose slope is a function of its output."""

    def record(tape: Recorder, _index: int, _layer: Layer, x: Array) -> tuple[Tensor, Back]:
        assert isinstance(x, Tensor)
        y = tape.empty(*x.shape)
        tape.call(name, [x.numel()], [x, y])

        def back(dy: Tensor, wanted: bool) -> Tensor:  # noqa: ARG001
            dx = tape.empty(*dy.shape)
            tape.call(f"{name}_back", [dy.numel()], [dy, y, dx])
            return dx

        return y, back

    return record


def _leaky_relu(tape: Recorder, _index: int, layer: Layer, x: Array) -> tuple[Tensor, Back]:
    assert isinstance(layer, LeakyRelu)
    assert isinstance(x, Tensor)
    y, factors = tape.empty(*x.shape), (torch.tensor([1.0, 0.0]) * (1 - layer.slope) + layer.slope).tolist()
    tape.call("leaky_relu", [x.numel()], [x, y], factors)

    def back(dy: Tensor, wanted: bool) -> Tensor:  # noqa: ARG001
        dx = tape.empty(*dy.shape)
        tape.call("leaky_relu_back", [dy.numel()], [dy, x, dx], factors)
        return dx

    return y, back


# kind of layer -> its calls forward, and a function that notes those backward and the weights' update
RECORDED: dict[type[Layer], Callable[[Recorder, int, Any, Any], tuple[Any, Back]]] = {
    Flatten: _flatten,
    Linear: _linear,
    BatchNorm: _batch_norm,
    Relu: _by_output("relu"),
    Sigmoid: _by_output("sigmoid"),
    Tanh: _by_output("tanh"),
    LeakyRelu: _leaky_relu,
}


def _rounds(run: Run) -> bool:
    return precision.products(run, "cpu") == "bf16"


def recordable(pack: Pack) -> bool:
    """Whether a pack's step is one that can be recorded: a dense net's whose batches are images as they are.

    No probe may look into a step, and each layer must have two channels or more.
    """
    run, layers = pack.run, pack.network.layers
    return (
        pack.arrays["values"].device.type == "cpu"
        and not lacking()
        and run.backend == "torch"
        and (not _rounds(run) or hasattr(shared_library(), "op_rounded_product"))
        and pack.online is None
        and run.population != "last_epoch"
        and all(PROBES[name].moment != "step" for name in run.probes)
        and all(type(layer) in RECORDED for layer in layers)
        and all(shape[-1] > 1 for layer in layers for shape in layer.weights.values())
    )


class Tape:
    """A pack's step, recorded for each run.

    Args:
        pack: as it is; where its arrays are replaced, it needs another tape.
    """

    def __init__(self, pack: Pack) -> None:
        run, fed = pack.run, pack.data["fed"]
        self.seeds = sorted(set(pack.seeds))
        size = run.batch_size * fed.x[0].numel()
        work = 6 * len(pack.names) * run.batch_size * pack.network.parameters
        fitting = min(BATCHES_BYTES // (4 * size * len(self.seeds)), int(BLOCK_SECONDS * OPERATIONS / work))
        self.block = max(1, min(fitting, pack.interval, pack.epoch_steps))
        images = len(self.seeds), self.block * run.batch_size
        self.x, self.target = (
            fed.x.new_empty(*images, fed.x[0].numel()),
            fed.target.new_empty(*images, fed.target.shape[1]),
        )
        self.losses, self.correct, self.rates = torch.empty(3, len(pack.names), self.block)
        self.corrections = torch.empty(self.block)
        self.grads, self.pool = torch.zeros_like(pack.arrays["values"][0]), dict[int, list[Tensor]]()
        self.held: list[Recorder] = []
        self.calls = [self._record(pack, i) for i in range(len(pack.names))]

    def _record(self, pack: Pack, i: int) -> ctypes.Array[Call]:
        names = ("values", "moving", *OPTIMIZERS[pack.run.optimizer][1])
        rows = {name: pack.arrays[name][i] for name in names}
        rows |= {"grads": self.grads, "rates": self.rates[i], "corrections": self.corrections}
        tape = Recorder(pack.network, pack.run, rows, self.pool)
        seed, layers = self.seeds.index(pack.seeds[i]), pack.network.layers
        x: Any = EachStep(self.x[seed].view(self.block, pack.run.batch_size, -1))
        backs = []
        for index, layer in enumerate(layers):
            x, back = RECORDED[type(layer)](tape, index, layer, x)
            backs.append(back)
        target = EachStep(self.target[seed].view(self.block, pack.run.batch_size, -1))
        dy, noted = tape.empty(*x.shape), [EachStep(self.losses[i]), EachStep(self.correct[i])]
        work = tape.empty(2 * x.shape[1] + 1, -(-len(x) // 8) * 8)
        constants = [len(x) if pack.run.loss == "mean" else 1]
        tape.call(
            "cross_entropy",
            [*x.shape, LANES],
            [x, target, dy, *noted, pack.arrays["epoch_loss"][i], work],
            constants,
        )
        first = next(i for i, layer in enumerate(layers) if layer.weights)
        for index in range(len(layers) - 1, first - 1, -1):
            dy = backs[index](dy, index > first)
        self.held.append(tape)
        return (Call * len(tape.calls))(*tape.calls)

    def advance(self, pack: Pack, most: int | None = None) -> None:
        """Train every run to the end of a block, an interval or an epoch, or by `most` steps."""
        column = pack.step % pack.interval
        left = pack.interval - column, pack.epoch_steps - pack.step % pack.epoch_steps, pack.steps - pack.step
        steps = min(most or self.block, self.block, *left)
        index = pack.drawn(pack.step, steps)
        for seed, images in enumerate(index):
            torch.index_select(pack.data["fed"].x.flatten(1), 0, images, out=self.x[seed, : len(images)])
            torch.index_select(pack.data["fed"].target, 0, images, out=self.target[seed, : len(images)])
        self._set_rates(pack, steps)
        for calls in self.calls:
            shared_library().replay(calls, len(calls), steps)
        pack.arrays["losses"][:, column : column + steps] = self.losses[:, :steps]
        pack.arrays["correct"][:, column : column + steps] = self.correct[:, :steps]
        pack.step += steps

    def _set_rates(self, pack: Pack, steps: int) -> None:
        """The learning rate of each run and step; Adam's with its first correction, and the other."""
        run, rates = pack.run, self.rates[:, :steps]
        rates.copy_(pack.rate.expand(-1, steps))
        if run.optimizer == "adam":
            taken = torch.arange(pack.step + 1, pack.step + steps + 1, dtype=torch.float64)
            rates.div_((1 - run.beta1**taken).float())
            self.corrections[:steps] = 1 - run.beta2**taken
