"""Layers of dense nets on one run's NumPy arrays: each returns its output and a function that returns its gradients.

All have one signature, `Pass`. The formulas are in `reference.layers`; the norms are in `reference.norm_passes`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bnbench.data import random_streams
from bnbench.training.nets import activations
from bnbench.training.nets.layers import Dropout, Flatten, Linear
from bnbench.training.nets.reference import layers as formulas
from bnbench.training.nets.reference.layers import Array

# dy -> dx, and the gradients of the layer's weights by name
Back = Callable[[Array], tuple[Array, dict[str, Array]]]


@dataclass(frozen=True)
class Own:
    """One run's share of a layer: its row in the pack, and its weights and statistics, which change in place."""

    row: int
    values: dict[str, Array]
    statistics: dict[str, Array]


# layer, its arrays of this run, input, whether in training -> output, backward pass
Pass = Callable[[Any, Own, Array, bool], tuple[Array, Back]]


def flatten(layer: Flatten, own: Own, x: Array, training: bool) -> tuple[Array, Back]:  # noqa: ARG001
    """All values of a sample in one axis."""
    return x.reshape(len(x), -1), lambda dy: (dy.reshape(x.shape), {})


def linear(layer: Linear, own: Own, x: Array, training: bool) -> tuple[Array, Back]:  # noqa: ARG001
    """y = x W + b."""
    weight = own.values["weight"]

    def back(dy: Array) -> tuple[Array, dict[str, Array]]:
        dx, d_weight, d_bias = formulas.dense_back(dy, x, weight)
        return dx, {"weight": d_weight, "bias": d_bias}

    return formulas.dense(x, weight, own.values.get("bias", 0.0)), back


def dropout(layer: Dropout, own: Own, x: Array, training: bool) -> tuple[Array, Back]:
    """y = x mask, with the mask of the same random numbers as the fast layer's."""
    if not training:
        return x, lambda dy: (dy, {})
    place = (layer.place, layer.moment.step)
    drawn = random_streams.uniform(layer.moment.seeds[own.row], "dropout", place, x.shape).numpy()
    mask = formulas.dropout_mask(drawn, layer.rate)
    return formulas.dropout(x, mask), lambda dy: (formulas.dropout_back(dy, mask), {})


def relu(layer: activations.Relu, own: Own, x: Array, training: bool) -> tuple[Array, Back]:  # noqa: ARG001
    """y = max(x, 0)."""
    return formulas.relu(x), lambda dy: (formulas.relu_back(dy, x), {})


def leaky_relu(layer: activations.LeakyRelu, own: Own, x: Array, training: bool) -> tuple[Array, Back]:  # noqa: ARG001
    """y = x where x > 0, else slope x."""
    return formulas.leaky_relu(x, layer.slope), lambda dy: (formulas.leaky_relu_back(dy, x, layer.slope), {})


def prelu(layer: activations.PRelu, own: Own, x: Array, training: bool) -> tuple[Array, Back]:  # noqa: ARG001
    """y = x where x > 0, else a x with a learned a per channel."""
    slope = own.values["slope"]

    def back(dy: Array) -> tuple[Array, dict[str, Array]]:
        dx, d_slope = formulas.prelu_back(dy, x, slope)
        return dx, {"slope": d_slope}

    return formulas.prelu(x, slope), back


def sigmoid(layer: activations.Sigmoid, own: Own, x: Array, training: bool) -> tuple[Array, Back]:  # noqa: ARG001
    """y = 1 / (1 + e^-x)."""
    y = formulas.sigmoid(x)
    return y, lambda dy: (formulas.sigmoid_back(dy, y), {})


def tanh(layer: activations.Tanh, own: Own, x: Array, training: bool) -> tuple[Array, Back]:  # noqa: ARG001
    """Hyperbolic tangent."""
    y = formulas.tanh(x)
    return y, lambda dy: (formulas.tanh_back(dy, y), {})
