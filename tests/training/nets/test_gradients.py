"""Backward passes of every norm and activation against central differences of its forward pass, in float64."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from bnbench.params.layers.activations import ACTIVATIONS
from bnbench.params.layers.norms import NORMS
from bnbench.params.layers.specs import LayerSpec
from bnbench.training.nets.build import made
from bnbench.training.nets.layers import Layer
from tests.support.little import run

RUNS, CHANNELS = 2, 4
SHAPES = {"dense": (RUNS, 6, CHANNELS), "conv": (RUNS, 4, 2, 3, CHANNELS)}
SPECS: dict[str, LayerSpec] = {name: spec for name, spec in (*NORMS.items(), *ACTIVATIONS.items()) if spec.layer}
# the gradient treats r and d of batch renormalisation as constants, so their limits are those of batch norm
SETTINGS = {"norm_groups": 2, "norm_parts": 2, "renorm_rmax": 1.0, "renorm_dmax": 0.0, "slope": 0.3, "lrn_alpha": 0.5}
STEP = 1e-6


def noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def bound(spec: LayerSpec) -> Layer:
    """Return the layer in float64 with weights away from their initial values."""
    layer = made(spec, CHANNELS, run(**SETTINGS))
    layer.values = {name: 1 + 0.3 * noise(i, RUNS, *shape) for i, (name, shape) in enumerate(layer.weights.items())}
    layer.grads = {name: torch.zeros_like(value) for name, value in layer.values.items()}
    layer.statistics = {name: torch.ones(RUNS, *shape).double() for name, shape in layer.moving.items()}
    return layer


def differences(layer: Layer, x: Tensor, dy: Tensor, array: Tensor) -> Iterator[float]:
    """Return the gradient of sum(dy y) with respect to each element of an array used by the layer."""
    flat = array.view(-1)
    for index in range(len(flat)):
        at, ends = flat[index].clone(), []
        for shift in (STEP, -STEP):
            flat[index] = at + shift
            ends.append(float((layer.forward(x, training=True) * dy).sum()))
        flat[index] = at
        yield (ends[0] - ends[1]) / (2 * STEP)


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("name", SPECS)
def test_gradients_match_finite_differences(name: str, kind: str) -> None:
    layer, x, dy = bound(SPECS[name]), noise(7, *SHAPES[kind]), noise(8, *SHAPES[kind])
    layer.forward(x, training=True)
    dx = layer.backward(dy, True)
    grads = {name: grad.clone() for name, grad in layer.grads.items()}
    pairs = [(dx, x), *((grads[name], value) for name, value in layer.values.items())]
    for gradient, array in pairs:
        expected = torch.tensor(list(differences(layer, x, dy, array)), dtype=torch.float64)
        torch.testing.assert_close(gradient.flatten(), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("name", SPECS)
def test_a_run_has_the_same_numbers_alone_and_beside_others(name: str, kind: str) -> None:
    both, alone = bound(SPECS[name]), bound(SPECS[name])
    for arrays in (both.values, both.grads, both.statistics):
        for key, array in arrays.items():
            arrays[key] = array.float()
    alone.values = {key: value[:1].float() for key, value in both.values.items()}
    alone.grads = {key: torch.zeros_like(value) for key, value in alone.values.items()}
    alone.statistics = {key: value[:1].float().clone() for key, value in both.statistics.items()}
    x, dy = noise(7, *SHAPES[kind]).float(), noise(8, *SHAPES[kind]).float()
    assert torch.equal(both.forward(x, training=True)[:1], alone.forward(x[:1], training=True))
    assert torch.equal(both.backward(dy, True)[:1], alone.backward(dy[:1], True))
    for key, grad in alone.grads.items():
        assert torch.equal(both.grads[key][:1], grad)
