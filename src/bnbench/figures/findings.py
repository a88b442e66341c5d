"""What is seen in a sweep or in curves, in words that follow from the points drawn."""

from typing import Any

import pandas as pd

from bnbench.figures.plot_data import column, facets, lines, x_column
from bnbench.figures.usable_range import margin, said, usable_ranges, width
from bnbench.params.study_schema import Figure
from bnbench.tables import labels
from bnbench.tables.intervals import above, higher, wide, written

MANY = 12  # parts of a sentence that are still read
SIDES = ("wholly above", "wholly below", "overlapping")


def remarks(points: pd.DataFrame, options: Figure) -> list[str]:
    """Sentences on smallest batches, on two colours side by side, on usable ranges, on medians; "" where none fits."""
    return [say(points, options) for say in (_smallest, _each, _compared, _usable, _median)]


def named(options: Figure) -> list[str]:
    """The names of what is drawn."""
    return options.y if isinstance(options.y, list) else [labels.quantity(options.y, options.probe)]


def _smallest(points: pd.DataFrame, options: Figure) -> str:
    """Of a sweep over batch sizes: mean and interval of each colour at the smallest batch."""
    if options.kind != "sweep" or x_column(options) != "batch_size" or not options.hue:
        return ""
    hue, least = column(options.hue, options.probe), points["batch_size"].min()
    parts = []
    for values, part in lines(points[points["batch_size"] == least], [n for n in facets(options) if n != hue]):
        where = ", ".join([f"batch of {least}", *(labels.phrase(name, value) for name, value in values.items())])
        parts.append(f"{where}: {_listed(part, hue, options)}")
    return f"{labels.sentence('; '.join(parts))}."


def _each(points: pd.DataFrame, options: Figure) -> str:
    """Of a sweep over norms: mean and interval of each."""
    if options.kind != "sweep" or x_column(options) != "norm" or options.hue:
        return ""
    parts = []
    for values, part in lines(points, facets(options)):
        where = ", ".join(labels.phrase(name, value) for name, value in values.items())
        parts.append(f"{where}: {_listed(part, 'norm', options)}" if where else _listed(part, "norm", options))
    return f"{labels.sentence('; '.join(parts))}."


def _listed(points: pd.DataFrame, name: str, options: Figure) -> str:
    """Mean and interval for each value of `name`; of norms, which lie wholly above or below batch norm's, which not."""
    rows = _in_order(points, name)
    means = ", ".join(f"{labels.phrase(name, row[name])} {_interval(row, options)}" for row in rows)
    batch = next((row for row in rows if name == "norm" and row[name] == "batch"), None)
    if batch is None or not wide(batch):
        return means
    sides: dict[str, list[str]] = {}
    for row in (row for row in rows if row is not batch and wide(row)):
        sides.setdefault(_side(row, batch), []).append(labels.phrase(name, row[name]))
    told = "; ".join(f"{labels.joined(sides[side])} {side}" for side in SIDES if side in sides)
    return f"{means} (intervals, against that of batch norm: {told})" if told else means


def _side(row: "pd.Series[Any]", other: "pd.Series[Any]") -> str:
    """Which of `SIDES` of another interval a point's is on."""
    if above(row, other):
        return SIDES[0]
    return SIDES[1] if above(other, row) else SIDES[2]


def _in_order(points: pd.DataFrame, name: str) -> list["pd.Series[Any]"]:
    order = {value: place for place, value in enumerate(labels.ordered(name, points[name]))}
    return sorted((row for _, row in points.iterrows()), key=lambda row: order[row[name]])


def _interval(row: "pd.Series[Any]", options: Figure) -> str:
    """A mean and its interval."""
    return "none left" if pd.isna(row["mean"]) else written(named(options)[-1], row)


def _compared(points: pd.DataFrame, options: Figure) -> str:
    """Of a sweep in two colours: at how many places which one is higher, and with intervals apart."""
    if options.kind != "sweep" or not options.hue:
        return ""
    hue = column(options.hue, options.probe)
    values = labels.ordered(hue, points[hue])
    if len(values) != 2:
        return ""
    places = list(dict.fromkeys([x_column(options), *(name for name in facets(options) if name != hue)]))
    one, other = (points[points[hue] == value] for value in reversed(values))
    both = one.merge(other, on=places, suffixes=("_one", "_other")).dropna(subset=["mean_one", "mean_other"])
    if both.empty:
        return ""
    parts = ["mean", "low", "high"]
    sides = [both[[f"{part}_{end}" for part in parts]].set_axis(parts, axis=1) for end in ("one", "other")]
    return _told(labels.phrase(hue, values[1]), labels.phrase(hue, values[0]), *sides)


def _told(name: str, other: str, one: pd.DataFrame, two: pd.DataFrame) -> str:
    """How the means of one colour compare with those of another, row by row."""
    up, down = higher(one["mean"], two["mean"]), higher(two["mean"], one["mean"])
    apart = above(one, two) | above(two, one)
    name, places = labels.sentence(name), len(one)
    if places == 1:
        word = "higher than" if up[0] else "lower than" if down[0] else "equal to"
        return f"{name} is {word} {other}{', with intervals apart' if apart[0] else ''}."
    evidence = f" ({(apart & up).sum()} with intervals apart)" if up.any() else ""
    parts = [f"higher than {other} at {up.sum() or 'none'} of {places} places{evidence}"]
    parts += [f"lower at {down.sum()} ({(apart & down).sum()} with intervals apart)"] if down.any() else []
    parts += [f"equal at {places - up.sum() - down.sum()}"] if (~up & ~down).any() else []
    return f"{name} is {', '.join(parts)}."


def _usable(points: pd.DataFrame, options: Figure) -> str:
    """The usable range of each line, what usable means, and which line's is how wide."""
    if options.within is None:
        return ""
    parts, widths = [], []
    for _, row in usable_ranges(points, options).iterrows():
        where = ", ".join(labels.phrase(name, row[name]) for name in facets(options))
        parts.append(f"{where}: {said(row)}" if where else said(row))
        widths += [] if pd.isna(row["decades"]) else [(row["decades"], f"{where} {width(row)}")]
    widest = ", ".join(text for _, text in sorted(widths, key=lambda found: -found[0]))
    order = f" Widest first: {widest}." if len(widths) > 1 else ""
    x = labels.column(x_column(options)).lower()
    rule = f"no run fails and the mean is at most {margin(options)} from the line's best"
    ranges = labels.sentence("; ".join(parts))
    return f"Bars at the top: the usable {x}, where {rule}, on either side of that best. {ranges}.{order}"


def _median(points: pd.DataFrame, options: Figure) -> str:
    """Of curves of what a probe saw: the median over the steps of each line's means."""
    if options.kind != "curves" or not options.probe:
        return ""
    names = [name for name in facets(options) if points[name].nunique(dropna=False) > 1]
    parts = []
    for values, part in lines(points.dropna(subset=["mean"]), names):
        where = ", ".join(labels.phrase(name, value) for name, value in values.items())
        parts.append(f"{where} {labels.metric(named(options)[-1], part['mean'].median())}".strip())
    return (
        f"Median over the {labels.column(x_column(options)).lower()}s: {'; '.join(parts)}."
        if len(parts) <= MANY
        else ""
    )
