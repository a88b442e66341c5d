"""Mean and 95 % t interval over seeds, with failures counted: a diverged run is never just left out."""

import re

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import stdtrit

Floats = npt.NDArray[np.float64]

CONFIDENCE = 0.95
COUNTS = ("n", "n_diverged", "n_other")
# how the name of what is measured begins or ends -> the values that it can have
LIMITS = {
    r".*accuracy|share.*": (0.0, 1.0),
    r".*(loss|magnitude)": (0.0, np.inf),
    r"generalisation_gap": (-1.0, 1.0),
}


def half_width(deviation: Floats, n: Floats) -> Floats:
    """Half the t interval of a mean of `n` values with sample deviation `deviation`; NaN if n < 2."""
    enough = n >= 2
    n = np.where(enough, n, 2)
    half = stdtrit(n - 1, (1 + CONFIDENCE) / 2) * deviation / np.sqrt(n)
    return np.where(enough, half, np.nan)


def limits(name: str) -> tuple[float, float]:
    """The least and the greatest value that what is called `name` can have."""
    return next((span for form, span in LIMITS.items() if re.fullmatch(form, name.lower())), (-np.inf, np.inf))


def aggregate(frame: pd.DataFrame, by: list[str], values: list[str], called: str | None = None) -> pd.DataFrame:
    """A row per group of `frame`: how many runs are ok, diverged, other; mean, low, high of each of `values`.

    Only ok runs enter a mean. If one of them has no finite value, neither has the mean. An interval ends where what
    is measured does: no accuracy is above 1.

    Args:
        frame: a row per run, with its status.
        by: the columns that tell groups apart.
        values: the columns that are averaged.
        called: what is measured, where the columns' names do not say.
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
    """The mean course of each study's ok runs, norms apart: a row per study, norm and epoch."""
    measured = ["train_loss", "valid_accuracy"]
    kept = runs.loc[runs["status"] == "ok", ["run_id", "study", "norm"]]
    joined = kept.merge(history[["run_id", "epoch", *measured]], on="run_id")
    return joined.groupby(["study", "norm", "epoch"])[measured].mean().reset_index()
