"""Arithmetic of the benchmark: times scaled to a complete grid, median and range, agreement of accuracies."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from scipy import stats

Accuracies = Mapping[str, float | None]

# Two programs agree if their mean difference is within three standard errors. For few runs the bound is that of
# Student's t with the same probability of a false alarm (0.27 %).
FALSE_ALARM = 2 * stats.norm.sf(3)


@dataclass(frozen=True)
class Measured:
    """Measurement of a row in one round.

    Attributes:
        wall: wall time of the timed runs, in seconds.
        seconds: of programs with a process per run, the wall time of each process by the run's key.
        accuracy: test accuracy by the run's key; None for a run that diverged.
        note: a remark for the table.
    """

    wall: float
    seconds: dict[str, float] = field(default_factory=dict)
    accuracy: Accuracies = field(default_factory=dict)
    note: str = ""


def seconds_of_all(measured: Measured, keys: Sequence[str], workers: int) -> float:
    """Return the seconds for all runs of `keys`: as measured if all were timed, otherwise scaled by their number.

    The processes are independent and `workers` of them run at a time, so the scaled time is that of a schedule in which
    no worker waits.

    Raises:
        ValueError: none of the runs was timed.
    """
    timed = [measured.seconds[key] for key in keys if key in measured.seconds]
    if not measured.seconds or set(measured.seconds) == set(keys):
        return measured.wall
    if not timed:
        raise ValueError("none of these runs was timed")
    return statistics.fmean(timed) * len(keys) / workers


def spread(values: Sequence[float], form: str) -> str:
    """Format the median of values and, if there are several, their minimum and maximum in brackets."""
    middle = form.format(statistics.median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({form.format(min(values))}-{form.format(max(values))})"


def difference(one: Accuracies, other: Accuracies) -> tuple[int, float, float] | None:
    """Compare the accuracies of runs that finished in both programs, paired by run.

    Returns:
        The number of these runs, the difference of the mean accuracies, and its largest value by chance; None for fewer
        than two runs.
    """
    pairs = [(a, b) for key, a in one.items() if a is not None and (b := other.get(key)) is not None]
    if len(pairs) < 2:
        return None
    differences = [a - b for a, b in pairs]
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    bound = float(stats.t.isf(FALSE_ALARM / 2, len(differences) - 1)) * error
    return len(differences), statistics.fmean(differences), bound


def disagreement(one: Accuracies, other: Accuracies) -> str | None:
    """Return the reason why two programs' accuracies of the same runs disagree; None if they agree."""
    common = one.keys() & other.keys()
    if unequal := [key for key in common if (one[key] is None) != (other[key] is None)]:
        return f"{len(unequal)} of {len(common)} runs diverged in one and not in the other"
    found = difference(one, other)
    if found is None or abs(found[1]) <= found[2]:
        return None
    return f"mean test accuracy over {found[0]} runs differs by {found[1]:+.4f}, more than {found[2]:.4f}"
