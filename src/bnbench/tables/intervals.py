"""Means with their intervals: which is higher, whether they lie apart, how they are written."""

import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from bnbench.tables import labels

RELATIVE, ABSOLUTE = 1e-9, 1e-15  # what rounding may change in a mean

Values = Any  # a number, or a column of them
Row = Mapping[str, Values] | pd.Series | pd.DataFrame  # with mean, low, high


def equal(one: Values, other: Values) -> npt.NDArray[np.bool_]:
    """Whether two means differ by rounding alone."""
    found: npt.NDArray[np.bool_] = np.isclose(
        np.asarray(one, float), np.asarray(other, float), rtol=RELATIVE, atol=ABSOLUTE
    )
    return found


def higher(one: Values, other: Values) -> npt.NDArray[np.bool_]:
    """Whether a mean is above another, by more than rounding."""
    above: npt.NDArray[np.bool_] = np.asarray(one, float) > np.asarray(other, float)
    return above & ~equal(one, other)


def above(one: Row, other: Row) -> npt.NDArray[np.bool_]:
    """Whether an interval lies wholly above another. One without width, as of equal seeds, is no evidence."""
    return higher(one["low"], other["high"]) & wide(one) & wide(other)


def wide(row: Row) -> npt.NDArray[np.bool_]:
    """Whether there is an interval, and it has a width."""
    return higher(row["high"], row["low"])


def written(name: str, row: Row, digits: int = 1) -> str:
    """The mean of `name` with its interval: "97.1 ± 0.4 %"; "99.0 % (97.2 to 100.0 %)" where that ends at its limit.

    Args:
        name: of the column.
        row: with mean, low, high.
        digits: after the point of an accuracy in percent.
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
