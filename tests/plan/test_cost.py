"""Cost estimates: operations against counts by hand."""

from typing import Any

import pytest

from bnbench.params.dataset_schema import Dataset
from bnbench.params.resolve import resolve
from bnbench.params.run_schema import Run
from bnbench.plan import cost
from bnbench.plan.rates import NOMINAL, RATES, Rates
from tests.support import little
from tests.support.parameters import PARAMS


@pytest.fixture(scope="module")
def run() -> Run:
    return resolve(PARAMS).studies[0].runs[0].model_copy(update={"model": "64-100-10", "batch_size": 10, "epochs": 3})


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return resolve(PARAMS).datasets["digits"]


def test_a_dense_net_multiplies_and_adds_once_a_weight() -> None:
    assert cost.flops("64-100-10", (1, 8, 8)) == 2 * (64 * 100 + 100 * 10)


def test_a_conv_net_by_hand() -> None:
    first = 2 * (5 * 5 * 3) * 8 * (9 * 9)  # 8 kernels over 3 channels at each of 9 x 9 positions
    second = 2 * (3 * 3 * 8) * 16 * (4 * 4)  # 9 x 9 pooled is 4 x 4
    dense = 2 * (16 * 2 * 2) * 10
    assert cost.flops("8C5-P2-16C3-P2-Dropout0.5-10D", (3, 9, 9)) == first + second + dense


def test_the_published_net_of_blocks_takes_0_759_gflop_an_image() -> None:
    assert cost.flops("64K-4C3B-10D", (3, 32, 32)) / 1e9 == pytest.approx(0.759, abs=0.001)


def test_steps_are_full_batches(run: Run, digits: Dataset) -> None:
    assert digits.train_images == 1797 - 240 - 360
    assert cost.steps(run, digits) == 119 * 3  # 1197 images: the last 7 do not fill a batch
    assert cost.steps(run.model_copy(update={"train_images": 105}), digits) == 10 * 3


def test_estimates_grow_with_runs_and_epochs(run: Run, digits: Dataset) -> None:
    one = cost.seconds([run], digits)
    assert 0 < one < cost.seconds([run] * 2, digits) < 2 * one
    longer = [run.model_copy(update={"epochs": epochs}) for epochs in (6, 9)]
    assert cost.seconds(longer, digits) < 2 * cost.seconds([longer[1]], digits)
    more, most = (cost.run_seconds(each, digits, 1, NOMINAL) for each in longer)
    assert most - more == pytest.approx(more - cost.run_seconds(run, digits, 1, NOMINAL), rel=0.1)


def counted(**of: float) -> Rates:
    """Return rates that count one kind of operation."""
    return Rates(*(of.get(name, 0.0) for name in Rates._fields))


def test_a_step_of_a_dense_net_by_hand(run: Run) -> None:
    some = run.model_copy(update={"norm": "batch", "activation": "sigmoid", "optimizer": "adam"})
    shape = (1, 8, 8)
    forward, weights = 10 * 64 * 112 + 10 * 100 * 16, 64 * 10 * 112 + 100 * 10 * 16  # columns in vectors of 16
    inputs = 10 * 10 * 112  # of the output layer alone
    assert cost.step_seconds(some, shape, counted(multiply=1)) == forward + weights + inputs
    assert cost.step_seconds(some, shape, counted(turn=1)) == 100 * 10
    assert cost.step_seconds(some, shape, counted(normalise_training=1)) == 10 * 100
    assert cost.step_seconds(some, shape, counted(smooth_training=1)) == 10 * 100
    assert cost.step_seconds(some, shape, counted(adam=1)) == 64 * 100 + 100 * 10
    assert cost.step_seconds(some, shape, counted(sgd=1, piecewise_training=1)) == 0
    assert cost.step_seconds(some, shape, counted(gather=1)) == 10 * 64
    assert cost.step_seconds(some, shape, counted(logit=1)) == 10 * 10


def test_a_step_of_a_conv_net_by_hand(run: Run) -> None:
    some = run.model_copy(update={"model": "8C5-P2-16C3-10D", "norm": "none", "activation": "relu", "batch_size": 2})
    shape = (3, 8, 8)
    forward = 2 * 64 * (5 * 5 * 3) * 16 + 2 * 16 * (3 * 3 * 8) * 16 + 2 * (16 * 16) * 16
    weights = forward
    inputs = 2 * 16 * (3 * 3 * 16) * 16 + 2 * 10 * (16 * 16)
    assert cost.step_seconds(some, shape, counted(multiply=1)) == forward + weights + inputs
    assert cost.step_seconds(some, shape, counted(pool_training=1)) == 2 * 8 * 64
    assert cost.step_seconds(some, shape, counted(piecewise_training=1)) == 2 * (8 * 64 + 16 * 16)


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "64-100-100-10", "norm": "batch", "activation": "sigmoid", "batch_size": 16, "epochs": 8},
        {"model": "64-100-10", "norm": "layer", "activation": "tanh", "optimizer": "adam", "epochs": 10},
        {"model": "8C3-P2-16C3-P2-10D", "norm": "batch", "activation": "relu", "batch_size": 50, "epochs": 2},
    ],
)
def test_every_kind_of_net_has_an_estimate(digits: Dataset, settings: dict[str, Any]) -> None:
    one = little.run(**settings)
    assert cost.run_seconds(one, digits, 1, RATES["avx512"]) < cost.run_seconds(one, digits, 1, RATES["plain"])
