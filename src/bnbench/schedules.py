"""Learning-rate schedules: what the rate is multiplied by after an epoch, per run."""

import torch
from torch import Tensor

from bnbench.schema import Plateau, Schedule, Step


def memory(schedule: Schedule, runs: int) -> dict[str, Tensor]:
    """What a schedule remembers of each run: the factor so far, and a plateau the last losses, newest first."""
    window = schedule.window if isinstance(schedule, Plateau) else 0
    return {"factor": torch.ones(runs, dtype=torch.float64), "recent": torch.full((runs, window), torch.inf).double()}


def advance(schedule: Schedule, arrays: dict[str, Tensor], epoch: int, loss: Tensor) -> None:
    """Set `arrays["factor"]` for the epoch after `epoch` (counted from 1), given that epoch's training loss (runs,)."""
    if isinstance(schedule, Step):
        due = [f for start, f in zip(schedule.from_epoch, schedule.factor, strict=True) if start <= epoch + 1]
        arrays["factor"].fill_(due[-1] if due else 1.0)
    elif isinstance(schedule, Plateau):
        worse = loss > arrays["recent"].amax(1)
        arrays["factor"].mul_(torch.where(worse, schedule.factor, 1.0))
        arrays["recent"].copy_(torch.cat([loss[:, None], arrays["recent"][:, :-1]], dim=1))
