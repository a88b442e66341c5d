"""Learning-rate schedules: the factor of each run's initial learning rate, updated after every epoch."""

import torch
from torch import Tensor

from bnbench.params.run_schema import Plateau, Schedule, Step


def memory(schedule: Schedule, runs: int) -> dict[str, Tensor]:
    """Return a schedule's state before the first epoch.

    `factor` is (runs,). `recent` is (runs, window): the training losses of the last epochs, the newest first, for a
    plateau; for other schedules the window is 0.
    """
    window = schedule.window if isinstance(schedule, Plateau) else 0
    factor = _in_epoch(schedule, 1) if isinstance(schedule, Step) else 1.0
    return {
        "factor": torch.full((runs,), factor, dtype=torch.float64),
        "recent": torch.full((runs, window), torch.inf).double(),
    }


def advance(schedule: Schedule, arrays: dict[str, Tensor], epoch: int, loss: Tensor) -> None:
    """Update the schedule's state after an epoch.

    Args:
        schedule: the setting.
        arrays: those of `memory`, among others.
        epoch: the finished epoch, counted from 1.
        loss: its mean training loss, (runs,).
    """
    if isinstance(schedule, Step):
        arrays["factor"].fill_(_in_epoch(schedule, epoch + 1))
    elif isinstance(schedule, Plateau):
        worse = loss > arrays["recent"].amax(1)
        # where(worse, 0.9995, 1.0) of two plain numbers would be float32
        arrays["factor"].copy_(torch.where(worse, arrays["factor"] * schedule.factor, arrays["factor"]))
        arrays["recent"].copy_(torch.cat([loss[:, None], arrays["recent"][:, :-1]], dim=1))


def _in_epoch(schedule: Step, epoch: int) -> float:
    """Return the factor in an epoch: that of the last started step, 1 before the first."""
    started = [f for start, f in zip(schedule.from_epoch, schedule.factor, strict=True) if start <= epoch]
    return started[-1] if started else 1.0
