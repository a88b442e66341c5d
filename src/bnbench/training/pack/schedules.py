"""Learning-rate schedules: what the rate is multiplied by after an epoch, per run."""

import torch
from torch import Tensor

from bnbench.params.run_schema import Plateau, Schedule, Step


def memory(schedule: Schedule, runs: int) -> dict[str, Tensor]:
    """What a schedule remembers of each run: the factor so far, and a plateau the last losses, newest first."""
    window = schedule.window if isinstance(schedule, Plateau) else 0
    factor = _due(schedule, 1) if isinstance(schedule, Step) else 1.0
    return {
        "factor": torch.full((runs,), factor, dtype=torch.float64),
        "recent": torch.full((runs, window), torch.inf).double(),
    }


def advance(schedule: Schedule, arrays: dict[str, Tensor], epoch: int, loss: Tensor) -> None:
    """Set `arrays["factor"]` for the epoch after `epoch` (counted from 1), given that epoch's training loss (runs,)."""
    if isinstance(schedule, Step):
        arrays["factor"].fill_(_due(schedule, epoch + 1))
    elif isinstance(schedule, Plateau):
        worse = loss > arrays["recent"].amax(1)
        # where(worse, 0.9995, 1.0) of two plain numbers would be float32
        arrays["factor"].copy_(torch.where(worse, arrays["factor"] * schedule.factor, arrays["factor"]))
        arrays["recent"].copy_(torch.cat([loss[:, None], arrays["recent"][:, :-1]], dim=1))


def _due(schedule: Step, epoch: int) -> float:
    due = [f for start, f in zip(schedule.from_epoch, schedule.factor, strict=True) if start <= epoch]
    return due[-1] if due else 1.0
