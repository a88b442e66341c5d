"""Probes of predictions at the end of training, against plain loops over torch.nn."""

from typing import Any

import pytest
import torch
from torch import nn

from tests.support.little import digits, run
from tests.support.watched import Watched, images, own, watched

SMALL = {"train_images": 600, "batch_size": 60, "epochs": 2, "learning_rate": 0.1}
NETS: list[dict[str, Any]] = [
    {"model": "64-12-9-10"},
    {"model": "5C3-P2-6C3-10D", "activation": "sigmoid"},
    {"model": "64-12-9-10", "order": "post"},
]
LABELS = torch.from_numpy(digits().test.labels)


def _seen(settings: dict[str, Any], probe: str) -> Watched:
    return watched(run(**SMALL, **settings, probes=[probe]), 20)


@pytest.mark.parametrize("settings", NETS, ids=str)
def test_images_predicted_one_by_one_and_together_use_their_own_statistics(settings: dict[str, Any]) -> None:
    seen = _seen(settings, "one_by_one")
    net, x = seen.nets[20], images(digits().test)
    alone = torch.cat([own(net, image[None]) for image in x]).argmax(1)
    told = [row["value"] for row in seen.rows("one_by_one", quantity="predicted_batch")]
    assert told == alone[:100].tolist()
    assert seen.value("one_by_one", quantity="accuracy_of_first_batch") == (alone == LABELS)[:100].double().mean()
    population = [row["value"] for row in seen.rows("one_by_one", quantity="predicted_population")]
    assert population == net(x).argmax(1)[:100].tolist()
    sizes = [1, 2, 4, 8, 16, 32, 64, 128, 256, 360]
    assert [row["item"] for row in seen.rows("one_by_one", quantity="accuracy_batch")] == sizes
    for size in sizes:
        whole = len(x) // size * size
        predicted = torch.cat([own(net, group) for group in x[:whole].split(size)]).argmax(1)
        accuracy = float((predicted == LABELS[:whole]).double().mean())
        value = seen.value("one_by_one", quantity="accuracy_batch", item=size)
        assert value == pytest.approx(accuracy, abs=1.5 / whole)
    value = seen.value("one_by_one", quantity="accuracy_population", item=360)
    assert value == seen.outcome.result["test_accuracy"]


def test_a_dense_net_with_the_statistics_of_one_image_always_says_the_same_digit() -> None:
    seen = _seen(NETS[0], "one_by_one")
    assert len({row["value"] for row in seen.rows("one_by_one", quantity="predicted_batch")}) == 1
    assert seen.value("one_by_one", quantity="accuracy_batch", item=1) == pytest.approx(0.1, abs=0.03)


def test_without_a_norm_over_the_batch_the_population_speaks_alone() -> None:
    for probe in ("one_by_one", "population"):
        seen = _seen({"model": "64-12-10", "norm": "none"}, probe)
        assert {row["quantity"].split("_")[-1] for row in seen.rows(probe)} <= {"population", "moving"}


@pytest.mark.parametrize("settings", NETS, ids=str)
def test_statistics_gathered_after_training_are_the_cumulative_means_of_torch(settings: dict[str, Any]) -> None:
    seen = _seen(settings, "population")
    net, x = seen.nets[20], images(digits().test)
    moving = float((net(x).argmax(1) == LABELS).double().mean())
    norms = [part for part in net if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d))]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
    net.train()
    for group in images(digits().train, 600).split(60):
        net(group)
    gathered = float((net.eval()(x).argmax(1) == LABELS).double().mean())
    assert seen.value("population", quantity="accuracy_moving") == pytest.approx(moving, abs=1.5 / 360)
    assert seen.value("population", quantity="accuracy_gathered") == pytest.approx(gathered, abs=1.5 / 360)


def test_gathering_leaves_the_kept_weights_and_statistics_as_they_were() -> None:
    both = _seen(NETS[0], "population").outcome
    plain = watched(run(**SMALL, **NETS[0])).outcome
    assert both.result == plain.result
    assert both.history == plain.history
