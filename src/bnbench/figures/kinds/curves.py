"""Curves over training: a line for the mean over seeds, a band for its 95 % t interval."""

from dataclasses import replace
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bnbench.core.errors import UserError
from bnbench.figures import canvas
from bnbench.figures.captions import describe_means
from bnbench.figures.facets import (
    add_legend,
    arrange,
    grid,
    legend_names,
    select,
    separate_tick_labels,
    title_panels,
    values_of,
)
from bnbench.figures.figure_kind import FigureKind
from bnbench.figures.plot_data import STOPPED, Encoding, PlotData, count_runs, tidy
from bnbench.figures.scales import scale, set_y, y_label
from bnbench.figures.source import VALUE, Source, check_only_seeds_mix, named_rows, select_runs, value_columns
from bnbench.figures.style import DASHES, LineStyle, line_styles
from bnbench.params.study_schema import Figure
from bnbench.tables import labels
from bnbench.tables.summary import COUNTS, aggregate

WIDEST = 4  # panels side by side


def data(source: Source, options: Figure) -> pd.DataFrame:
    """Return a row per line and evaluation; a line without any run of status ok has one row, without x."""
    columns = Encoding(options=options)
    x, names = columns.x, columns.facets
    if options.probe:
        return columns.average(named_rows(source, options), [*names, x], VALUE)
    runs = select_runs(source.runs, options)
    check_only_seeds_mix(runs, names)
    runs, by = (runs, names) if names else (runs.assign(line=0), ["line"])
    good = runs.loc[runs["status"] == "ok", ["run_id", "status", *by]]
    found = []
    for y in value_columns(options):
        drawn = good.merge(source.history[["run_id", x, y]], on="run_id")
        if len(drawn) and drawn[y].isna().all():
            raise UserError(f"{y} was not measured during training: draw another, or measure it (evaluate_test: true)")
        means = average_with_stopped(drawn, by, x, y).drop(columns=["n_diverged", "n_other"])
        counts = aggregate(runs, by, []).drop(columns="n")
        found.append(tidy(counts.merge(means, on=by, how="left"), [*names, x], y, [*COUNTS, STOPPED]))
    if len(found) == 1:
        return found[0]
    return pd.concat([part.assign(measure=y) for part, y in zip(found, value_columns(options), strict=True)])


def average_with_stopped(drawn: pd.DataFrame, by: list[str], x: str, y: str) -> pd.DataFrame:
    """Return mean and interval of `y` at each `x` of a line over all its runs; a stopped run keeps its last value.

    A mean over only the runs still in training would jump as runs leave it. The column `n_stopped` counts the
    stopped ones.
    """
    ends = drawn.loc[drawn.groupby("run_id")[x].idxmax()]
    later = ends.merge(drawn[[*by, x]].drop_duplicates(), on=by, suffixes=("_end", ""))
    later = later[later[x] > later[f"{x}_end"]][list(drawn.columns)]
    rows = pd.concat([drawn.assign(**{STOPPED: 0}), later.assign(**{STOPPED: 1})])
    stopped = rows.groupby([*by, x], dropna=False)[STOPPED].sum().reset_index()
    return aggregate(rows, [*by, x], [y]).merge(stopped, on=[*by, x])


def draw(plot: PlotData) -> Drawing:
    """Draw mean and interval over training; diverged runs are in no line but counted above the panel."""
    hue, x, options = plot.hue, plot.x, plot.options
    values = values_of(plot.points, hue)
    styles = line_styles(hue, values)
    drawing = canvas.new()
    panels = arrange(plot, WIDEST)
    axes = grid(drawing, panels)
    measures = values_of(plot.points, "measure") if "measure" in plot.points else [None]
    for panel, ax in zip(panels, axes, strict=True):
        for value, style in zip(values, styles, strict=True):
            for index, measure in enumerate(measures):
                part = select(panel.points, "measure" if measure else None, measure)
                dashes = DASHES[len(measures) - 1 - index] if measure else style.dashes
                draw_line(ax, select(part, hue, value), x, replace(style, dashes=dashes))
    separated = hue if hue in plot.separating else None
    title_panels(panels, axes, [failure_note(panel.points, separated) for panel in panels])
    found = scale(plot)
    set_y(axes[0], found if options.low is None else replace(found, low=options.low), plot.y)
    axes[0].xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes[0].xaxis.set_major_formatter(FuncFormatter(lambda value, _: labels.number(value)))
    axes[0].set_xlim(left=0)
    drawing.supxlabel(labels.column(x), fontsize="medium")
    drawing.supylabel(y_label(plot.y), fontsize="medium")
    add_legend(drawing, *_legend(hue, values, styles, measures))
    separate_tick_labels(drawing, categories=False)
    return drawing


def _legend(
    hue: str | None, values: list[Any], styles: list[LineStyle], measures: list[Any]
) -> tuple[list[Line2D], list[str], str | None]:
    """Return handles, names and title of the legend: the colours, and the dashes of several measures."""
    names, title = legend_names(hue, values) if hue else ([], None)
    several = len(measures) > 1
    handles = [
        Line2D([], [], color=style.colour, linestyle="-" if several else style.dashes)
        for style, _ in zip(styles, names, strict=False)
    ]
    if several:
        dashes = [DASHES[len(measures) - 1 - index] for index in range(len(measures))]
        handles += [Line2D([], [], color="#555555", linestyle=dash) for dash in dashes]
        names = [*names, *(labels.column(measure).lower() for measure in measures)]
    return handles, names, title


def draw_line(ax: Axes, points: pd.DataFrame, x: str, style: LineStyle) -> None:
    """Draw one mean with its band; a line of a single evaluation is a dot."""
    points = points.dropna(subset=[x, "mean"])
    marker = style.marker if len(points) == 1 else ""
    ax.plot(points[x], points["mean"], color=style.colour, linestyle=style.dashes, lw=1.4, marker=marker)
    band = points.dropna(subset=["low"])
    ax.fill_between(band[x], band["low"], band["high"], color=style.colour, alpha=0.18, lw=0)


def failure_note(points: pd.DataFrame, hue: str | None) -> str:
    """Return how many runs of a panel are in no line, as "No norm: 2 of 5 diverged"; summed over many colours."""
    counts = []
    found = count_runs(points, [hue] if hue else [])
    for value in values_of(points, hue):
        row = select(found, hue, value).iloc[0]
        word = "failed" if row["n_other"] else "diverged"
        counts.append((value, int(row["total"] - row["n"]), int(row["total"]), word))
    texts = [
        f"{labels.phrase(hue, value)}: {bad} of {total} {word}" if hue is not None else f"{bad} of {total} {word}"
        for value, bad, total, word in counts
        if bad
    ]
    if len(texts) > 2:
        word = "failed" if points["n_other"].any() else "diverged"
        return f"{sum(bad for _, bad, _, _ in counts)} of {sum(total for _, _, total, _ in counts)} {word}"
    return labels.sentence(", ".join(texts))


KIND = FigureKind(data=data, draw=draw, caption=describe_means)
