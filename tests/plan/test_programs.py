"""The rule for compiled programs, compared with the layers that training builds."""

from collections.abc import Iterable

import pytest

from bnbench.params.architecture import Shape
from bnbench.params.fields import Tier
from bnbench.params.layers.activations import ACTIVATIONS
from bnbench.params.layers.norms import NORMS
from bnbench.params.resolve import resolve
from bnbench.params.run_schema import Run
from bnbench.plan.programs import has_program
from bnbench.training.engine.layer_programs import LAYERS
from bnbench.training.nets.build import build
from tests.support.little import run
from tests.support.parameters import PARAMS

SEEN = ("dataset", "model", "norm", "norm_dense", "order", "activation", "dropout", "population", "backend")


def layers_have_programs(one: Run, shape: Shape) -> bool:
    """Return the answer from the layers: all are in the table of programs, and no weight has only one channel."""
    layers = build(one, shape)
    wide = all(sizes[-1] > 1 for layer in layers for sizes in layer.weights.values())
    return one.backend == "torch" and wide and all(type(layer) in LAYERS for layer in layers)


def distinct(runs: Iterable[Run]) -> list[Run]:
    return list({str([getattr(one, name) for name in SEEN]): one for one in runs}.values())


@pytest.mark.parametrize("tier", ["quick", "small", "full"])
def test_the_rule_agrees_with_the_layers_of_every_network_of_the_studies(tier: Tier) -> None:
    resolved = resolve(PARAMS, tier)
    runs = distinct(one for study in resolved.studies for one in study.runs)
    expected = [layers_have_programs(one, resolved.datasets[one.dataset].shape) for one in runs]
    assert [has_program(one) for one in runs] == expected
    assert set(expected) == {True, False}


NETS = (
    *("64-10", "64-2-10", "64-1-10", "64-5-1", "64-8-8-10", "64-8-Dropout0.5-10", "Dropout0.5-10D"),
    *("LRN-10D", "P2-8D-10D", "4C3-10D", "4C3-P2-8D-10D", "LRN-8-10"),
)


@pytest.mark.parametrize("model", NETS)
def test_the_rule_agrees_with_the_layers_of_odd_networks(model: str) -> None:
    settings = [
        {"norm": norm, "activation": activation, "dropout": dropout, "order": order, "backend": backend}
        for norm in NORMS
        for activation in ACTIVATIONS
        for dropout in (0.0, 0.5)
        for order in ("pre", "post")
        for backend in ("torch", "numpy")
    ]
    for chosen in settings:
        one = run(model=model, **chosen)
        assert has_program(one) == layers_have_programs(one, (1, 8, 8)), chosen
