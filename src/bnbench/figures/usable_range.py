"""The usable range of a setting: its values around the best one at which no run fails and the mean stays near."""

from typing import Any

import numpy as np
import pandas as pd

from bnbench.figures.plot_data import facets, lines, x_column
from bnbench.params.study_schema import Figure
from bnbench.tables import labels
from bnbench.tables.intervals import equal

EDGE = 1e-9  # of a comparison of means, so that rounding decides nothing


def usable_ranges(points: pd.DataFrame, options: Figure) -> pd.DataFrame:
    """A row per line of a sweep with `within`: its facets, best mean and where, the range, whether that is cut off.

    A value is usable if no run failed there and the mean is at most `within` below (of a loss: above) the line's own
    best mean of such values; the range has the best value and all usable ones beside it, without a gap.

    Args:
        points: of a sweep.
        options: the figure's, with `within`.

    Returns:
        Columns: the facets; best, at, low, high; `decades`, log10(high / low); `open_low`, `open_high`: the range
        ends where the grid does. All are missing where each value has a failed run.
    """
    names = facets(options)
    rows = [values | _range(part, x_column(options), options) for values, part in lines(points, names)]
    order = [[labels.ordered(name, points[name]).index(row[name]) for name in names] for row in rows]
    return pd.DataFrame([rows[place] for place in sorted(range(len(rows)), key=order.__getitem__)])


def _range(line: pd.DataFrame, x: str, options: Figure) -> dict[str, Any]:
    assert options.within is not None
    line = line.sort_values(x)
    sign = 1 if _higher_is_better(options) else -1
    sound = (line["n_diverged"] + line["n_other"] == 0) & line["mean"].notna()
    score = np.where(sound, sign * line["mean"].to_numpy(float), -np.inf)
    if not sound.any():
        return dict.fromkeys(("best", "at", "low", "high", "decades", "open_low", "open_high"))
    best = int(equal(score, score.max()).argmax())  # of ties the first
    near = score >= score[best] - options.within - EDGE
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


def said(found: "pd.Series[Any]") -> str:
    """A range in words: "0.0001 to 0.03 (2.5 decades)", with "or less" and "or more" where the grid ends."""
    if pd.isna(found["best"]):
        return "none, for at each value some run failed"
    low = labels.number(found["low"]) + (" or less" if found["open_low"] else "")
    high = labels.number(found["high"]) + (" or more" if found["open_high"] else "")
    return f"{low} to {high} ({found['decades']:.1f} decades)"


def width(found: "pd.Series[Any]") -> str:
    """How wide a range is: "2.5 decades", with "at least" where the grid ends."""
    least = "at least " if found["open_low"] or found["open_high"] else ""
    return f"{least}{found['decades']:.1f} decades"


def margin(options: Figure) -> str:
    """`within` in words: "5 points" of accuracy, or a number."""
    assert options.within is not None
    if _higher_is_better(options):
        return f"{labels.number(round(100 * options.within, 6))} points"
    return labels.number(options.within)


def table_rows(points: pd.DataFrame, options: Figure) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table of usable ranges in a report."""
    names, y = facets(options), labels.quantity(options.y, options.probe)
    found = usable_ranges(points, options)
    x = labels.column(x_column(options)).lower()
    header = [*map(labels.column, names), f"Best mean {labels.column(y).lower()}", f"At {x}", f"Usable {x}"]
    rows = [
        [
            *(labels.short(name, row[name]) for name in names),
            labels.metric(y, row["best"]),
            labels.DASH if pd.isna(row["at"]) else labels.number(row["at"]),
            said(row),
        ]
        for _, row in found.iterrows()
    ]
    return header, rows
