"""Comparison and formatting of means with their confidence intervals."""

import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from bnbench.tables import labels

RELATIVE, ABSOLUTE = 1e-9, 1e-15  # tolerances for the rounding of a mean

Values = Any  # a number, or a column of them
Row = Mapping[str, Values] | pd.Series | pd.DataFrame  # with mean, low, high


def equal(one: Values, other: Values) -> npt.NDArray[np.bool_]:
    """Return whether two means differ by rounding alone."""
    found: npt.NDArray[np.bool_] = np.isclose(
        np.asarray(one, float), np.asarray(other, float), rtol=RELATIVE, atol=ABSOLUTE
    )
    return found


def higher(one: Values, other: Values) -> npt.NDArray[np.bool_]:
    """Return whether a mean is above another by more than rounding."""
    above: npt.NDArray[np.bool_] = np.asarray(one, float) > np.asarray(other, float)
    return above & ~equal(one, other)


def above(one: Row, other: Row) -> npt.NDArray[np.bool_]:
    """Return whether an interval lies entirely above another.

    An interval of zero width, as seeds with equal results give, is no evidence and never lies above.
    """
    return higher(one["low"], other["high"]) & wide(one) & wide(other)


def wide(row: Row) -> npt.NDArray[np.bool_]:
    """Return whether there is an interval of positive width."""
    return higher(row["high"], row["low"])


def written(name: str, row: Row, digits: int = 1) -> str:
    """Return a mean with its interval as text.

    That is "97.1 ± 0.4 %" for a symmetric interval, and "99.0 % (97.2 to 100.0 %)" for one clipped at a limit.

    Args:
        name: the column that the mean is of.
        row: its `mean`, `low` and `high`.
        digits: digits after the decimal point of an accuracy in percent.
    """
    mean, low, high = (float(cast(float, row[part])) for part in ("mean", "low", "high"))
    if math.isnan(mean):
        return labels.DASH
    factor, unit, form = (100, " %", f".{digits}f") if labels.is_accuracy(name) else (1, "", ".3g")

    def text(value: float, form: str = form) -> str:
        shown = f"{factor * value:{form}}"
        return shown if unit else labels.number(float(shown))

    if math.isnan(low) or math.isnan(high):
        return text(mean) + unit
    if math.isclose(high - mean, mean - low, rel_tol=1e-6, abs_tol=1e-12):
        return f"{text(mean)} ± {text(high - mean, form if unit else '.2g')}{unit}"
    return f"{text(mean)}{unit} ({text(low)} to {text(high)}{unit})"
