"""Compiled calls of each kind of layer: forward pass, and in training backward pass and weight update.

Every call gives the numbers of the torch operations of `nets` and `pack.optimizers`, bit for bit.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bnbench.params.run_schema import Run
from bnbench.plan.programs import has_program
from bnbench.training.arithmetic import calls, matmul, products
from bnbench.training.arithmetic.calls import Array, EachStep
from bnbench.training.engine.program import Program
from bnbench.training.nets.activations import LeakyRelu, Relu, Sigmoid, Tanh
from bnbench.training.nets.batch_norms import BatchNorm
from bnbench.training.nets.layers import Flatten, Layer, Linear
from bnbench.training.pack.pack import Pack

ROWS_BYTES = 2**18  # of a weight's gradient at a time, which its update then finds in a core's second cache

Back = Callable[[Tensor, bool], Tensor]


def _flatten(_program: Program, _index: int, _layer: Layer, x: Array) -> tuple[Array, Back]:
    return x, lambda dy, _wanted: dy


def _linear(program: Program, index: int, layer: Layer, x: Array) -> tuple[Tensor, Back]:
    assert isinstance(layer, Linear)
    inputs, units = layer.weights["weight"]
    weight = program.slot(index, "weight")
    y = program.empty(program.images, units)
    work = y.numel() * inputs
    program.rounded = rounded = program.fast and work >= matmul.WORTH
    if "bias" in layer.weights:
        program.call("spread", y.shape, [program.slot(index, "bias"), y])
    program.product(x, weight, y, add="bias" in layer.weights)

    def back(dy: Tensor, wanted: bool) -> Tensor:
        dx = program.empty(len(dy), inputs) if wanted else dy
        program.rounded = rounded
        if wanted:
            program.product(dy, weight, dx, (False, True))
        if "bias" in layer.weights:
            sums = program.empty(1, units)
            program.call("column_sums", dy.shape, [dy, sums])
            program.update(index, "bias", sums)
        rows = inputs if work < products.LOOPED else max(16, ROWS_BYTES // (4 * units) // 16 * 16)
        grads = program.empty(min(rows, inputs), units)
        for first in range(0, inputs, rows):
            last = min(first + rows, inputs)
            some = EachStep(x.array[..., first:last]) if isinstance(x, EachStep) else x[:, first:last]
            program.product(some, dy, grads[: last - first], (True, False))
            program.update(index, "weight", grads[: last - first], first)
        return dx

    return y, back


def _batch_norm(program: Program, index: int, layer: Layer, x: Array) -> tuple[Tensor, Back]:
    assert isinstance(layer, BatchNorm)
    assert isinstance(x, Tensor)
    values, channels = x.shape
    normal, y, work = program.empty(*x.shape), program.empty(*x.shape), program.empty(values + 3, channels)
    gamma, beta = (_scale_or_shift(program, index, layer, name) for name in ("gamma", "beta"))
    moving = [program.slot(index, name, "moving") for name in ("mean", "variance")]
    arrays = [x, gamma, beta, *moving, normal, y, work]
    keep, unbiased = layer.keep, values / max(1, values - 1)
    constants = [layer.epsilon, keep, 1 - keep, unbiased]
    program.call("batch_norm" if program.training else "batch_norm_known", x.shape, arrays, constants)

    def back(dy: Tensor, wanted: bool) -> Tensor:  # noqa: ARG001
        dx, sums = program.empty(*dy.shape), program.empty(3, channels)
        gradients = {name: program.empty(1, channels) for name in ("beta", "gamma")}
        program.call("batch_norm_back", dy.shape, [dy, normal, work, gamma, *gradients.values(), dx, sums])
        for name in layer.weights:
            program.update(index, name, gradients[name])
        return dx

    return y, back


def _scale_or_shift(program: Program, index: int, layer: BatchNorm, name: str) -> Tensor:
    """Return gamma or beta, (1, C), learned or constant."""
    return program.slot(index, name) if name in layer.weights else torch.full(layer.moving["mean"], layer.fixed[name])


def _by_output(name: str) -> Callable[[Program, int, Layer, Array], tuple[Tensor, Back]]:
    """Return the calls of an activation whose derivative is a function of its output."""

    def record(program: Program, _index: int, _layer: Layer, x: Array) -> tuple[Tensor, Back]:
        assert isinstance(x, Tensor)
        y = program.empty(*x.shape)
        program.call("quick_sigmoid" if name == "sigmoid" and program.fast else name, [x.numel()], [x, y])

        def back(dy: Tensor, wanted: bool) -> Tensor:  # noqa: ARG001
            dx = program.empty(*dy.shape)
            program.call(f"{name}_back", [dy.numel()], [dy, y, dx])
            return dx

        return y, back

    return record


def _leaky_relu(program: Program, _index: int, layer: Layer, x: Array) -> tuple[Tensor, Back]:
    assert isinstance(layer, LeakyRelu)
    assert isinstance(x, Tensor)
    y, factors = program.empty(*x.shape), layer.factors
    program.call("leaky_relu", [x.numel()], [x, y], factors)

    def back(dy: Tensor, wanted: bool) -> Tensor:  # noqa: ARG001
        dx = program.empty(*dy.shape)
        program.call("leaky_relu_back", [dy.numel()], [dy, x, dx], factors)
        return dx

    return y, back


# class of layer -> a function that records its forward calls, and returns its output and what records the
# backward calls and the weight update
LAYERS: dict[type[Layer], Callable[[Program, int, Any, Any], tuple[Any, Back]]] = {
    Flatten: _flatten,
    Linear: _linear,
    BatchNorm: _batch_norm,
    Relu: _by_output("relu"),
    Sigmoid: _by_output("sigmoid"),
    Tanh: _by_output("tanh"),
    LeakyRelu: _leaky_relu,
}


def _multiplies_bf16(run: Run) -> bool:
    return matmul.products(run, "cpu") == "bf16"


def recordable(pack: Pack) -> bool:
    """Return whether there are calls for each layer on this machine: a dense net of two channels or more in each."""
    return (
        pack.arrays["values"].device.type == "cpu"
        and not calls.lacking()
        and has_program(pack.run)
        and (not _multiplies_bf16(pack.run) or calls.has("rounded_product"))
    )


def agree(run: Run, a: Tensor, b: Tensor) -> bool:
    """Return whether two arrays are equal, bit for bit; nearly with bf16 factors, where torch also rounds products."""
    if not _multiplies_bf16(run):
        return a.numpy().tobytes() == b.numpy().tobytes()
    largest = b[b.isfinite()].abs().max() if b.isfinite().any() else b.new_zeros(())
    return torch.allclose(a.double(), b.double(), rtol=0, atol=0.1 * float(largest), equal_nan=True)
