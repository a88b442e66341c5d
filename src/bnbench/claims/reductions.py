"""Reductions of a run's many measured numbers (layers, steps, bins) to the one that a claim compares.

`params.claims.schema.REDUCTIONS` describes them. Each takes the rows of one run: `value`, and the columns that locate
it (step, layer, item, at). It gives NaN where there is nothing to reduce. Sums are `math.fsum`: their rounding does not
depend on an order.
"""

import math
from collections.abc import Callable, Iterable

import pandas as pd

LOCATED = ["step", "layer", "item"]


def _last(rows: pd.DataFrame) -> float:
    located = [name for name in LOCATED if name in rows]
    return float(rows.sort_values(located)["value"].iloc[-1]) if len(rows) else math.nan


def _decades(rows: pd.DataFrame) -> float:
    low, high = rows["value"].min(), rows["value"].max()
    return math.log10(high / low) if low > 0 else math.nan


def _variation(rows: pd.DataFrame) -> float:
    """Return the standard deviation over steps, averaged over layers and items."""
    return _mean([_deviation(part) for _, part in rows.groupby(["layer", "item"], dropna=False)["value"]])


def _mean(values: Iterable[float]) -> float:
    numbers = [float(value) for value in values]
    return math.fsum(numbers) / len(numbers) if numbers else math.nan


def _deviation(values: Iterable[float]) -> float:
    """Return the standard deviation, by n."""
    numbers = [float(value) for value in values]
    mean = _mean(numbers)
    return math.sqrt(_mean((value - mean) ** 2 for value in numbers))


def _moments(rows: pd.DataFrame) -> tuple[float, float]:
    """Return mean and standard deviation of a histogram of bins `at` with shares `value`."""
    shares, at = rows["value"].to_numpy(float), rows["at"].to_numpy(float)
    total = math.fsum(shares)
    mean = math.fsum(shares * at) / total
    return mean, math.sqrt(math.fsum(shares * (at - mean) ** 2) / total)


def _drift(rows: pd.DataFrame) -> float:
    """Return how far a histogram's mean wanders over the steps, in units of its width."""
    moments = [_moments(part) for _, part in rows.groupby("step")]
    return (
        _deviation(mean for mean, _ in moments) / _mean(width for _, width in moments) if len(moments) > 1 else math.nan
    )


def _mismatch(rows: pd.DataFrame) -> float:
    """Return how far the histograms of training and validation images lie apart, in units of their width."""
    distances = []
    for _, step in rows.groupby("step"):
        parts = {name: _moments(part) for name, part in step.groupby("part")}
        if {"train", "valid"} <= set(parts):
            (one, width), (other, other_width) = parts["train"], parts["valid"]
            distances.append(abs(one - other) / ((width + other_width) / 2))
    return _mean(distances)


REDUCE: dict[str, Callable[[pd.DataFrame], float]] = {
    "mean": lambda rows: _mean(rows["value"]),
    "smallest": lambda rows: float(rows["value"].min()),
    "largest": lambda rows: float(rows["value"].max()),
    "spread": lambda rows: float(rows["value"].max() - rows["value"].min()),
    "decades": _decades,
    "last": _last,
    "variation": _variation,
    "drift": _drift,
    "mismatch": _mismatch,
}
