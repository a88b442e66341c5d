"""Compiled passes of every kind of layer: near torch's in float64, and the same for a run alone and in a pack."""

from typing import Any

import pytest
import torch
from torch import Tensor

from bnbench.params.layers.activations import ACTIVATIONS
from bnbench.params.layers.norms import NORMS
from bnbench.params.run_schema import Population
from bnbench.training.engine.compiled_network import CompiledNetwork, uncompiled
from bnbench.training.nets.layers import Moment
from bnbench.training.nets.network import Network
from tests.support import little

SEEDS = [3, 4, 3]
# largest error of an array's L2 norm: of one hidden layer, and of nets whose layers amplify each other's rounding
LAYER, NET = 1e-6, 4e-6


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def passes(kind: type[Network], run: Any, images: int, dtype: torch.dtype, population: Population) -> list[Tensor]:
    """Return all that a step and an evaluation give: logits, layers' outputs, gradients, statistics."""
    shape = (2, 5, 7)
    network = kind(run, shape)
    values, moving = network.start(SEEDS)
    values = values + 0.1 * numbers(*values.shape, seed=1)
    moving = moving + 0.1 * numbers(*moving.shape, seed=2).abs()
    values, moving, grads = values.to(dtype), moving.to(dtype), torch.zeros_like(values, dtype=dtype)
    network.bind(values, moving, grads)
    x = numbers(len(SEEDS), images, 5, 7, 2, seed=3).to(dtype)
    network.at(Moment(SEEDS, 7, 5))
    logits = network.forward(x, training=True)
    network.backward(numbers(*logits.shape, seed=4).to(dtype))
    trace: list[Tensor] = []
    evaluated = network.forward(x[:1].expand(x.shape), statistics=population, trace=trace)
    again = network.forward(x, statistics=population)
    return [logits, grads, moving.clone(), evaluated, again, *(out.flatten(2) for out in trace)]


@pytest.mark.parametrize("order", ["pre", "post"])
@pytest.mark.parametrize(
    ("model", "near"), [("70-13-5", LAYER), ("4C5-P3-5", LAYER), ("70-13-7-5", NET), ("3C3-P2-5C1-LRN-6-5", NET)]
)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("norm", NORMS)
def test_compiled_passes_are_near_those_in_float64(
    norm: str, activation: str, model: str, near: float, order: str
) -> None:
    settings = {
        "norm_groups": 1,
        "norm_parts": 2,
        "renorm_rmax_ramp": [0, 3],
        "renorm_dmax_ramp": [1, 3],
        "lrn_size": 3,
    }
    population: Population = "last_epoch" if NORMS[norm].settings.get("population") and order == "post" else "moving"
    run = little.run(
        dataset="digits", model=model, norm=norm, activation=activation, order=order, population=population, **settings
    )
    assert not uncompiled(Network(run, (2, 5, 7)))
    compiled = passes(CompiledNetwork, run, 16, torch.float32, population)
    for one, other in zip(compiled, passes(Network, run, 16, torch.float64, population), strict=True):
        assert float((one.double() - other).norm()) <= near * float(other.norm())
