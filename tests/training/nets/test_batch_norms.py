"""Norms against their NumPy references and PyTorch, in float64, and against the norms that they must equal."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bnbench.params.layers.norms import NORMS, USERS
from bnbench.training.nets import build
from bnbench.training.nets.batch_norms import PerChannel
from bnbench.training.nets.layers import Layer, Linear, Moment, Views
from bnbench.training.nets.network import Network
from bnbench.training.nets.reference import norms as formulas
from bnbench.training.nets.reference.passes import Own
from bnbench.training.nets.reference.table import PASSES
from tests.support import reference
from tests.support.little import run

RUNS, IMAGES, CHANNELS = 3, 12, 6
SHAPES = {"dense": (RUNS, IMAGES, CHANNELS), "conv": (RUNS, IMAGES, 3, 5, CHANNELS)}
ALL = [name for name, spec in NORMS.items() if spec.layer]
SCALED = [name for name in ALL if NORMS[name].learned and NORMS[name].reference]
PER_CHANNEL = [name for name in ALL if NORMS[name].cancels_bias]
SETTINGS: dict[str, Any] = {
    "norm_groups": 3,
    "norm_parts": 4,
    "renorm_rmax": 1.2,
    "renorm_dmax": 0.3,
    "renorm_rmax_ramp": [1, 5],
    "renorm_dmax_ramp": [2, 6],
    "lrn_size": 4,
    "lrn_alpha": 0.5,
    "lrn_beta": 0.6,
    "lrn_k": 1.5,
}


def noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def made(norm: str, channels: int = CHANNELS, moment: Moment | None = None, **settings: Any) -> Layer:
    """Return a norm's layer in float64 with weights and statistics away from their initial values."""
    layer = build.made(NORMS[norm], channels, run(**{"norm": norm, **SETTINGS, **settings}))
    layer.moment = moment or Moment([], step=7, epoch_steps=2)
    layer.values = {name: 1 + 0.3 * noise(i, RUNS, *shape) for i, (name, shape) in enumerate(layer.weights.items())}
    layer.grads = {name: torch.zeros_like(value) for name, value in layer.values.items()}
    statistics = {name: noise(i + 9, RUNS, *shape) for i, (name, shape) in enumerate(layer.moving.items())}
    layer.statistics = {name: value.abs() + 0.5 for name, value in statistics.items()}
    return layer


def own(layer: Layer, row: int) -> Own:
    def arrays(views: Views) -> dict[str, Any]:
        return {name: view[row, 0].clone().numpy() for name, view in views.items()}

    return Own(row, arrays(layer.values), arrays(layer.statistics))


def both(layer: Layer, x: Tensor, dy: Tensor) -> list[Tensor]:
    """Return the output in training, dx, and the gradients of the weights."""
    y = layer.forward(x, True)
    return [y, layer.backward(dy, True), *(grad.clone() for grad in layer.grads.values())]


@pytest.mark.parametrize("norm", SCALED)
@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize(("gamma", "beta"), [("learned", "learned"), (2.0, "learned"), ("learned", 0.0), (1.0, 0.5)])
def test_training_equals_the_numpy_reference(norm: str, kind: str, gamma: Any, beta: Any) -> None:
    layer = made(norm, norm_gamma=gamma, norm_beta=beta, population="last_epoch")
    x, dy = 2 * noise(1, *SHAPES[kind]) + 1, noise(2, *SHAPES[kind])
    owns = [own(layer, row) for row in range(RUNS)]
    y, dx, *_ = both(layer, x, dy)
    for row, mine in enumerate(owns):
        expected, back = PASSES[type(layer)](layer, mine, x[row].numpy(), True)
        np.testing.assert_allclose(y[row].numpy(), expected, rtol=1e-10, atol=1e-12)
        d_expected, grads = back(dy[row].numpy())
        np.testing.assert_allclose(dx[row].numpy(), d_expected, rtol=1e-9, atol=1e-12)
        assert set(layer.grads) == {name for name, v in (("gamma", gamma), ("beta", beta)) if v == "learned"}
        for name, grad in layer.grads.items():
            np.testing.assert_allclose(grad[row, 0].numpy(), grads[name], rtol=1e-9, atol=1e-12)
        for name, value in layer.statistics.items():
            np.testing.assert_allclose(value[row, 0].numpy(), mine.statistics[name], rtol=1e-10)


@pytest.mark.parametrize("norm", SCALED)
@pytest.mark.parametrize("population", ["moving", "last_epoch", "batch"])
@pytest.mark.parametrize("kind", SHAPES)
def test_evaluation_equals_the_numpy_reference(norm: str, population: str, kind: str) -> None:
    layer = made(norm, population=population)
    before = {name: value.clone() for name, value in layer.statistics.items()}
    x = 2 * noise(3, *SHAPES[kind])[:, :7] + 1  # not divisible into ghost batches
    y = layer.forward(x, False)
    for row in range(RUNS):
        expected, _ = PASSES[type(layer)](layer, own(layer, row), x[row].numpy(), False)
        np.testing.assert_allclose(y[row].numpy(), expected, rtol=1e-10, atol=1e-12)
    for name, value in layer.statistics.items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("size", [1, 4, 5, 11])
def test_local_response_equals_its_formula(kind: str, size: int) -> None:
    layer = made("local_response", lrn_size=size)
    x, dy = noise(1, *SHAPES[kind]), noise(2, *SHAPES[kind])
    y, dx = both(layer, x, dy)
    settings = formulas.Response(size, 0.5, 0.6, 1.5)
    for row in range(RUNS):
        one, gradient = x[row].numpy(), dy[row].numpy()
        np.testing.assert_allclose(y[row].numpy(), formulas.local_response(one, settings), rtol=1e-10)
        expected = formulas.local_response_back(gradient, one, settings)
        np.testing.assert_allclose(dx[row].numpy(), expected, rtol=1e-9, atol=1e-12)


TORCH: dict[str, Callable[[], nn.Module]] = {
    "batch": lambda: nn.BatchNorm2d(CHANNELS, 1e-5),
    "group": lambda: nn.GroupNorm(3, CHANNELS, 1e-5),
    "layer": lambda: nn.GroupNorm(1, CHANNELS, 1e-5),
    "local_response": lambda: nn.LocalResponseNorm(4, 0.5, 0.6, 1.5),
}


@pytest.mark.parametrize("norm", TORCH)
def test_norms_equal_torch_nn_with_its_automatic_differentiation(norm: str) -> None:
    layer = made(norm)
    x, dy = noise(1, *SHAPES["conv"]), noise(2, *SHAPES["conv"])
    y, dx, *grads = both(layer, x, dy)
    for row in range(RUNS):
        module = TORCH[norm]().double()
        for parameter, value in zip(module.parameters(), layer.values.values(), strict=True):
            parameter.data.copy_(value[row, 0])
        image = x[row].movedim(-1, 1).clone().requires_grad_()
        expected = module(image)
        expected.backward(dy[row].movedim(-1, 1))
        assert image.grad is not None
        torch.testing.assert_close(y[row], expected.movedim(1, -1))
        torch.testing.assert_close(dx[row], image.grad.movedim(1, -1))
        for parameter, grad in zip(module.parameters(), grads, strict=True):
            torch.testing.assert_close(parameter.grad, grad[row, 0])


def test_layer_norm_of_a_dense_layer_equals_pytorchs() -> None:
    layer = made("layer")
    x = noise(1, *SHAPES["dense"])
    y = layer.forward(x, True)
    for row in range(RUNS):
        gamma, beta = (layer.values[name][row, 0] for name in ("gamma", "beta"))
        torch.testing.assert_close(y[row], nn.functional.layer_norm(x[row], [CHANNELS], gamma, beta))


# settings with which a norm equals batch norm
SAME: dict[str, tuple[str, dict[str, Any]]] = {
    "renorm with rmax 1 and dmax 0": ("renorm", {"renorm_rmax": 1.0, "renorm_dmax": 0.0}),
    "renorm before its ramps": ("renorm", {"renorm_rmax_ramp": [4, 5], "renorm_dmax_ramp": [4, 5]}),
    "ghost norm of one part": ("ghost", {"norm_parts": 1}),
}


@pytest.mark.parametrize("name", SAME)
@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("population", ["moving", "last_epoch", "batch"])
def test_a_norm_equals_batch_norm_bit_for_bit(name: str, kind: str, population: str) -> None:
    norm, settings = SAME[name]
    layers = [made(norm, population=population, **settings), made("batch", population=population)]
    x, dy = noise(1, *SHAPES[kind]), noise(2, *SHAPES[kind])
    for one, other in zip(*(both(layer, x, dy) for layer in layers), strict=True):
        assert torch.equal(one, other)
    for name_, value in layers[0].statistics.items():
        assert torch.equal(value, layers[1].statistics[name_])
    assert torch.equal(*(layer.forward(x, False) for layer in layers))


@pytest.mark.parametrize("kind", SHAPES)
def test_group_norm_of_one_group_equals_layer_norm_bit_for_bit(kind: str) -> None:
    x, dy = noise(1, *SHAPES[kind]), noise(2, *SHAPES[kind])
    results = [both(layer, x, dy) for layer in (made("group", norm_groups=1), made("layer"))]
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))
    if kind == "conv":  # its statistics are over all of C, H and W
        plain = made("layer", norm_gamma=1.0, norm_beta=0.0).forward(x, True)
        torch.testing.assert_close(plain.mean((2, 3, 4)), torch.zeros(RUNS, IMAGES).double())


@pytest.mark.parametrize("norm", ["batch", "ghost", "renorm"])
def test_norms_over_a_mini_batch_cancel_a_scale_and_a_shift_before_them(norm: str) -> None:
    settings: dict[str, Any] = {"norm_epsilon": 1e-14, "renorm_rmax": 1.0, "renorm_dmax": 0.0}
    x = noise(0, *SHAPES["conv"])
    one, other = (made(norm, **settings).forward(z, True) for z in (x, 7 * x - 3))
    torch.testing.assert_close(one, other)


def test_centring_cancels_a_shift_but_not_a_scale() -> None:
    x = noise(0, *SHAPES["conv"])
    outs = [made("center", norm_beta=0.0).forward(z, True) for z in (x, x - 3, 7 * x)]
    torch.testing.assert_close(outs[0], outs[1])
    torch.testing.assert_close(7 * outs[0], outs[2])


@pytest.mark.parametrize("norm", PER_CHANNEL)
def test_a_bias_before_a_norm_over_a_mini_batch_has_no_effect(norm: str) -> None:
    outs, grads = [], []
    for bias in (0.0, 5.0):
        linear = Linear(4, CHANNELS, bias=True, std=1.0, precision="exact", place=0)
        layer = made(norm, renorm_rmax=1.0, renorm_dmax=0.0)
        linear.values = {"weight": noise(5, RUNS, 4, CHANNELS), "bias": noise(6, RUNS, 1, CHANNELS) + bias}
        linear.grads = {name: torch.zeros_like(value) for name, value in linear.values.items()}
        y = layer.forward(linear.forward(noise(7, RUNS, IMAGES, 4), True), True)
        linear.backward(layer.backward(noise(8, *y.shape), True), False)
        outs.append(y)
        grads.append({name: grad.clone() for name, grad in linear.grads.items()})
    torch.testing.assert_close(outs[0], outs[1])
    torch.testing.assert_close(grads[0], grads[1])
    torch.testing.assert_close(grads[0]["bias"], torch.zeros(RUNS, 1, CHANNELS).double())


def test_there_is_no_bias_before_a_norm_over_a_mini_batch() -> None:
    for norm in NORMS:
        network = Network(run(model="72-9-7-10", norm=norm, norm_groups=1), (2, 6, 6))
        biases = ["bias" in layer.weights for layer in network.layers if "weight" in layer.weights]
        assert biases == [norm not in PER_CHANNEL] * 2 + [True]


def test_ghost_norm_is_batch_norm_of_each_part() -> None:
    x = noise(1, *SHAPES["conv"])
    whole = made("ghost").forward(x, True)
    parts = [made("batch").forward(part, True) for part in x.split(IMAGES // 4, 1)]
    torch.testing.assert_close(whole, torch.cat(parts, 1))


@pytest.mark.parametrize(
    ("epoch", "rmax", "dmax"), [(0.5, 1.0, 0.0), (3, 1.1, 0.075), (4.5, 1.175, 0.1875), (9, 1.2, 0.3)]
)
def test_the_limits_of_batch_renorm_rise_with_the_epochs(epoch: float, rmax: float, dmax: float) -> None:
    layer = made("renorm", moment=Moment([], step=int(epoch * 2), epoch_steps=2), norm_gamma=1.0, norm_beta=0.0)
    layer.statistics = {
        "mean": torch.full((RUNS, 1, CHANNELS), 90.0),
        "variance": torch.full((RUNS, 1, CHANNELS), 1e-4),
    }
    x = noise(1, *SHAPES["dense"])
    plain = made("batch", norm_gamma=1.0, norm_beta=0.0).forward(x, True)
    torch.testing.assert_close(layer.forward(x, True), plain * rmax - dmax)


@pytest.mark.parametrize("norm", ALL)
@pytest.mark.parametrize("population", ["moving", "last_epoch", "batch"])
def test_the_constants_of_a_settled_norm_no_longer_depend_on_the_step(norm: str, population: str) -> None:
    def results(step: float) -> list[Tensor]:
        layer = made(norm, moment=Moment([], int(step), 2), population=population)
        y, dx, *grads = both(layer, noise(1, *SHAPES["dense"]), noise(2, *SHAPES["dense"]))
        return [y, dx, *grads, *layer.statistics.values()]

    def same(*steps: float) -> bool:
        return all(torch.equal(*pair) for pair in zip(*map(results, steps), strict=True))

    settled = made(norm, population=population).settled
    ramps = 6.0 if norm == "renorm" else 0.0
    assert settled == (math.inf if population == "last_epoch" and norm in PER_CHANNEL else ramps)
    if settled == math.inf:
        assert not same(2, 3)
    else:
        assert same(2 * settled, 2 * settled + 1)
        assert not settled or not same(2 * settled - 1, 2 * settled)


def test_a_ramp_of_no_length_is_a_step() -> None:
    ends: dict[str, Any] = {"renorm_rmax_ramp": [3, 3], "renorm_dmax_ramp": [3, 3]}
    for step, risen in ((5, False), (6, True)):
        x = noise(1, *SHAPES["dense"])
        renormed = made("renorm", moment=Moment([], step, 2), **ends).forward(x, True)
        assert torch.equal(renormed, made("batch").forward(x, True)) != risen


def test_the_last_epochs_statistics_are_the_means_of_its_batches() -> None:
    layer = made("batch", population="last_epoch", norm_gamma=1.0, norm_beta=0.0)
    assert isinstance(layer, PerChannel)
    batches = [3 * noise(i, *SHAPES["dense"]) + i for i in range(8)]
    means = torch.stack([batch.mean(1) for batch in batches])
    variances = torch.stack([batch.var(1) for batch in batches])  # divided by m - 1
    # finished steps -> the batches whose statistics evaluation uses, in epochs of 3
    known = {1: (0, 1), 2: (0, 2), 3: (0, 3), 4: (0, 3), 5: (0, 3), 6: (3, 6), 7: (3, 6), 8: (3, 6)}
    x = noise(99, RUNS, 5, CHANNELS)
    for step, batch in enumerate(batches):
        layer.moment = Moment([], step, 3)
        layer.forward(batch, True)
        first, end = known[step + 1]
        mean, variance = (rows[first:end].mean(0)[:, None] for rows in (means, variances))
        torch.testing.assert_close(layer.forward(x, False), (x - mean) / (variance + 1e-5).sqrt())


@pytest.mark.parametrize("norm", PER_CHANNEL)
def test_the_statistics_of_the_evaluated_images_exist_for_one_image_too(norm: str) -> None:
    network = Network(run(model="72-9-7-10", norm=norm), (2, 6, 6))
    reference.double(network, [0, 1])
    images = noise(4, 2, 5, 6, 6, 2)
    own, moving = network.forward(images, statistics="batch"), network.forward(images)
    assert not torch.allclose(own, moving)
    torch.testing.assert_close(network.forward(images), moving)  # the choice was for one call
    alone = [network.forward(images[:, i : i + 1], statistics="batch") for i in range(5)]
    assert all(torch.equal(alone[0], other) for other in alone[1:])  # x - mean is 0: all images give the same output
    assert torch.isfinite(alone[0]).all()


def test_dense_layers_of_a_conv_net_can_be_without_a_norm() -> None:
    def norms(model: str, norm_dense: bool) -> int:
        network = Network(run(model=model, norm_dense=norm_dense), (2, 6, 6))
        return sum(isinstance(layer, PerChannel) for layer in network.layers)

    assert [norms("3C3-5D-4D-10D", dense) for dense in (True, False)] == [3, 1]
    assert [norms("72-5-4-10", dense) for dense in (True, False)] == [2, 2]
    layers = Network(run(model="3C3-5D-10D", norm_dense=False), (2, 6, 6)).layers
    assert ["bias" in layer.weights for layer in layers if "weight" in layer.weights] == [False, True, True]


def test_settings_that_a_norm_does_not_use_have_no_effect() -> None:
    x, dy = noise(1, *SHAPES["conv"]), noise(2, *SHAPES["conv"])
    for norm, key in itertools.product(ALL, SETTINGS):
        other = {"norm_groups": 2}.get(key, getattr(run(), key))
        results = [both(made(norm, **{key: value}), x, dy) for value in (SETTINGS[key], other)]
        same = all(torch.equal(one, other) for one, other in zip(*results, strict=True))
        assert same == (norm not in USERS[key]), (norm, key)


@pytest.mark.parametrize(
    ("norm", "seen"),
    {
        "none": None,
        "batch": 12,
        "center": 12,
        "renorm": 12,
        "ghost": 3,
        "group": 1,
        "layer": 1,
        "local_response": 1,
    }.items(),
)
def test_samples_per_statistic_are_those_that_change_a_normalised_value(norm: str, seen: int | None) -> None:
    assert NORMS[norm].samples(IMAGES, 4) == seen
    if norm == "none":
        return
    x = noise(1, *SHAPES["conv"])
    before = made(norm).forward(x, True)
    x[:, 0] += noise(2, 3, 5, CHANNELS)
    changed = (made(norm).forward(x, True) != before).flatten(2).any(2).sum(1)
    assert changed.tolist() == [seen] * RUNS
