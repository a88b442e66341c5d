"""Every entry of the norms and activations: its classes exist, accept its settings, and match its declaration."""

import dataclasses
import json
from pkgutil import resolve_name
from typing import get_args

import pytest
import torch

from bnbench.figures import style
from bnbench.params import architecture, norm_rules
from bnbench.params.layers.activations import ACTIVATIONS
from bnbench.params.layers.norms import NORMS
from bnbench.params.layers.specs import ActivationSpec, LayerSpec, NormSpec
from bnbench.params.run_schema import Run
from bnbench.tables import labels
from bnbench.training.nets.activations import Activation
from bnbench.training.nets.build import made
from bnbench.training.nets.reference.table import PASSES
from tests.support.little import ROOT, run

SPECS: dict[str, LayerSpec] = {f"{name}": spec for name, spec in (*NORMS.items(), *ACTIVATIONS.items())}
LAYERS = [name for name, spec in SPECS.items() if spec.layer]


@pytest.mark.parametrize("name", LAYERS)
def test_the_layer_and_its_reference_exist_and_take_the_settings(name: str) -> None:
    spec = SPECS[name]
    assert spec.layer
    kind = resolve_name(spec.layer)
    arguments = {field.name for field in dataclasses.fields(kind) if field.init} - {"channels"}
    assert arguments == set(spec.settings), f"arguments of {spec.layer}"
    assert set(spec.settings.values()) <= set(Run.model_fields)
    assert isinstance(made(spec, 4, run()), kind)
    if spec.reference:
        assert PASSES[kind] is resolve_name(spec.reference)


def test_the_schema_allows_the_entries_in_their_order() -> None:
    written = json.loads((ROOT / "workflow" / "schemas" / "params.schema.json").read_text())
    for field, table in (("norm", NORMS), ("activation", ACTIVATIONS)):
        assert list(get_args(Run.model_fields[field].annotation)) == list(table)
        assert written["$defs"]["Run"]["properties"][field]["enum"] == list(table)
        assert labels.VALUES[field] == {name: spec.label for name, spec in table.items()}


def test_norms_differ_in_label_colour_and_marker() -> None:
    assert style.NORMS.keys() == NORMS.keys()
    for key in ("label", "colour", "marker"):
        values = [getattr(spec, key) for spec in NORMS.values()]
        assert len(set(values)) == len(values), key


@pytest.mark.parametrize("name", [name for name, spec in NORMS.items() if spec.layer])
def test_a_norm_cancels_a_bias_before_it_if_its_entry_declares_so(name: str) -> None:
    spec: NormSpec = NORMS[name]
    layer = made(spec, 4, run(norm_groups=2, norm_parts=2, renorm_rmax=1.0, renorm_dmax=0.0))
    layer.values = {key: torch.ones(1, *shape).double() for key, shape in layer.weights.items()}
    layer.statistics = {key: torch.ones(1, *shape).double() for key, shape in layer.moving.items()}
    x = torch.randn(1, 6, 4, generator=torch.Generator().manual_seed(0)).double()
    bias = torch.tensor([1.0, -2.0, 3.0, 0.5]).double()
    one, other = (layer.forward(value, training=True) for value in (x, x + bias))
    assert torch.allclose(one, other) == spec.cancels_bias


@pytest.mark.parametrize("name", LAYERS)
def test_a_new_layer_has_no_tensors_but_those_that_the_network_binds(name: str) -> None:
    # before a CUDA graph is recorded, all tensors of the last step are deleted from the layers
    assert not [key for key, value in vars(made(SPECS[name], 4, run())).items() if isinstance(value, torch.Tensor)]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_declares_its_learned_numbers_and_is_known_to_the_probes(name: str) -> None:
    spec: ActivationSpec = ACTIVATIONS[name]
    layer = made(spec, 4, run())
    assert isinstance(layer, Activation)
    assert sum(torch.Size(shape).numel() for shape in layer.weights.values()) == 4 * spec.learned


def test_a_norm_without_a_reference_is_refused_for_the_numpy_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NORMS, "batch", dataclasses.replace(NORMS["batch"], reference=None))
    settings = run(model="64-8-10", backend="numpy")
    found = list(norm_rules.problems(settings, architecture.parse(settings.model), (1, 8, 8)))
    assert found == [("backend", "batch norm has no NumPy reference; use backend: torch")]
