"""Captions of figures, derived from the data that the figure shows: nothing in them is known beforehand."""

from typing import Any

import pandas as pd

from bnbench.core.markdown import escape, strong
from bnbench.figures.figure_kind import find
from bnbench.figures.findings import describe_findings
from bnbench.figures.plot_data import STOPPED, PlotData
from bnbench.tables import labels
from bnbench.tables.files import settings
from bnbench.tables.intervals import equal


def caption(plot: PlotData) -> str:
    """Return the caption of a figure as one paragraph of Markdown: title, data, and the sentences of its kind."""
    data = f"Data: {plot.datasets}." if plot.datasets else ""
    text = " ".join(escape(sentence) for sentence in (data, *find(plot.options.kind).caption(plot)) if sentence)
    return f"{strong(labels.sentence(plot.options.title))}{escape('.')} {text}"


def describe_means(plot: PlotData) -> list[str]:
    """Describe curves and sweeps: what is drawn, the best mean, findings, failed runs; of measures, the last one."""
    points = plot.points
    shown = points[points["measure"] == points["measure"].iloc[-1]] if "measure" in points else points
    plot = plot.with_points(shown)
    before = [describe(plot) for describe in (_drawn, _cut_off, _stopped, _best)]
    return [*before, *describe_findings(plot), describe_failures(plot)]


def line_name(values: dict[str, Any], *more: str) -> str:
    """Return the name of a line or panel at the start of a sentence: "Batch norm, batch of 16"; "All" if it is one."""
    phrases = (labels.phrase(name, value) for name, value in values.items())
    return labels.sentence(", ".join([*phrases, *more]) or "all")


def count_range(counts: "pd.Series[int]") -> str:
    """Return the lowest and highest count as "3 to 5", or the one count."""
    low, high = int(counts.min()), int(counts.max())
    return f"{low}" if low == high else f"{low} to {high}"


def fixed_settings(plot: PlotData) -> str:
    """Return the values of `where` as " (batch of 16, no norm)"; "" if there are none."""
    where = settings(plot.options.where.model_dump(exclude_unset=True))
    phrases = [labels.phrase(name, value) for name, value in where.items()]
    return f" ({', '.join(phrases)})" if phrases else ""


def _drawn(plot: PlotData) -> str:
    """Describe what is drawn: the measure, n, and what bars or bands are."""
    points, totals, sweep = plot.points, plot.run_counts()["total"], plot.options.kind == "sweep"
    marks, interval = ("Points", "bars") if sweep else ("Lines", "bands")
    y = labels.joined([labels.column(name).lower() for name in plot.measures])
    if "seed" in [*plot.facets, plot.x] or totals.max() == 1:
        return f"{marks} show the {y} of single runs{fixed_settings(plot)}."
    seeds = f"{count_range(totals)} seeds{fixed_settings(plot)}"
    text = f"{marks} show the mean {y} over {seeds}; {interval} show the 95 % t interval of the mean."
    if sweep and ((points["n"] > 0) & (points["n_diverged"] + points["n_other"] > 0)).any():
        text += " Hollow points are means over only the runs that did not fail."
    return text


def _cut_off(plot: PlotData) -> str:
    """Describe that means lie below the lower end of the y axis, if some do."""
    if plot.options.low is None or not (plot.points["mean"] < plot.options.low).any():
        return ""
    return f"The axis begins at {labels.metric(plot.measures[-1], plot.options.low)}; lower values are cut off."


def _stopped(plot: PlotData) -> str:
    """Describe how runs that stopped early enter a curve, if some did."""
    if STOPPED not in plot.points or not plot.points[STOPPED].any():
        return ""
    return "A run that stopped early counts with its last value from then on; a line ends where its last run stopped."


def _best(plot: PlotData) -> str:
    """Describe the best mean of each colour, and where it is."""
    y, hue = plot.measures[-1], plot.hue
    drawn = plot.points[plot.points["mean"].notna()]
    if drawn.empty or (plot.options.probe and not labels.is_accuracy(y)):
        return ""
    sign = 1 if labels.is_accuracy(y) else -1
    names = [name for name in dict.fromkeys([plot.x, *plot.facets]) if name != hue]
    names = [name for name in names if plot.points[name].nunique(dropna=False) > 1]
    parts = []
    for value in labels.ordered(hue, drawn[hue]) if hue else [None]:
        part = drawn if hue is None else drawn[drawn[hue].isna() if pd.isna(value) else drawn[hue] == value]
        score = (sign * part["mean"]).to_numpy(float)
        ties = equal(score, score.max())
        best, more = part.iloc[int(ties.argmax())], int(ties.sum()) - 1
        where = ", ".join(labels.phrase(name, best[name]) for name in names)
        where += f", and the same at {more} more" if where and more else ""
        text = labels.metric(y, best["mean"]) + (f" ({where})" if where else "")
        parts.append(f"{labels.phrase(hue, value)} {text}" if hue else text)
    measure = f" {labels.column(y).lower()}" if len(plot.measures) > 1 else ""
    return f"{'Highest' if sign > 0 else 'Lowest'} mean{measure}: {'; '.join(parts)}."


def describe_failures(plot: PlotData) -> str:
    """Describe how many runs diverged or failed, in all and for each colour."""
    counts = plot.run_counts()
    total = int(counts["total"].sum())
    sentences = []
    for name, verb in (("n_diverged", "diverged"), ("n_other", "failed (crashed, or out of memory)")):
        count = int(counts[name].sum())
        if count:
            share = f"{labels.number(count)} of {labels.number(total)} runs {verb}"
            be = "is" if count == 1 else "are"
            sentences.append(f"{share} and {be} in no mean{_by_colour(counts, plot.hue, name)}.")
    none = f"None of the {labels.number(total)} runs" if total > 1 else "The only run neither"
    return " ".join(sentences) or f"{none} diverged {'or' if total > 1 else 'nor'} failed."


def _by_colour(counts: pd.DataFrame, hue: str | None, name: str) -> str:
    """Return the counts of each colour, as " (no norm 2 of 5)"; "" where a colour does not separate runs."""
    if hue is None or hue not in counts:
        return ""
    sums = counts.groupby(hue, dropna=False)[["total", name]].sum()
    parts = []
    for value in labels.ordered(hue, sums.index):
        row = sums[sums.index.isna()].iloc[0] if pd.isna(value) else sums.loc[value]
        if row[name]:
            parts.append(f"{labels.phrase(hue, value)} {row[name]} of {row['total']}")
    return f" ({', '.join(parts)})"
