"""Mean and 95 % t interval over seeds, with counts of failed runs: a diverged run is never dropped silently."""

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import stdtrit

from bnbench.params.fields import limits

Floats = npt.NDArray[np.float64]

CONFIDENCE = 0.95
COUNTS = ("n", "n_diverged", "n_other")


def half_width(std: Floats, n: Floats) -> Floats:
    """Return half the width of the t interval of a mean of `n` values with sample standard deviation `std`.

    It is NaN if n < 2.
    """
    enough = n >= 2
    n = np.where(enough, n, 2)
    half = stdtrit(n - 1, (1 + CONFIDENCE) / 2) * std / np.sqrt(n)
    return np.where(enough, half, np.nan)


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
        **{value: frame[value].where(ok) for value in values},
    )
    groups = marked.groupby(by, dropna=False, sort=False)
    table = groups[list(COUNTS)].sum()
    n = np.asarray(table["n"], dtype=np.float64)
    for value in values:
        complete = groups[value].count().to_numpy() == n
        mean = np.where(complete & (n > 0), groups[value].mean().to_numpy(dtype=float), np.nan)
        half = half_width(np.asarray(groups[value].std(), dtype=np.float64), n)
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
    return joined.groupby(["study", "norm", "epoch"])[measured].mean().reset_index()
