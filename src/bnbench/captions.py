"""Captions of figures, said by the data that the figure draws: nothing here is known beforehand."""

import pandas as pd

from bnbench import labels
from bnbench.markdown import escape, strong
from bnbench.points import facets, lines, x_column
from bnbench.schema import Figure
from bnbench.tables import RENAMED, settings


def caption(points: pd.DataFrame, options: Figure) -> str:
    """The caption of a figure as one paragraph of Markdown; `points` are those drawn, data sets by title."""
    said = [_drawn(points, options), _best(points, options), _failed(points, options)]
    text = " ".join(escape(sentence) for sentence in said if sentence)
    return f"{strong(labels.sentence(options.title))}{escape('.')} {text}"


def _cells(points: pd.DataFrame, options: Figure) -> pd.DataFrame:
    """A row per line (curves) or point (sweep): its settings, and how many of its runs are ok and not."""
    if options.kind == "sweep":
        return points
    rows = [part.assign(n=part["n"].max()).iloc[:1] for _, part in lines(points, facets(options))]
    return pd.concat(rows, ignore_index=True)


def _drawn(points: pd.DataFrame, options: Figure) -> str:
    cells = _cells(points, options)
    totals = cells[["n", "n_diverged", "n_other"]].sum(axis=1)
    low, high = int(totals.min()), int(totals.max())
    what, area = ("Points", "bars") if options.kind == "sweep" else ("Lines", "bands")
    y = labels.column(options.y).lower()
    if "seed" in [*facets(options), x_column(options)] or high == 1:
        text = f"{what} show the {y} of single runs{_fixed(options)}."
    else:
        seeds = f"{low}" if low == high else f"{low} to {high}"
        text = f"{what} show the mean {y} of {seeds} seeds{_fixed(options)}, {area} its 95 % t interval."
    if options.kind == "sweep" and ((points["n"] > 0) & (totals > points["n"])).any():
        text += " Hollow points are means of only those runs that did not fail."
    return text


def _fixed(options: Figure) -> str:
    where = settings(options.where.model_dump(exclude_unset=True))
    said = [labels.phrase(name, value) for name, value in where.items()]
    return f" ({', '.join(said)})" if said else ""


def _best(points: pd.DataFrame, options: Figure) -> str:
    """Which mean is best for each colour, and where."""
    sign = 1 if labels.is_accuracy(options.y) else -1
    drawn = points[points["mean"].notna()]
    if drawn.empty:
        return ""
    hue = RENAMED.get(options.hue, options.hue) if options.hue else None
    places = [name for name in dict.fromkeys([x_column(options), *facets(options)]) if name != hue]
    places = [name for name in places if points[name].nunique(dropna=False) > 1]
    parts = []
    for value in labels.ordered(hue, drawn[hue]) if hue else [None]:
        part = drawn if hue is None else drawn[drawn[hue].isna() if pd.isna(value) else drawn[hue] == value]
        best = part.iloc[int((sign * part["mean"]).to_numpy().argmax())]
        place = ", ".join(labels.phrase(name, best[name]) for name in places)
        text = labels.metric(options.y, best["mean"]) + (f" ({place})" if place else "")
        parts.append(f"{labels.phrase(hue, value)} {text}" if hue else text)
    return f"{'Highest' if sign > 0 else 'Lowest'} mean: {'; '.join(parts)}."


def _failed(points: pd.DataFrame, options: Figure) -> str:
    """How many runs diverged or failed, in all and for each colour."""
    cells = _cells(points, options)
    total = int(cells[["n", "n_diverged", "n_other"]].to_numpy().sum())
    said = []
    for name, verb in (("n_diverged", "diverged"), ("n_other", "failed (crashed, or out of memory)")):
        count = int(cells[name].sum())
        if count:
            share = f"{labels.number(count)} of {labels.number(total)} runs {verb}"
            be = "is" if count == 1 else "are"
            said.append(f"{share} and {be} in no mean{_by_hue(cells, options, name)}.")
    return " ".join(said) or f"None of the {total} runs diverged or failed."


def _by_hue(cells: pd.DataFrame, options: Figure, name: str) -> str:
    hue = RENAMED.get(options.hue, options.hue) if options.hue else None
    if hue is None:
        return ""
    sums = cells.groupby(hue, dropna=False)[["n", "n_diverged", "n_other"]].sum()
    parts = []
    for value in labels.ordered(hue, sums.index):
        row = sums[sums.index.isna()].iloc[0] if pd.isna(value) else sums.loc[value]
        if row[name]:
            parts.append(f"{labels.phrase(hue, value)} {row[name]} of {row.sum()}")
    return f" ({', '.join(parts)})"
