"""Each layer of a dense net by its passes written by hand, one run at a time: a table with one signature."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from bnbench.data import random_streams
from bnbench.training.nets import activations as act
from bnbench.training.nets import batch_norms, image_norms
from bnbench.training.nets.layers import Dropout, Flatten, Linear
from bnbench.training.nets.reference import layers as hand
from bnbench.training.nets.reference import norms as handnorms
from bnbench.training.nets.reference.layers import Array

# dy -> dx, and the gradients of the layer's weights
Back = Callable[[Array], tuple[Array, dict[str, Array]]]


@dataclass(frozen=True)
class Own:
    """What is one run's in a layer: its row in the pack, and its weights and statistics, which change in place."""

    row: int
    values: dict[str, Array]
    statistics: dict[str, Array]


Pass = Callable[[Any, Own, Array, bool], tuple[Array, Back]]


def _flatten(layer: Flatten, own: Own, x: Array, training: bool) -> tuple[Array, Back]:  # noqa: ARG001
    return x.reshape(len(x), -1), lambda dy: (dy.reshape(x.shape), {})


def _linear(layer: Linear, own: Own, x: Array, training: bool) -> tuple[Array, Back]:  # noqa: ARG001
    weight = own.values["weight"]

    def back(dy: Array) -> tuple[Array, dict[str, Array]]:
        dx, d_weight, d_bias = hand.dense_back(dy, x, weight)
        return dx, {"weight": d_weight, "bias": d_bias}

    return hand.dense(x, weight, own.values.get("bias", 0.0)), back


def _dropout(layer: Dropout, own: Own, x: Array, training: bool) -> tuple[Array, Back]:
    if not training:
        return x, lambda dy: (dy, {})
    place = (layer.place, layer.moment.step)
    drawn = random_streams.uniform([layer.moment.seeds[own.row]], place, x.shape)[0].numpy()
    mask = hand.dropout_mask(drawn, layer.rate)
    return hand.dropout(x, mask), lambda dy: (hand.dropout_back(dy, mask), {})


def _relu(layer: act.Relu, own: Own, x: Array, training: bool) -> tuple[Array, Back]:  # noqa: ARG001
    return hand.relu(x), lambda dy: (hand.relu_back(dy, x), {})


def _leaky_relu(layer: act.LeakyRelu, own: Own, x: Array, training: bool) -> tuple[Array, Back]:  # noqa: ARG001
    return hand.leaky_relu(x, layer.slope), lambda dy: (hand.leaky_relu_back(dy, x, layer.slope), {})


def _prelu(layer: act.PRelu, own: Own, x: Array, training: bool) -> tuple[Array, Back]:  # noqa: ARG001
    slope = own.values["slope"]

    def back(dy: Array) -> tuple[Array, dict[str, Array]]:
        dx, d_slope = hand.prelu_back(dy, x, slope)
        return dx, {"slope": d_slope}

    return hand.prelu(x, slope), back


def _sigmoid(layer: act.Sigmoid, own: Own, x: Array, training: bool) -> tuple[Array, Back]:  # noqa: ARG001
    y = hand.sigmoid(x)
    return y, lambda dy: (hand.sigmoid_back(dy, y), {})


def _tanh(layer: act.Tanh, own: Own, x: Array, training: bool) -> tuple[Array, Back]:  # noqa: ARG001
    y = hand.tanh(x)
    return y, lambda dy: (hand.tanh_back(dy, y), {})


def _factors(layer: image_norms.Scaled, own: Own) -> tuple[Array | float, Array | float]:
    """Gamma and beta, learned or fixed."""
    known: dict[str, Array | float] = {**own.values, **layer.fixed}
    return known["gamma"], known["beta"]


def _learned(triple: tuple[Array, Array, Array]) -> tuple[Array, dict[str, Array]]:
    dx, d_gamma, d_beta = triple
    return dx, {"gamma": d_gamma, "beta": d_beta}


def _group(layer: image_norms.Group, own: Own, x: Array, training: bool) -> tuple[Array, Back]:  # noqa: ARG001
    (gamma, beta), eps = _factors(layer, own), layer.run.norm_epsilon
    y = handnorms.group_norm(x, layer.groups, gamma, beta, eps)
    return y, lambda dy: _learned(handnorms.group_norm_back(dy, x, layer.groups, gamma, eps))


def _layer_norm(layer: image_norms.LayerNorm, own: Own, x: Array, training: bool) -> tuple[Array, Back]:  # noqa: ARG001
    (gamma, beta), eps = _factors(layer, own), layer.run.norm_epsilon
    y = handnorms.layer_norm(x, gamma, beta, eps)
    return y, lambda dy: _learned(handnorms.layer_norm_back(dy, x, gamma, eps))


def _per_channel(layer: batch_norms.PerChannel, own: Own, x: Array, training: bool) -> tuple[Array, Back]:
    if training:
        y, back = TRAINED[type(layer)](layer, own, x)
        _note(layer, own, x)
        return y, back
    gamma, beta = _factors(layer, own)
    mean, variance = handnorms.mean_variance(x, handnorms.of_channels(x))
    if layer.population != "batch":
        kind = "last_" if layer.population == "last_epoch" else ""
        mean, variance = own.statistics[f"{kind}mean"], own.statistics.get(f"{kind}variance", variance)
    if isinstance(layer, batch_norms.Center):
        return handnorms.scale_shift(x - mean, gamma, beta), _no_way
    return handnorms.scale_shift(handnorms.normalise(x, mean, variance, layer.run.norm_epsilon), gamma, beta), _no_way


def _no_way(dy: Array) -> NoReturn:  # noqa: ARG001
    raise RuntimeError("there is a backward pass in training alone")


def _center(layer: batch_norms.Center, own: Own, x: Array) -> tuple[Array, Back]:
    gamma, beta = _factors(layer, own)
    return handnorms.center(x, gamma, beta), lambda dy: _learned(handnorms.center_back(dy, x, gamma))


def _ghost(layer: batch_norms.BatchNorm, own: Own, x: Array) -> tuple[Array, Back]:
    (gamma, beta), eps = _factors(layer, own), layer.run.norm_epsilon
    y = handnorms.ghost_norm(x, layer.parts, gamma, beta, eps)
    return y, lambda dy: _learned(handnorms.ghost_norm_back(dy, x, layer.parts, gamma, eps))


def _batch(layer: batch_norms.BatchNorm, own: Own, x: Array) -> tuple[Array, Back]:
    (gamma, beta), eps = _factors(layer, own), layer.run.norm_epsilon

    def back(dy: Array) -> tuple[Array, dict[str, Array]]:
        six = handnorms.batch_norm_back(dy, x, gamma, eps)
        return six.x, {"gamma": six.gamma, "beta": six.beta}

    return handnorms.batch_norm(x, gamma, beta, eps), back


def _renorm(layer: batch_norms.Renorm, own: Own, x: Array) -> tuple[Array, Back]:
    (gamma, beta), eps, run = _factors(layer, own), layer.run.norm_epsilon, layer.run
    epoch = layer.moment.step / layer.moment.epoch_steps
    limits = (
        float(np.interp(epoch, run.renorm_rmax_ramp, [1, run.renorm_rmax])),
        float(np.interp(epoch, run.renorm_dmax_ramp, [0, run.renorm_dmax])),
    )
    old = own.statistics["mean"].copy(), own.statistics["variance"].copy()
    correction = handnorms.renorm_correction(x, old, limits, eps)
    y = handnorms.renorm(x, correction, gamma, beta, eps)
    return y, lambda dy: _learned(handnorms.renorm_back(dy, x, correction, gamma, eps))


def _note(layer: batch_norms.PerChannel, own: Own, x: Array) -> None:
    """Gather the population's statistics of a batch, the mean over its parts."""
    pairs = [handnorms.mean_variance(part, handnorms.of_channels(x)) for part in np.split(x, layer.parts)]
    count = x[..., 0].size // layer.parts
    new = {"mean": np.mean([mean for mean, _ in pairs], axis=0).ravel()}
    if "variance" in own.statistics:
        new["variance"] = np.mean([handnorms.unbiased(v, count) for _, v in pairs], axis=0).ravel()
    done = layer.moment.step % layer.moment.epoch_steps
    for name, value in new.items():
        own.statistics[name][:] = handnorms.moving_average(own.statistics[name], value, layer.run.norm_keep)
        if layer.run.population == "last_epoch":
            own.statistics[f"epoch_{name}"][:] = (own.statistics[f"epoch_{name}"] * done + value) / (done + 1)
            if layer.moment.step < layer.moment.epoch_steps or done + 1 == layer.moment.epoch_steps:
                own.statistics[f"last_{name}"][:] = own.statistics[f"epoch_{name}"]


TRAINED: dict[type, Callable[[Any, Own, Array], tuple[Array, Back]]] = {
    batch_norms.BatchNorm: _batch,
    batch_norms.Center: _center,
    batch_norms.Ghost: _ghost,
    batch_norms.Renorm: _renorm,
}
PASSES: dict[type, Pass] = {
    Flatten: _flatten,
    Linear: _linear,
    Dropout: _dropout,
    act.Relu: _relu,
    act.LeakyRelu: _leaky_relu,
    act.PRelu: _prelu,
    act.Sigmoid: _sigmoid,
    act.Tanh: _tanh,
    image_norms.Group: _group,
    image_norms.LayerNorm: _layer_norm,
    **dict.fromkeys(TRAINED, _per_channel),
}
