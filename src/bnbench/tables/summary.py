"""Mean and 95 % t interval over seeds, with counts of failed runs: a diverged run is never dropped silently.

Means and deviations are those of `exact`: pandas and NumPy promise no order of summation.
"""

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd

from bnbench.arithmetic import exact
from bnbench.params.fields import limits

Floats = npt.NDArray[np.float64]

CONFIDENCE = 0.95
COUNTS = ("n", "n_diverged", "n_other")


def half_width(std: Floats, n: Floats) -> Floats:
    """Return half the width of the t interval of a mean of `n` values with sample standard deviation `std`.

    It is NaN if n < 2.
    """
    enough = n >= 2
    quantiles = np.array([exact.t_quantile(CONFIDENCE, int(count) - 1) if count >= 2 else np.nan for count in n])
    half: Floats = np.where(enough, quantiles * std / np.sqrt(n), np.nan)
    return half


def present(groups: Iterable[list[float]]) -> list[list[float]]:
    """Return the values of each group that are not missing."""
    return [[value for value in values if not math.isnan(value)] for values in groups]


def aggregate(frame: pd.DataFrame, by: list[str], values: list[str], called: str | None = None) -> pd.DataFrame:
    """Return a row per group: counts of ok, diverged and other runs, and mean, low and high of each value.

    Only ok runs enter a mean. If one of them has no finite value, the mean is missing. Intervals are clipped to the
    possible values of the quantity: no accuracy is above 1.

    Args:
        frame: a row per run, with its status.
        by: the columns that define the groups.
        values: the columns to average.
        called: the name of the quantity, if the columns' names do not give it.
    """
    ok, diverged = frame["status"] == "ok", frame["status"] == "diverged"
    marked = frame[by].assign(
        n=ok.astype(int),
        n_diverged=diverged.astype(int),
        n_other=(~ok & ~diverged).astype(int),
        **{value: frame[value].where(ok).astype(float) for value in values},
    )
    groups = marked.groupby(by, dropna=False, sort=False)
    table = groups[list(COUNTS)].sum()
    n = np.asarray(table["n"], dtype=np.float64)
    for value in values:
        complete = groups[value].count().to_numpy() == n
        each = present(groups[value].apply(list))
        mean = np.where(complete & (n > 0), [exact.mean(values) for values in each], np.nan)
        half = half_width(np.array([exact.deviation(values) for values in each]), n)
        least, most = limits(called or value)
        # rounding may put the mean itself beyond a limit
        low, high = np.maximum(mean - half, np.minimum(least, mean)), np.minimum(mean + half, np.maximum(most, mean))
        table[f"{value}_mean"], table[f"{value}_low"], table[f"{value}_high"] = mean, low, high
    return table.reset_index()


def mean_curves(runs: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    """Return the mean learning curve of the ok runs of each study and norm: a row per study, norm and epoch."""
    measured = ["train_loss", "valid_accuracy"]
    ok = runs.loc[runs["status"] == "ok", ["run_id", "study", "norm"]]
    joined = ok.merge(history[["run_id", "epoch", *measured]], on="run_id")
    groups = joined.astype(dict.fromkeys(measured, float)).groupby(["study", "norm", "epoch"])
    curves = groups.size().index.to_frame(index=False)
    return curves.assign(**{value: list(map(exact.mean, present(groups[value].apply(list)))) for value in measured})
