"""Optimizers in float64, against torch.optim and against sums over all past gradients."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from bnbench.params.run_schema import Run
from bnbench.training.pack.optimizers import OPTIMIZERS, memory
from tests.support.little import run

RUNS, WIDTH, STEPS = 3, 5, 30
RATES = torch.tensor([[0.001], [0.03], [0.5]], dtype=torch.float64)

# settings of an optimizer, and the equivalent PyTorch optimizer
TORCH: dict[str, tuple[dict[str, Any], Callable[[Tensor, float], torch.optim.Optimizer]]] = {
    "sgd": ({"optimizer": "sgd", "momentum": 0}, lambda x, rate: torch.optim.SGD([x], rate)),
    "momentum": (
        {"optimizer": "sgd", "momentum": 0.9},
        lambda x, rate: torch.optim.SGD([x], rate, momentum=0.9),
    ),
    "momentum and decay": (
        {"optimizer": "sgd", "momentum": 0.5, "weight_decay": 0.01},
        lambda x, rate: torch.optim.SGD([x], rate, momentum=0.5, weight_decay=0.01),
    ),
    "adam": (
        {"optimizer": "adam", "beta1": 0.9, "beta2": 0.999, "adam_epsilon": 1e-8},
        lambda x, rate: torch.optim.Adam([x], rate),
    ),
    "adam with other constants and decay": (
        {"optimizer": "adam", "beta1": 0.5, "beta2": 0.9, "adam_epsilon": 1e-3, "weight_decay": 0.1},
        lambda x, rate: torch.optim.Adam([x], rate, betas=(0.5, 0.9), eps=1e-3, weight_decay=0.1),
    ),
    "adam with betas of 0": (
        {"optimizer": "adam", "beta1": 0.0, "beta2": 0.0},
        lambda x, rate: torch.optim.Adam([x], rate, betas=(0.0, 0.0)),
    ),
}


def gradient(x: Tensor) -> Tensor:
    """Return the gradient of a loss with several minima, -cos(3 x) / 3 + x^2 / 4."""
    return torch.sin(3 * x) + 0.5 * x


def initial() -> Tensor:
    return torch.randn(RUNS, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def walk(settings: Run, rates: Tensor, values: Tensor) -> list[Tensor]:
    """Return the weights after each step; weight decay is added to the gradient, as in training."""
    arrays = {"values": values.clone()} | memory(settings, values)
    update = OPTIMIZERS[settings.optimizer][0]
    seen = []
    for step in range(1, STEPS + 1):
        grads = gradient(arrays["values"]) + settings.weight_decay * arrays["values"]
        update(arrays, grads, rates, settings, step)
        seen.append(arrays["values"].clone())
    return seen


@pytest.mark.parametrize(("settings", "make"), TORCH.values(), ids=TORCH)
def test_each_step_equals_pytorchs(
    settings: dict[str, Any], make: Callable[[Tensor, float], torch.optim.Optimizer]
) -> None:
    seen = walk(run(**settings), RATES, initial())
    for i, rate in enumerate(RATES[:, 0].tolist()):
        weights = initial()[i].requires_grad_()
        optimizer = make(weights, rate)
        for step in range(STEPS):
            weights.grad = gradient(weights.detach())
            optimizer.step()
            torch.testing.assert_close(seen[step][i], weights.detach(), rtol=1e-12, atol=1e-12)


def test_momentum_by_the_sum_over_all_past_gradients() -> None:
    keep, rate = 0.8, 0.1
    values = initial()[:1]
    seen = walk(run(optimizer="sgd", momentum=keep), torch.full((1, 1), rate, dtype=torch.float64), values)
    places = [values, *seen]
    for t in range(STEPS):
        velocity = sum((keep ** (t - i) * gradient(places[i]) for i in range(t + 1)), torch.zeros(1))
        torch.testing.assert_close(places[t + 1], places[t] - rate * velocity, rtol=1e-12, atol=1e-12)


def test_adam_by_the_weighted_means_over_all_past_gradients() -> None:
    beta1, beta2, epsilon, rate = 0.7, 0.95, 1e-6, 0.05
    settings = run(optimizer="adam", beta1=beta1, beta2=beta2, adam_epsilon=epsilon)
    values = initial()[:1]
    places = [values, *walk(settings, torch.full((1, 1), rate, dtype=torch.float64), values)]
    for t in range(STEPS):
        grads = torch.stack([gradient(place) for place in places[: t + 1]])
        age = torch.arange(t, -1, -1, dtype=torch.float64).view(-1, 1, 1)
        mean = (beta1**age * grads).sum(0) / (beta1**age).sum()  # the bias correction makes the weights sum to 1
        square = (beta2**age * grads**2).sum(0) / (beta2**age).sum()
        torch.testing.assert_close(
            places[t + 1], places[t] - rate * mean / (square.sqrt() + epsilon), rtol=1e-9, atol=0
        )


def test_adams_first_step_is_the_rate_against_the_gradients_sign() -> None:
    settings = run(optimizer="adam", adam_epsilon=1e-300)
    first = walk(settings, RATES, initial())[0]
    torch.testing.assert_close(first, initial() - RATES * gradient(initial()).sign(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("settings", [settings for settings, _ in TORCH.values()], ids=list(TORCH))
def test_a_row_is_the_same_alone_as_among_others_bit_for_bit(settings: dict[str, Any]) -> None:
    together = walk(run(**settings), RATES, initial())
    for i in range(RUNS):
        alone = walk(run(**settings), RATES[i : i + 1], initial()[i : i + 1])
        assert all(torch.equal(a[0], b[i]) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_the_initial_state_is_zeros_of_the_shape_of_the_weights(optimizer: str) -> None:
    arrays = memory(run(optimizer=optimizer), initial())
    assert tuple(arrays) == OPTIMIZERS[optimizer][1]
    assert all(array.shape == (RUNS, WIDTH) and not array.any() for array in arrays.values())
