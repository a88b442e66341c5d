"""Usable range of a setting: its values around the best one at which no run fails and the mean stays near the best."""

from typing import Any

import numpy as np
import pandas as pd

from bnbench.figures.plot_data import PlotData
from bnbench.params.study_schema import Figure
from bnbench.tables import labels
from bnbench.tables.intervals import equal

TOLERANCE = 1e-9  # of a comparison of means, so that rounding decides nothing


def usable_ranges(plot: PlotData) -> pd.DataFrame:
    """Return a row per line of a sweep with `within`: its facets, best mean and usable range.

    A value is usable if no run failed there and the mean is at most `within` below (of a loss: above) the line's own
    best mean of such values. The range holds the best value and the usable ones on either side, without a gap.

    Returns:
        Columns: the facets; best, at, low, high; `decades`, log10(high / low); `open_low`, `open_high`: the range
        ends where the grid does. All are missing where each value has a failed run.
    """
    return pd.DataFrame([values | _range(part, plot.x, plot.options) for values, part in plot.lines()])


def _range(line: pd.DataFrame, x: str, options: Figure) -> dict[str, Any]:
    assert options.within is not None
    line = line.sort_values(x)
    sign = 1 if _higher_is_better(options) else -1
    complete = (line["n_diverged"] + line["n_other"] == 0) & line["mean"].notna()
    score = np.where(complete, sign * line["mean"].to_numpy(float), -np.inf)
    if not complete.any():
        return dict.fromkeys(("best", "at", "low", "high", "decades", "open_low", "open_high"))
    best = int(equal(score, score.max()).argmax())  # the first of equals
    near = score >= score[best] - options.within - TOLERANCE
    first, last = best, best
    while first > 0 and near[first - 1]:
        first -= 1
    while last < len(near) - 1 and near[last + 1]:
        last += 1
    values = line[x].to_numpy(float)
    return {
        "best": sign * score[best],
        "at": values[best],
        "low": values[first],
        "high": values[last],
        "decades": float(np.log10(values[last] / values[first])),
        "open_low": first == 0,
        "open_high": last == len(near) - 1,
    }


def _higher_is_better(options: Figure) -> bool:
    return labels.is_accuracy(labels.quantity(options.y, options.probe))


def range_text(found: "pd.Series[Any]") -> str:
    """Return a range as "0.0001 to 0.03 (2.5 decades)", with "or less" and "or more" where the grid ends."""
    if pd.isna(found["best"]):
        return "none, because some run failed at each value"
    low = labels.number(found["low"]) + (" or less" if found["open_low"] else "")
    high = labels.number(found["high"]) + (" or more" if found["open_high"] else "")
    return f"{low} to {high} ({found['decades']:.1f} decades)"


def width_text(found: "pd.Series[Any]") -> str:
    """Return the width of a range as "2.5 decades", with "at least" where the grid ends."""
    least = "at least " if found["open_low"] or found["open_high"] else ""
    return f"{least}{found['decades']:.1f} decades"


def margin(options: Figure) -> str:
    """Return `within` as "5 points" of accuracy, or as a number of a loss."""
    assert options.within is not None
    if _higher_is_better(options):
        return f"{labels.number(round(100 * options.within, 6))} points"
    return labels.number(options.within)


def table_rows(plot: PlotData) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the table of usable ranges in a report."""
    x = labels.column(plot.x).lower()
    best = f"Best mean {labels.column(plot.y).lower()}"
    header = [*map(labels.column, plot.facets), best, f"At {x}", f"Usable {x}"]
    rows = [
        [
            *(labels.short(name, row[name]) for name in plot.facets),
            labels.metric(plot.y, row["best"]),
            labels.DASH if pd.isna(row["at"]) else labels.number(row["at"]),
            range_text(row),
        ]
        for _, row in usable_ranges(plot).iterrows()
    ]
    return header, rows
