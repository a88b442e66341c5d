"""Learning-rate schedules against PyTorch's, and against a second implementation of the plateau rule."""

import random
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR

from bnbench.params.run_schema import Constant, Plateau, Schedule, Step
from bnbench.training.pack import schedules

RATE = 0.3


def factors(schedule: Schedule, losses: list[list[float]]) -> list[list[float]]:
    """Return the factor of each run per epoch, given the training loss of each epoch and run."""
    arrays = schedules.memory(schedule, len(losses[0]))
    seen = []
    for epoch, loss in enumerate(losses, 1):
        seen.append(arrays["factor"].tolist())
        schedules.advance(schedule, arrays, epoch, torch.tensor(loss, dtype=torch.float64))
    return seen


def drawn(seed: int, epochs: int, runs: int) -> list[list[float]]:
    draw = random.Random(seed)
    return [[draw.uniform(0, 1) for _ in range(runs)] for _ in range(epochs)]


def test_constant_is_one() -> None:
    assert factors(Constant(kind="constant"), drawn(0, 5, 3)) == [[1.0] * 3] * 5


@pytest.mark.parametrize(
    ("starts", "steps"), [([1], [0.5]), ([2, 4], [0.5, 0.1]), ([1, 3, 10], [2.0, 1.0, 1e-3]), ([7], [0.1])]
)
def test_step_equals_pytorchs_rate_in_every_epoch(starts: list[int], steps: list[float]) -> None:
    epochs = 12
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=RATE)
    table = {1: 1.0} | dict(zip(starts, steps, strict=True))
    torchs = LambdaLR(optimizer, lambda epoch: table[max(start for start in table if start <= epoch + 1)])
    expected = []
    for _ in range(epochs):
        expected.append(torchs.get_last_lr()[0])
        optimizer.step()
        torchs.step()
    seen = factors(Step(kind="step", from_epoch=starts, factor=steps), drawn(0, epochs, 2))
    assert [[RATE * factor for factor in row] for row in seen] == [[rate] * 2 for rate in expected]


@pytest.mark.parametrize("window", [1, 3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_plateau_shrinks_after_an_epoch_above_all_of_the_last_window(window: int, seed: int) -> None:
    losses = drawn(seed, 40, 4)
    expected: list[list[float]] = [[1.0] * 4]
    for epoch in range(39):  # from 0: the first `window` epochs have too few predecessors to be compared
        row = []
        for run in range(4):
            before = [losses[e][run] for e in range(epoch - window, epoch)] if epoch >= window else []
            worse = bool(before) and losses[epoch][run] > max(before)
            row.append(expected[-1][run] * (0.9995 if worse else 1.0))
        expected.append(row)
    assert factors(Plateau(kind="plateau", factor=0.9995, window=window), losses) == expected
    assert expected[-1] != [1.0] * 4


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_plateau_leaves_the_rate_while_the_loss_falls_or_stays(value: float) -> None:
    losses = [[1 - epoch * value / 20] for epoch in range(20)]
    assert factors(Plateau(kind="plateau", factor=0.5, window=3), losses) == [[1.0]] * 20


def test_plateau_treats_each_run_independently() -> None:
    plateau = Plateau(kind="plateau", factor=0.5, window=2)
    losses = drawn(3, 30, 5)
    together = factors(plateau, losses)
    for run in range(5):
        alone = factors(plateau, [[row[run]] for row in losses])
        assert [row[0] for row in alone] == [row[run] for row in together]


@pytest.mark.parametrize(
    "schedule",
    [
        {"kind": "step", "from_epoch": [2, 5], "factor": [0.5, 0.1]},
        {"kind": "plateau", "factor": 0.5, "window": 3},
    ],
)
def test_a_schedule_resumes_from_its_saved_state(schedule: dict[str, Any]) -> None:
    model = (Step if schedule["kind"] == "step" else Plateau).model_validate(schedule)
    losses = drawn(1, 20, 2)
    arrays = schedules.memory(model, 2)
    seen = []
    for epoch, loss in enumerate(losses, 1):
        seen.append(arrays["factor"].tolist())
        arrays = {name: array.clone() for name, array in arrays.items()}  # as if saved and loaded
        schedules.advance(model, arrays, epoch, torch.tensor(loss, dtype=torch.float64))
    assert seen == factors(model, losses)
