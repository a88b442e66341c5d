"""Probes of activations, against torch.nn in float64 and NumPy."""

from typing import Any

import numpy as np
import pytest
from torch import nn

from bnbench.training.probes.base import spread
from tests.support.little import digits, run
from tests.support.watched import Watched, batch, images, inside, watched

ACTIVATIONS = (nn.Sigmoid, nn.ReLU, nn.PReLU, nn.LeakyReLU)
SMALL = {"train_images": 600, "batch_size": 60, "epochs": 2, "learning_rate": 0.5}
NETS: list[dict[str, Any]] = [
    {"model": "64-12-9-10", "norm": "none", "activation": "sigmoid"},
    {"model": "64-12-9-10", "norm": "batch", "activation": "relu"},
    {"model": "64-12-9-10", "norm": "batch", "order": "post", "activation": "relu"},
    {"model": "5C3-P2-6C3-10D", "norm": "batch", "activation": "sigmoid"},
]


def _seen(settings: dict[str, Any], *probes: str, steps: tuple[int, ...] = (10, 20)) -> Watched:
    return watched(run(**SMALL, **settings, probes=list(probes)), *steps)


def _activations(net: nn.Sequential) -> list[int]:
    return [index for index, part in enumerate(net) if isinstance(part, ACTIVATIONS)]


@pytest.mark.parametrize("settings", NETS, ids=str)
def test_units_inputs_and_extremes_over_the_test_set_equal_torch_nn(settings: dict[str, Any]) -> None:
    seen = _seen(settings, "neurons", "percentiles", "activations")
    for step, net in seen.nets.items():
        outputs = inside(net, images(digits().test))
        acts = _activations(net)
        inputs = outputs[acts[1] - 1].flatten(0, -2).numpy()
        for unit in range(5):
            value = seen.value("neurons", step=step, layer=2, item=unit + 1, part="test")
            assert value == pytest.approx(inputs[:, unit].mean(), rel=1e-3, abs=1e-4)
        for percent in (15, 50, 85):
            value = seen.value("percentiles", step=step, layer=2, item=percent)
            assert value == pytest.approx(np.percentile(inputs[:, 0], percent), rel=1e-3, abs=1e-4)
        for layer, act in enumerate(acts, 1):
            low, high = (seen.value("activations", step=step, layer=layer, quantity=q) for q in ("smallest", "largest"))
            assert low == pytest.approx(float(outputs[act].min()), rel=1e-3, abs=1e-4)
            assert high == pytest.approx(float(outputs[act].max()), rel=1e-3, abs=1e-4)
    assert len(seen.rows("neurons")) == 2 * 5
    assert len(seen.rows("percentiles")) == 2 * 3


@pytest.mark.parametrize("settings", NETS, ids=str)
def test_the_first_layers_outputs_are_counted_in_bins_before_and_after_its_norm(settings: dict[str, Any]) -> None:
    seen = _seen(settings, "outputs_histogram")
    one = seen.outcome.run
    for step, net in seen.nets.items():
        valid = inside(net, images(digits().valid, 60))  # first, because the other updates the running statistics
        train = inside(net.train(), batch(one, step - 1)[0])
        first = 1 if settings["model"].startswith("64") else 0  # after the flattening
        wanted = {("train", "output"): train[first], ("valid", "output"): valid[first]}
        if "order" not in settings and settings["norm"] == "batch":
            wanted |= {("train", "normalised"): train[first + 1], ("valid", "normalised"): valid[first + 1]}
        for (part, quantity), values in wanted.items():
            rows = seen.rows("outputs_histogram", step=step, part=part, quantity=quantity, layer=1)
            width = rows[1]["at"] - rows[0]["at"]
            assert [row["item"] for row in rows] == list(range(1, 61))
            assert rows[0]["at"] == pytest.approx(float(values.min()), rel=1e-3, abs=1e-4)
            assert rows[-1]["at"] + width == pytest.approx(float(values.max()), rel=1e-3, abs=1e-4)
            edges = [row["at"] for row in rows] + [rows[-1]["at"] + width]
            shares = np.histogram(values.numpy(), edges)[0] / values.numel()
            # a value within rounding of a bin's edge may fall on either side
            assert np.abs(np.cumsum(shares) - np.cumsum([row["value"] for row in rows])).max() < 5 / values.numel()
    assert {row["step"] for row in seen.rows("outputs_histogram")} == {10, 20}


def test_a_long_run_has_at_most_twenty_records_evenly_spread() -> None:
    assert spread(7) == {1, 2, 3, 4, 5, 6, 7}
    assert spread(20_000) == {1000 * i for i in range(1, 21)}
    seen = watched(run(model="64-10", **SMALL | {"epochs": 5}, evaluate_every=2, probes=["outputs_histogram"]))
    steps = sorted({row["step"] for row in seen.rows("outputs_histogram")})
    assert len(steps) == 20
    assert steps[-1] == 50
    assert set(np.diff(steps)) <= {2, 4}


@pytest.mark.parametrize("preprocessing", ["raw", "zscore"])
def test_hyperplanes_that_cut_the_data_are_counted_and_two_inputs_told(preprocessing: str) -> None:
    seen = _seen({"model": "64-90-10", "preprocessing": preprocessing, "init": "normal"}, "hyperplanes", steps=(0,))
    x = digits().train.images[:600].reshape(600, 64).astype(np.float64)
    if preprocessing == "zscore":
        x = (x - x.mean()) / x.std()
    linear = next(part for part in seen.nets[0] if isinstance(part, nn.Linear))
    weight = linear.weight.detach().numpy()
    fires = x @ weight.T > 0
    share = (fires.any(0) & ~fires.all(0)).mean()
    assert share < 1 or preprocessing == "zscore"
    assert seen.value("hyperplanes", quantity="share_cutting", at=0) == pytest.approx(share)
    smaller = np.minimum(fires.mean(0), 1 - fires.mean(0))
    assert seen.value("hyperplanes", quantity="smaller_side") == pytest.approx(smaller.mean(), abs=1e-4)
    for cut in (0.01, 0.05, 0.1, 0.25):
        value = seen.value("hyperplanes", quantity="share_cutting", at=cut)
        assert value == pytest.approx((smaller >= cut).mean(), abs=1.5 / 90)
    inputs = [int(seen.value("hyperplanes", quantity="input", item=i)) for i in (1, 2)]
    assert inputs == list(np.argsort(-np.abs(x - x.mean(0)).mean(0), kind="stable")[:2])
    for image in (1, 57, 200):
        point = [seen.value("hyperplanes", quantity=f"image_{i}", item=image) for i in (1, 2)]
        assert point == pytest.approx(list(x[image - 1, inputs]), rel=1e-5)
        assert seen.value("hyperplanes", quantity="label", item=image) == digits().train.labels[image - 1]
    others = x.mean(0)
    others[inputs] = 0
    for unit in range(10):
        line = [seen.value("hyperplanes", quantity=q, item=unit + 1) for q in ("weight_1", "weight_2", "shift")]
        assert line == pytest.approx([*weight[unit, inputs], others @ weight[unit]], rel=1e-4)


@pytest.mark.parametrize(("activation", "model"), [("relu", "64-40-30-10"), ("relu", "9C3-P2-8C3-10D")])
def test_units_that_never_fire_on_the_training_set_are_counted(activation: str, model: str) -> None:
    wild = {"model": model, "norm": "none", "activation": activation, "init": "normal", "momentum": 0}
    seen = _seen(wild | {"init_deviation": 0.4}, "dead_units", steps=(20,))
    outputs = inside(seen.nets[20], images(digits().train, 600))
    found = []
    for layer, act in enumerate(_activations(seen.nets[20]), 1):
        share = float((outputs[act].flatten(0, -2) == 0).all(0).double().mean())
        found.append(share)
        assert seen.value("dead_units", layer=layer, quantity="dead") == pytest.approx(share)
        assert seen.value("dead_units", layer=layer, quantity="inactive") == pytest.approx(share)
    assert max(found) > 0


def test_a_leaky_unit_may_be_inactive_but_is_never_dead() -> None:
    wild = {"model": "64-40-30-10", "norm": "none", "activation": "leaky_relu", "init": "normal", "momentum": 0}
    seen = _seen(wild | {"init_deviation": 0.4}, "dead_units", steps=(20,))
    inputs = [inside(seen.nets[20], images(digits().train, 600))[act - 1] for act in _activations(seen.nets[20])]
    shares = [float((values <= 0).all(0).double().mean()) for values in inputs]
    assert [row["value"] for row in seen.rows("dead_units", quantity="inactive")] == pytest.approx(shares)
    assert max(shares) > 0
    assert [row["value"] for row in seen.rows("dead_units", quantity="dead")] == [0, 0]
