"""Norms on one run's NumPy arrays, with the signature of `reference.passes`; the formulas are in `reference.norms`."""

from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn

import numpy as np

from bnbench.training.nets import batch_norms, sample_norms
from bnbench.training.nets.reference import norms as formulas
from bnbench.training.nets.reference.layers import Array
from bnbench.training.nets.reference.passes import Back, Own, Pass


def _factors(layer: sample_norms.Affine, own: Own) -> tuple[Array | float, Array | float]:
    """Return gamma and beta, learned or fixed."""
    known: dict[str, Array | float] = {**own.values, **layer.fixed}
    return known["gamma"], known["beta"]


def _learned(triple: tuple[Array, Array, Array]) -> tuple[Array, dict[str, Array]]:
    dx, d_gamma, d_beta = triple
    return dx, {"gamma": d_gamma, "beta": d_beta}


def group(layer: sample_norms.Group, own: Own, x: Array, training: bool) -> tuple[Array, Back]:  # noqa: ARG001
    """Group normalisation."""
    (gamma, beta), eps = _factors(layer, own), layer.epsilon
    y = formulas.group_norm(x, layer.groups, gamma, beta, eps)
    return y, lambda dy: _learned(formulas.group_norm_back(dy, x, layer.groups, gamma, eps))


def layer_norm(layer: sample_norms.LayerNorm, own: Own, x: Array, training: bool) -> tuple[Array, Back]:  # noqa: ARG001
    """Layer normalisation."""
    (gamma, beta), eps = _factors(layer, own), layer.epsilon
    y = formulas.layer_norm(x, gamma, beta, eps)
    return y, lambda dy: _learned(formulas.layer_norm_back(dy, x, gamma, eps))


def local_response(
    layer: sample_norms.LocalResponse,
    own: Own,  # noqa: ARG001
    x: Array,
    training: bool,  # noqa: ARG001
) -> tuple[Array, Back]:
    """Local response normalisation."""
    settings = formulas.Response(layer.size, layer.alpha, layer.beta, layer.k)
    return formulas.local_response(x, settings), lambda dy: (formulas.local_response_back(dy, x, settings), {})


def _outside(layer: batch_norms.PerChannel, own: Own, x: Array) -> Array:
    """Return the output outside training."""
    gamma, beta = _factors(layer, own)
    mean, variance = formulas.mean_variance(x, formulas.of_channels(x))
    if layer.population != "batch":
        kind = "last_" if layer.population == "last_epoch" else ""
        mean, variance = own.statistics[f"{kind}mean"], own.statistics.get(f"{kind}variance", variance)
    if isinstance(layer, batch_norms.BatchNorm):
        return formulas.scale_shift(formulas.normalise(x, mean, variance, layer.epsilon), gamma, beta)
    return formulas.scale_shift(x - mean, gamma, beta)


def _refuse(dy: Array) -> NoReturn:  # noqa: ARG001
    raise RuntimeError("there is a backward pass in training alone")


def _over_batch(training_pass: Callable[[Any, Own, Array], tuple[Array, Back]]) -> Pass:
    """Return the pass of a norm over a mini-batch, of its pass in training."""

    @wraps(training_pass)
    def run(layer: Any, own: Own, x: Array, training: bool) -> tuple[Array, Back]:
        if not training:
            return _outside(layer, own, x), _refuse
        y, back = training_pass(layer, own, x)
        _gather(layer, own, x)
        return y, back

    return run


@_over_batch
def center(layer: batch_norms.Center, own: Own, x: Array) -> tuple[Array, Back]:
    """Centring by the mean of a channel in the mini-batch."""
    gamma, beta = _factors(layer, own)
    return formulas.center(x, gamma, beta), lambda dy: _learned(formulas.center_back(dy, x, gamma))


@_over_batch
def ghost(layer: batch_norms.Ghost, own: Own, x: Array) -> tuple[Array, Back]:
    """Ghost batch normalisation."""
    (gamma, beta), eps = _factors(layer, own), layer.epsilon
    y = formulas.ghost_norm(x, layer.parts, gamma, beta, eps)
    return y, lambda dy: _learned(formulas.ghost_norm_back(dy, x, layer.parts, gamma, eps))


@_over_batch
def batch(layer: batch_norms.BatchNorm, own: Own, x: Array) -> tuple[Array, Back]:
    """Batch normalisation."""
    (gamma, beta), eps = _factors(layer, own), layer.epsilon

    def back(dy: Array) -> tuple[Array, dict[str, Array]]:
        six = formulas.batch_norm_back(dy, x, gamma, eps)
        return six.x, {"gamma": six.gamma, "beta": six.beta}

    return formulas.batch_norm(x, gamma, beta, eps), back


@_over_batch
def renorm(layer: batch_norms.Renorm, own: Own, x: Array) -> tuple[Array, Back]:
    """Batch renormalisation."""
    (gamma, beta), eps = _factors(layer, own), layer.epsilon
    epoch = layer.moment.step / layer.moment.epoch_steps
    limits = (
        float(np.interp(epoch, layer.rmax_ramp, [1, layer.rmax])),
        float(np.interp(epoch, layer.dmax_ramp, [0, layer.dmax])),
    )
    old = own.statistics["mean"].copy(), own.statistics["variance"].copy()
    correction = formulas.renorm_correction(x, old, limits, eps)
    y = formulas.renorm(x, correction, gamma, beta, eps)
    return y, lambda dy: _learned(formulas.renorm_back(dy, x, correction, gamma, eps))


def _gather(layer: batch_norms.PerChannel, own: Own, x: Array) -> None:
    """Update the running statistics with a mini-batch's, the mean over its parts."""
    pairs = [formulas.mean_variance(part, formulas.of_channels(x)) for part in np.split(x, layer.parts)]
    count = x[..., 0].size // layer.parts
    new = {"mean": np.mean([mean for mean, _ in pairs], axis=0).ravel()}
    if "variance" in own.statistics:
        new["variance"] = np.mean([formulas.unbiased(v, count) for _, v in pairs], axis=0).ravel()
    done = layer.moment.step % layer.moment.epoch_steps
    for name, value in new.items():
        own.statistics[name][:] = formulas.moving_average(own.statistics[name], value, layer.keep)
        if f"epoch_{name}" in own.statistics:
            own.statistics[f"epoch_{name}"][:] = (own.statistics[f"epoch_{name}"] * done + value) / (done + 1)
            if layer.moment.step < layer.moment.epoch_steps or done + 1 == layer.moment.epoch_steps:
                own.statistics[f"last_{name}"][:] = own.statistics[f"epoch_{name}"]
