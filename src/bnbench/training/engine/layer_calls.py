"""The compiled calls of each kind of layer: forward pass, and backward pass with the gradients of its weights.

A function records the forward calls, and returns the output and what records the backward calls. The formulas are those
of the layers in `training.nets`.
"""

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from bnbench.arithmetic.library import Array, EachStep
from bnbench.data import random_streams
from bnbench.training.engine import norm_calls
from bnbench.training.engine.program import PANEL, Program
from bnbench.training.nets import batch_norms, sample_norms
from bnbench.training.nets.activations import LeakyRelu, PRelu, Relu, Sigmoid, Tanh
from bnbench.training.nets.layers import Conv, Dropout, Flatten, Layer, Linear, MaxPool

Back = Callable[[Tensor, bool], Tensor]  # gradient of the output, and whether that of the input is needed -> the latter
Record = Callable[[Program, int, Any, Any], tuple[Any, Back]]


def shape(x: Array) -> tuple[int, ...]:
    """Return the shape of an array of one step."""
    return tuple(x.array.shape[1:] if isinstance(x, EachStep) else x.shape)


def _viewed(x: Array, *sizes: int) -> Array:
    return EachStep(x.array.view(len(x.array), *sizes)) if isinstance(x, EachStep) else x.view(sizes)


def _flatten(_program: Program, _index: int, _layer: Layer, x: Array) -> tuple[Array, Back]:
    before = shape(x)
    return _viewed(x, before[0], math.prod(before[1:])), lambda dy, _wanted: dy.view(before)


def _linear(program: Program, index: int, layer: Linear, x: Array) -> tuple[Tensor, Back]:
    images, (inputs, units) = program.images, layer.weights["weight"]
    weight, y = program.slot(index, "weight"), program.empty(images, units)
    if layer.bias:
        arrays = [x, weight, program.slot(index, "bias"), y, program.work(PANEL * (inputs + 1))]
        program.call("linear", [images, units, inputs], arrays)
    else:
        program.product(x, weight, y)

    def back(dy: Tensor, wanted: bool) -> Tensor:
        dx = program.empty(images, inputs) if wanted else dy
        if wanted:
            program.product(dy, weight, dx, (False, True))
        _learn_bias(program, index, layer, dy)

        def fill(grads: Tensor, rows: slice) -> None:
            some = EachStep(x.array[..., rows]) if isinstance(x, EachStep) else x[:, rows]
            program.product(some, dy, grads, (True, False))

        program.learn(index, "weight", fill, together=False)
        return dx

    return y, back


def _learn_bias(program: Program, index: int, layer: Linear | Conv, dy: Tensor) -> None:
    if layer.bias:
        rows = [dy.numel() // dy.shape[-1], dy.shape[-1]]
        program.learn(index, "bias", lambda grads, _rows: program.call("column_sums", rows, [dy, grads]))


def _conv(program: Program, index: int, layer: Conv, x: Array) -> tuple[Tensor, Back]:
    images, height, width, channels = shape(x)
    size, filters, border = layer.size, layer.kernels, layer.size // 2
    weight, y = program.slot(index, "weight"), program.empty(images, height, width, filters)
    sizes = [images, height, width, channels, size, filters]
    padded = _padded(program, x, border)
    if layer.bias:
        program.call("repeat", [y.numel() // filters, filters], [program.slot(index, "bias"), y])
    work = program.work(PANEL * (size * size * channels + 1))
    program.call("conv", sizes, [padded, weight, y, work], [layer.bias])

    def back(dy: Tensor, wanted: bool) -> Tensor:
        dx = program.empty(images, height, width, channels) if wanted else dy
        if wanted:
            turned = program.empty(weight.numel())
            program.call("turn", [size, channels, filters], [weight, turned])
            room = program.work(PANEL * (size * size * filters + 1))
            into = [images, height, width, filters, size, channels]
            program.call("conv", into, [_padded(program, dy, border), turned, dx, room], [False])
        _learn_bias(program, index, layer, dy)
        room = program.work(PANEL * (images * height * width + 1) + 2 * images * height)
        program.learn(
            index, "weight", lambda grads, _rows: program.call("conv_weights", sizes, [padded, dy, grads, room])
        )
        return dx

    return y, back


def _padded(program: Program, x: Array, border: int) -> Array:
    images, height, width, channels = shape(x)
    padded = program.empty(images, height + 2 * border, width + 2 * border, channels)
    program.call("pad", [images, height, width, channels, border], [x, padded])
    return padded


def _max_pool(program: Program, _index: int, layer: MaxPool, x: Array) -> tuple[Tensor, Back]:
    images, height, width, channels = shape(x)
    y = program.empty(images, height // layer.size, width // layer.size, channels)
    sizes = [images, height, width, channels, layer.size]
    program.call("pool", sizes, [x, y])

    def back(dy: Tensor, wanted: bool) -> Tensor:  # noqa: ARG001
        dx = program.empty(images, height, width, channels)
        program.call("pool_back", sizes, [dy, x, y, dx])
        return dx

    return y, back


def _dropout(program: Program, _index: int, layer: Dropout, x: Array) -> tuple[Array, Back]:
    if not program.of.training:
        return x, lambda dy, _wanted: dy
    y, mask, count = program.empty(*shape(x)), program.empty(*shape(x)), math.prod(shape(x))
    key = random_streams.stream(program.seed, "dropout", (layer.place, 0)).key
    program.call("dropout", [count, *key], [x, y, mask, program.step_counter], [layer.rate, 1 / (1 - layer.rate)])

    def back(dy: Tensor, wanted: bool) -> Tensor:  # noqa: ARG001
        dx = program.empty(*dy.shape)
        program.call("multiply", [count], [dy, mask, dx])
        return dx

    return y, back


def _pointwise(name: str, of_output: bool, *constants: str) -> Record:
    """Return the calls of an activation: its derivative is a function of its output, or else of its input."""

    def record(program: Program, _index: int, layer: Layer, x: Array) -> tuple[Tensor, Back]:
        y, settings = program.empty(*shape(x)), [getattr(layer, constant) for constant in constants]
        program.call(name, [y.numel()], [x, y], settings)

        def back(dy: Tensor, wanted: bool) -> Tensor:  # noqa: ARG001
            dx = program.empty(*dy.shape)
            program.call(f"{name}_back", [dy.numel()], [dy, y if of_output else x, dx], settings)
            return dx

        return y, back

    return record


def _prelu(program: Program, index: int, _layer: PRelu, x: Array) -> tuple[Tensor, Back]:
    y, factor = program.empty(*shape(x)), program.slot(index, "slope")
    sizes = [y.numel() // y.shape[-1], y.shape[-1]]
    program.call("prelu", sizes, [x, factor, y])

    def back(dy: Tensor, wanted: bool) -> Tensor:  # noqa: ARG001
        dx, each = program.empty(*dy.shape), program.empty(*dy.shape)
        program.call("prelu_back", sizes, [dy, x, factor, dx, each])
        program.learn(index, "slope", lambda grads, _rows: program.call("column_sums", sizes, [each, grads]))
        return dx

    return y, back


# class of layer -> the function that records its calls
LAYERS: dict[type[Any], Record] = {
    Flatten: _flatten,
    Linear: _linear,
    Conv: _conv,
    MaxPool: _max_pool,
    Dropout: _dropout,
    Relu: _pointwise("relu", True),
    LeakyRelu: _pointwise("leaky", False, "slope"),
    PRelu: _prelu,
    Sigmoid: _pointwise("sigmoid", True),
    Tanh: _pointwise("tanh", True),
    batch_norms.BatchNorm: norm_calls.batch_norm,
    batch_norms.Center: norm_calls.center,
    batch_norms.Ghost: norm_calls.batch_norm,
    batch_norms.Renorm: norm_calls.renorm,
    sample_norms.Group: norm_calls.group_norm,
    sample_norms.LayerNorm: norm_calls.group_norm,
    sample_norms.LocalResponse: norm_calls.local_response,
}
