"""Captions of figures, said by the data that the figure draws: nothing here is known beforehand."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from bnbench.core.markdown import escape, strong
from bnbench.figures import confusion_matrix
from bnbench.figures.counts import run_counts, telling
from bnbench.figures.findings import named, remarks
from bnbench.figures.hyperplanes import share
from bnbench.figures.plot_data import STOPPED, column, facets, lines, x_column
from bnbench.figures.prediction_grid import STATISTICS, share_right
from bnbench.params.study_schema import Figure
from bnbench.tables import labels
from bnbench.tables.files import settings
from bnbench.tables.intervals import equal


def caption(points: pd.DataFrame, options: Figure, data: str = "") -> str:
    """The caption of a figure as one paragraph of Markdown.

    Args:
        points: those drawn, data sets by title.
        options: the figure's.
        data: the data sets used, in words.
    """
    said = [f"Data: {data}." if data else "", *SAID[options.kind](points, options)]
    text = " ".join(escape(sentence) for sentence in said if sentence)
    return f"{strong(labels.sentence(options.title))}{escape('.')} {text}"


def _means(points: pd.DataFrame, options: Figure) -> list[str]:
    """Of curves and sweeps: what is drawn, where the best is, what failed. Of several measures the last one counts."""
    shown = points[points["measure"] == points["measure"].iloc[-1]] if "measure" in points else points
    before = [say(shown, options) for say in (_drawn, _cut, _stopped, _best)]
    return [*before, *remarks(shown, options), _failed(shown, options)]


def _heatmap(points: pd.DataFrame, options: Figure) -> list[str]:
    """What the squares hold, and their span in each panel."""
    y = labels.quantity(options.y, options.probe)
    totals = run_counts(points, telling(options))["total"]
    said = [f"Squares show the mean {labels.column(y).lower()} of {_span(totals)} seeds{_fixed(options)}."]
    for values, part in _panels(points, options):
        seen = part["mean"].dropna()
        where = ", ".join(labels.phrase(name, value) for name, value in values.items()) or "All"
        if len(seen):
            low, high = labels.metric(y, seen.min()), labels.metric(y, seen.max())
            said.append(f"{labels.sentence(where)}: from {low} to {high}.")
    marked = " Crossed squares say how many, hatched ones have no other runs."
    told = _failed(points, options)
    return [*said, told + (marked if (points["n_diverged"] + points["n_other"]).any() else "")]


def _ridges(points: pd.DataFrame, options: Figure) -> list[str]:
    """What a ridge is, and how far the middle of the values moved from the first to the last."""
    steps = sorted(points["step"].unique())
    said = [
        f"Each ridge is the histogram of one recorded step, {labels.number(steps[0])} to {labels.number(steps[-1])}."
    ]
    for values, part in _panels(points, options):
        first, last = (_moments(part[part["step"] == step]) for step in (steps[0], steps[-1]))
        where = ", ".join(labels.phrase(name, value) for name, value in values.items()) or "All"
        moved = f"mean {first[0]:.2g} to {last[0]:.2g}, deviation {first[1]:.2g} to {last[1]:.2g}"
        said.append(f"{labels.sentence(where)}: {moved}.")
    return said


def _moments(histogram: pd.DataFrame) -> tuple[float, float]:
    """Mean and deviation of a histogram's values."""
    weights, places = histogram["value"].to_numpy(float), histogram["at"].to_numpy(float)
    mean = float((weights * places).sum() / weights.sum())
    return mean, float((weights * (places - mean) ** 2).sum() / weights.sum()) ** 0.5


def _hyperplanes(points: pd.DataFrame, options: Figure) -> list[str]:
    """What is seen, and how many units cut the data in each panel."""
    said = [
        "Dots are training images, coloured by class, in the plane of the two inputs of largest mean deviation; lines"
        " are where ten units of the untrained first layer are 0, the other inputs at their mean."
    ]
    for values, part in _panels(points, options):
        where = ", ".join(labels.phrase(name, value) for name, value in values.items()) or "all"
        cut = labels.percent(share(part))
        said.append(f"{labels.sentence(where)}: {cut} of all units cut off a tenth of the images or more.")
    return said


def _predictions(points: pd.DataFrame, options: Figure) -> list[str]:
    """How many different classes are predicted, and what share is right."""
    said = ["Predicted classes of the first test images, in their order, each image predicted alone."]
    for values, part in _panels(points, options):
        where = ", ".join(labels.phrase(name, value) for name, value in values.items())
        for kind, name in STATISTICS.items():
            found = part[part["quantity"] == f"predicted_{kind}"]["value"]
            if len(found):
                classes = found.nunique()
                what = f"always {int(found.iloc[0])}" if classes == 1 else f"{classes} different classes"
                place = f"{where}, {name}" if where else name
                said.append(f"{labels.sentence(place)}: {what}, {labels.percent(share_right(part, kind), 0)} right.")
    return said


def _networks(points: pd.DataFrame, _options: Figure) -> list[str]:
    """What a box holds."""
    text = "Each box is a layer: what follows it, the shape of its output (channels x height x width), its parameters."
    totals = points.groupby("model", sort=False)["parameters"].sum()
    return [text, *(f"{labels.phrase('model', m)}: {labels.number(int(n))} parameters." for m, n in totals.items())]


def _panels(points: pd.DataFrame, options: Figure) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """The points of each panel, in the order of the panels."""
    names = facets(options)
    places = {name: labels.ordered(name, points[name]) for name in names}

    def place(panel: tuple[dict[str, Any], pd.DataFrame]) -> list[int]:
        return [places[name].index(None if pd.isna(value) else value) for name, value in panel[0].items()]

    return sorted(lines(points, names), key=place)


def _span(totals: "pd.Series[int]") -> str:
    low, high = int(totals.min()), int(totals.max())
    return f"{low}" if low == high else f"{low} to {high}"


SAID: dict[str, Callable[[pd.DataFrame, Figure], list[str]]] = {
    "curves": _means,
    "sweep": _means,
    "heatmap": _heatmap,
    "ridges": _ridges,
    "hyperplanes": _hyperplanes,
    "predictions": _predictions,
    "networks": _networks,
    "confusion": confusion_matrix.said,
}


def _drawn(points: pd.DataFrame, options: Figure) -> str:
    totals = run_counts(points, telling(options))["total"]
    what, area = ("Points", "bars") if options.kind == "sweep" else ("Lines", "bands")
    y = labels.joined([labels.column(name).lower() for name in named(options)])
    if "seed" in [*facets(options), x_column(options)] or totals.max() == 1:
        text = f"{what} show the {y} of single runs{_fixed(options)}."
    else:
        text = f"{what} show the mean {y} of {_span(totals)} seeds{_fixed(options)}, {area} its 95 % t interval."
    if options.kind == "sweep" and ((points["n"] > 0) & (points["n_diverged"] + points["n_other"] > 0)).any():
        text += " Hollow points are means of only those runs that did not fail."
    return text


def _cut(points: pd.DataFrame, options: Figure) -> str:
    """That something is below the y axis' beginning."""
    if options.low is None or not (points["mean"] < options.low).any():
        return ""
    y = named(options)[-1]
    return f"The axis begins at {labels.metric(y, options.low)}; what is below is cut off."


def _stopped(points: pd.DataFrame, _options: Figure) -> str:
    """How runs that stopped early enter a curve."""
    if STOPPED not in points or not points[STOPPED].any():
        return ""
    return "A run that has stopped counts on with its last value; a line ends where its last run stopped."


def _fixed(options: Figure) -> str:
    where = settings(options.where.model_dump(exclude_unset=True))
    said = [labels.phrase(name, value) for name, value in where.items()]
    return f" ({', '.join(said)})" if said else ""


def _best(points: pd.DataFrame, options: Figure) -> str:
    """Which mean is best for each colour, and where."""
    y = named(options)[-1]
    if options.probe and not labels.is_accuracy(y):
        return ""
    sign = 1 if labels.is_accuracy(y) else -1
    drawn = points[points["mean"].notna()]
    if drawn.empty:
        return ""
    hue = column(options.hue, options.probe) if options.hue else None
    places = [name for name in dict.fromkeys([x_column(options), *facets(options)]) if name != hue]
    places = [name for name in places if points[name].nunique(dropna=False) > 1]
    parts = []
    for value in labels.ordered(hue, drawn[hue]) if hue else [None]:
        part = drawn if hue is None else drawn[drawn[hue].isna() if pd.isna(value) else drawn[hue] == value]
        score = (sign * part["mean"]).to_numpy(float)
        ties = equal(score, score.max())
        best, more = part.iloc[int(ties.argmax())], int(ties.sum()) - 1
        place = ", ".join(labels.phrase(name, best[name]) for name in places)
        place += f", and the same at {more} more" if place and more else ""
        text = labels.metric(y, best["mean"]) + (f" ({place})" if place else "")
        parts.append(f"{labels.phrase(hue, value)} {text}" if hue else text)
    what = f" {labels.column(y).lower()}" if len(named(options)) > 1 else ""
    return f"{'Highest' if sign > 0 else 'Lowest'} mean{what}: {'; '.join(parts)}."


def _failed(points: pd.DataFrame, options: Figure) -> str:
    """How many runs diverged or failed, in all and for each colour."""
    cells = run_counts(points, telling(options))
    total = int(cells["total"].sum())
    said = []
    for name, verb in (("n_diverged", "diverged"), ("n_other", "failed (crashed, or out of memory)")):
        count = int(cells[name].sum())
        if count:
            share = f"{labels.number(count)} of {labels.number(total)} runs {verb}"
            be = "is" if count == 1 else "are"
            said.append(f"{share} and {be} in no mean{_by_hue(cells, options, name)}.")
    none = f"None of the {labels.number(total)} runs" if total > 1 else "The only run neither"
    return " ".join(said) or f"{none} diverged {'or' if total > 1 else 'nor'} failed."


def _by_hue(cells: pd.DataFrame, options: Figure, name: str) -> str:
    hue = column(options.hue, options.probe) if options.hue else None
    if hue is None or hue not in cells:  # nor where it goes along within a run
        return ""
    sums = cells.groupby(hue, dropna=False)[["total", name]].sum()
    parts = []
    for value in labels.ordered(hue, sums.index):
        row = sums[sums.index.isna()].iloc[0] if pd.isna(value) else sums.loc[value]
        if row[name]:
            parts.append(f"{labels.phrase(hue, value)} {row[name]} of {row['total']}")
    return f" ({', '.join(parts)})"
