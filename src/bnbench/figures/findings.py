"""Findings of a sweep or of curves, as sentences that follow from the points drawn."""

from typing import Any

import pandas as pd

from bnbench.figures.plot_data import PlotData, groups
from bnbench.figures.usable_range import margin, range_text, usable_ranges, width_text
from bnbench.tables import labels
from bnbench.tables.intervals import above, higher, wide, written

MOST_PARTS = 12  # of a sentence that can still be read
SIDES = ("entirely above", "entirely below", "overlapping")


def describe_findings(plot: PlotData) -> list[str]:
    """Return the caption's sentences about what the plotted means show; an empty text for each that does not apply."""
    return [describe(plot) for describe in (_smallest_batch, _norms, _two_colours, _usable, _median)]


def _smallest_batch(plot: PlotData) -> str:
    """Of a sweep over batch sizes: mean and interval of each colour at the smallest batch."""
    if plot.options.kind != "sweep" or plot.x != "batch_size" or not plot.hue:
        return ""
    least = plot.points["batch_size"].min()
    smallest = plot.points[plot.points["batch_size"] == least]
    parts = []
    for values, part in groups(smallest, [name for name in plot.facets if name != plot.hue]):
        where = ", ".join([f"batch of {least}", *(labels.phrase(name, value) for name, value in values.items())])
        parts.append(f"{where}: {_means(plot, part, plot.hue)}")
    return f"{labels.sentence('; '.join(parts))}."


def _norms(plot: PlotData) -> str:
    """Of a sweep over norms: mean and interval of each."""
    if plot.options.kind != "sweep" or plot.x != "norm" or plot.options.hue:
        return ""
    parts = []
    for values, part in plot.lines():
        where = ", ".join(labels.phrase(name, value) for name, value in values.items())
        means = _means(plot, part, "norm")
        parts.append(f"{where}: {means}" if where else means)
    return f"{labels.sentence('; '.join(parts))}."


def _means(plot: PlotData, points: pd.DataFrame, name: str) -> str:
    """Return mean and interval for each value of `name`; of norms, also on which side of batch norm's interval."""
    rows = _in_order(points, name)
    means = ", ".join(f"{labels.phrase(name, row[name])} {_interval(plot, row)}" for row in rows)
    batch = next((row for row in rows if name == "norm" and row[name] == "batch"), None)
    if batch is None or not wide(batch):
        return means
    sides: dict[str, list[str]] = {}
    for row in (row for row in rows if row is not batch and wide(row)):
        sides.setdefault(_side(row, batch), []).append(labels.phrase(name, row[name]))
    text = "; ".join(f"{labels.joined(sides[side])} {side}" for side in SIDES if side in sides)
    return f"{means} (intervals, compared with that of batch norm: {text})" if text else means


def _side(row: "pd.Series[Any]", other: "pd.Series[Any]") -> str:
    """Return on which of `SIDES` of another interval a point's interval lies."""
    if above(row, other):
        return SIDES[0]
    return SIDES[1] if above(other, row) else SIDES[2]


def _in_order(points: pd.DataFrame, name: str) -> list["pd.Series[Any]"]:
    order = {value: rank for rank, value in enumerate(labels.ordered(name, points[name]))}
    return sorted((row for _, row in points.iterrows()), key=lambda row: order[row[name]])


def _interval(plot: PlotData, row: "pd.Series[Any]") -> str:
    return "without a mean" if pd.isna(row["mean"]) else written(plot.measures[-1], row)


def _two_colours(plot: PlotData) -> str:
    """Of a sweep in two colours: at how many points which one is higher, and with non-overlapping intervals."""
    hue = plot.hue
    values = labels.ordered(hue, plot.points[hue]) if hue else []
    if hue is None or plot.options.kind != "sweep" or len(values) != 2:
        return ""
    shared = list(dict.fromkeys([plot.x, *(name for name in plot.facets if name != hue)]))
    one, other = (plot.points[plot.points[hue] == value] for value in reversed(values))
    both = one.merge(other, on=shared, suffixes=("_one", "_other")).dropna(subset=["mean_one", "mean_other"])
    if both.empty:
        return ""
    parts = ["mean", "low", "high"]
    sides = [both[[f"{part}_{end}" for part in parts]].set_axis(parts, axis=1) for end in ("one", "other")]
    return _compare(labels.phrase(hue, values[1]), labels.phrase(hue, values[0]), *sides)


def _compare(name: str, other: str, one: pd.DataFrame, two: pd.DataFrame) -> str:
    """Return how the means of one colour compare with those of another, point by point."""
    up, down = higher(one["mean"], two["mean"]), higher(two["mean"], one["mean"])
    apart = above(one, two) | above(two, one)
    count = len(one)
    if count == 1:
        word = "higher than for" if up[0] else "lower than for" if down[0] else "equal to that for"
        return f"The mean for {name} is {word} {other}{', with non-overlapping intervals' if apart[0] else ''}."
    evidence = f" ({(apart & up).sum()} with non-overlapping intervals)" if up.any() else ""
    parts = [f"higher than for {other} at {up.sum() or 'none'} of {count} points{evidence}"]
    parts += [f"lower at {down.sum()} ({(apart & down).sum()} with non-overlapping intervals)"] if down.any() else []
    parts += [f"equal at {count - up.sum() - down.sum()}"] if (~up & ~down).any() else []
    return f"The mean for {name} is {', '.join(parts)}."


def _usable(plot: PlotData) -> str:
    """Of a sweep with `within`: the definition of usable, the usable range of each line, and the order of widths."""
    if plot.options.within is None:
        return ""
    parts, widths = [], []
    for _, row in usable_ranges(plot).iterrows():
        where = ", ".join(labels.phrase(name, row[name]) for name in plot.facets)
        parts.append(f"{where}: {range_text(row)}" if where else range_text(row))
        widths += [] if pd.isna(row["decades"]) else [(row["decades"], f"{where} {width_text(row)}")]
    widest = ", ".join(text for _, text in sorted(widths, key=lambda found: -found[0]))
    order = f" Widest first: {widest}." if len(widths) > 1 else ""
    x = labels.column(plot.x).lower()
    rule = f"no run fails and the mean is at most {margin(plot.options)} from the line's best"
    ranges = labels.sentence("; ".join(parts))
    return f"Bars at the top show the usable {x}, where {rule}, on either side of that best. {ranges}.{order}"


def _median(plot: PlotData) -> str:
    """Of curves of a probe: the median over the steps of each line's means."""
    if plot.options.kind != "curves" or not plot.options.probe:
        return ""
    names = [name for name in plot.facets if plot.points[name].nunique(dropna=False) > 1]
    parts = []
    for values, part in groups(plot.points.dropna(subset=["mean"]), names):
        where = ", ".join(labels.phrase(name, value) for name, value in values.items())
        parts.append(f"{where} {labels.metric(plot.measures[-1], part['mean'].median())}".strip())
    text = f"Median over the {labels.column(plot.x).lower()}s: {'; '.join(parts)}."
    return text if len(parts) <= MOST_PARTS else ""
