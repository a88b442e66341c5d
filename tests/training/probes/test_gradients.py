"""Probes of a step: against automatic differentiation in float64, and against observed changes of the statistics."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bnbench.training.probes.gradients import MULTIPLES
from tests.support.little import run
from tests.support.watched import Watched, batch, watched

SMALL = {"train_images": 600, "batch_size": 60, "epochs": 2, "learning_rate": 0.2, "weight_decay": 0.1}
NETS: list[dict[str, Any]] = [
    {"model": "64-12-9-10", "norm": "none", "activation": "sigmoid"},
    {"model": "64-12-9-10", "norm": "batch", "activation": "tanh", "loss": "sum", "learning_rate": 0.002},
    {"model": "5C3-P2-6C3-10D", "norm": "batch", "activation": "sigmoid"},
]


def _seen(settings: dict[str, Any], probe: str, *steps: int) -> Watched:
    known = {name: value for name, value in settings.items() if name != "activation"}
    activation = settings["activation"]
    return watched(run(**SMALL | known, activation=activation, probes=[probe]), *steps)


def _gradient(net: nn.Sequential, x: Tensor, labels: Tensor, reduction: str) -> tuple[float, list[Tensor]]:
    loss = nn.functional.cross_entropy(net(x), labels, reduction=reduction)
    return loss.item(), list(torch.autograd.grad(loss, list(net.parameters())))


@pytest.mark.parametrize("settings", NETS, ids=str)
def test_gradients_have_the_magnitude_that_automatic_differentiation_gives(settings: dict[str, Any]) -> None:
    seen = _seen(settings, "gradients", 9, 19)
    for step, net in seen.nets.items():
        one = seen.outcome.run
        _, grads = _gradient(net.train(), *batch(one, step), one.loss)
        weights = [g for g, (name, _) in zip(grads, net.named_parameters(), strict=True) if g.dim() > 1]
        assert len(weights) == 3
        for layer, grad in enumerate(weights, 1):
            where = {"step": step + 1, "layer": layer, "part": "train"}
            assert seen.value("gradients", quantity="norm", **where) == pytest.approx(float(grad.norm()), rel=1e-3)
            assert seen.value("gradients", quantity="mean", **where) == pytest.approx(
                float(grad.abs().mean()), rel=1e-3
            )
    assert {row["step"] for row in seen.rows("gradients")} == {10, 20}


@pytest.mark.parametrize("settings", NETS, ids=str)
def test_smoothness_is_that_of_the_loss_along_its_gradient(settings: dict[str, Any]) -> None:
    seen = _seen(settings, "smoothness", 6, 13)
    one = seen.outcome.run
    for step, net in seen.nets.items():
        x, labels = batch(one, step)
        net.train()
        _, first = _gradient(net, x, labels, one.loss)
        length = torch.cat([g.flatten() for g in first]).norm()
        begin = [parameter.detach().clone() for parameter in net.parameters()]
        losses, changes, ratios = [], [], []
        for multiple in MULTIPLES:
            size = multiple * one.learning_rate
            for parameter, old, slope in zip(net.parameters(), begin, first, strict=True):
                parameter.data.copy_(old - size * slope)
            loss, grads = _gradient(net, x, labels, one.loss)
            change = torch.cat([(a - b).flatten() for a, b in zip(grads, first, strict=True)]).norm()
            losses.append(loss)
            changes.append(float(change))
            ratios.append(float(change / (size * length)))
        wanted = {
            "loss_lowest": min(losses),
            "loss_highest": max(losses),
            "loss_spread": max(losses) - min(losses),
            "gradient_change": max(changes),
            "smoothness": max(ratios),
        }
        for quantity, value in wanted.items():
            assert seen.value("smoothness", step=step + 1, quantity=quantity) == pytest.approx(value, rel=5e-3)
    assert [row["step"] for row in seen.rows("smoothness", quantity="smoothness")] == list(range(1, 21))


@pytest.mark.parametrize("settings", NETS, ids=str)
def test_drift_is_how_far_running_statistics_moved_between_evaluations(settings: dict[str, Any]) -> None:
    seen = _seen(settings, "drift", 0, 10, 20)
    for old, new in pairwise((0, 10, 20)):
        pairs = list(zip(seen.moving[old], seen.moving[new], strict=True))
        for layer, ((mean, mean_now), (variance, variance_now)) in enumerate(
            zip(pairs[::2], pairs[1::2], strict=True), 1
        ):
            change = ((mean_now - mean).abs() / variance.sqrt()).mean()
            assert seen.value("drift", step=new, layer=layer, quantity="mean") == pytest.approx(float(change), rel=1e-4)
            change = ((variance_now - variance).abs() / variance).mean()
            assert seen.value("drift", step=new, layer=layer, quantity="variance") == pytest.approx(
                float(change), rel=1e-4
            )
    assert len(seen.rows("drift")) == (0 if settings["norm"] == "none" else 8)
