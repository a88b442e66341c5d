"""Each kind of layer's compiled calls: forward, and in training backward and the weights' update: see `tape`.

Every call gives the numbers of the torch operations of `layers`, `norms`, `activations` and `optimizers`, bit for bit.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bnbench.params.run_schema import Run
from bnbench.plan.programs import has_program
from bnbench.training.arithmetic import calls, matmul, products
from bnbench.training.arithmetic.calls import Array, EachStep
from bnbench.training.engine.program import Recorder
from bnbench.training.nets.activations import LeakyRelu, Relu, Sigmoid, Tanh
from bnbench.training.nets.batch_norms import BatchNorm
from bnbench.training.nets.layers import Flatten, Layer, Linear
from bnbench.training.pack.pack import Pack

ROWS_BYTES = 2**18  # of a weight's gradient, which its update finds in a core's second cache

Back = Callable[[Tensor, bool], Tensor]


def _flatten(_tape: Recorder, _index: int, _layer: Layer, x: Array) -> tuple[Array, Back]:
    return x, lambda dy, _wanted: dy


def _linear(tape: Recorder, index: int, layer: Layer, x: Array) -> tuple[Tensor, Back]:
    assert isinstance(layer, Linear)
    inputs, units = layer.weights["weight"]
    weight = tape.slot(index, "weight")
    y = tape.empty(tape.images, units)
    work = y.numel() * inputs
    tape.rounded = rounded = tape.fast and work >= matmul.WORTH
    if "bias" in layer.weights:
        tape.call("spread", y.shape, [tape.slot(index, "bias"), y])
    tape.product(x, weight, y, add="bias" in layer.weights)

    def back(dy: Tensor, wanted: bool) -> Tensor:
        dx = tape.empty(len(dy), inputs) if wanted else dy
        tape.rounded = rounded
        if wanted:
            tape.product(dy, weight, dx, (False, True))
        if "bias" in layer.weights:
            sums = tape.empty(1, units)
            tape.call("column_sums", dy.shape, [dy, sums])
            tape.update(index, "bias", sums)
        rows = inputs if work < products.LOOPED else max(16, ROWS_BYTES // (4 * units) // 16 * 16)
        grads = tape.empty(min(rows, inputs), units)
        for first in range(0, inputs, rows):
            last = min(first + rows, inputs)
            some = EachStep(x.array[..., first:last]) if isinstance(x, EachStep) else x[:, first:last]
            tape.product(some, dy, grads[: last - first], (True, False))
            tape.update(index, "weight", grads[: last - first], first)
        return dx

    return y, back


def _batch_norm(tape: Recorder, index: int, layer: Layer, x: Array) -> tuple[Tensor, Back]:
    assert isinstance(layer, BatchNorm)
    assert isinstance(x, Tensor)
    values, channels = x.shape
    normal, y, work = tape.empty(*x.shape), tape.empty(*x.shape), tape.empty(values + 3, channels)
    gamma, beta = (_given(tape, index, layer, name) for name in ("gamma", "beta"))
    moving = [tape.slot(index, name, "moving") for name in ("mean", "variance")]
    arrays = [x, gamma, beta, *moving, normal, y, work]
    keep, unbiased = layer.keep, values / max(1, values - 1)
    constants = [layer.epsilon, keep, 1 - keep, unbiased]
    tape.call("batch_norm" if tape.training else "batch_norm_known", x.shape, arrays, constants)

    def back(dy: Tensor, wanted: bool) -> Tensor:  # noqa: ARG001
        dx, sums = tape.empty(*dy.shape), tape.empty(3, channels)
        slopes = {name: tape.empty(1, channels) for name in ("beta", "gamma")}
        tape.call("batch_norm_back", dy.shape, [dy, normal, work, gamma, *slopes.values(), dx, sums])
        for name in layer.weights:
            tape.update(index, name, slopes[name])
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
        tape.call("quick_sigmoid" if name == "sigmoid" and tape.fast else name, [x.numel()], [x, y])

        def back(dy: Tensor, wanted: bool) -> Tensor:  # noqa: ARG001
            dx = tape.empty(*dy.shape)
            tape.call(f"{name}_back", [dy.numel()], [dy, y, dx])
            return dx

        return y, back

    return record


def _leaky_relu(tape: Recorder, _index: int, layer: Layer, x: Array) -> tuple[Tensor, Back]:
    assert isinstance(layer, LeakyRelu)
    assert isinstance(x, Tensor)
    y, factors = tape.empty(*x.shape), layer.factors
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
    return matmul.products(run, "cpu") == "bf16"


def recordable(pack: Pack) -> bool:
    """Whether each layer's calls are known, on this machine: a dense net's, of two channels or more in each layer."""
    return (
        pack.arrays["values"].device.type == "cpu"
        and not calls.lacking()
        and has_program(pack.run)
        and (not _rounds(pack.run) or calls.has("rounded_product"))
    )


def agree(run: Run, a: Tensor, b: Tensor) -> bool:
    """Whether two arrays are the same, bit for bit; of factors rounded to bf16 nearly: torch rounds the product too."""
    if not _rounds(run):
        return a.numpy().tobytes() == b.numpy().tobytes()
    largest = b[b.isfinite()].abs().max() if b.isfinite().any() else b.new_zeros(())
    return torch.allclose(a.double(), b.double(), rtol=0, atol=0.1 * float(largest), equal_nan=True)
