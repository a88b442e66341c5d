"""Curves over training: a line for the mean over seeds, a band for its interval."""

from dataclasses import replace
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bnbench.figures.counts import run_counts, telling
from bnbench.figures.facets import add_legend, arrange, facet, grid, name_panels, part_labels, select, values_of
from bnbench.figures.plot_data import x_column
from bnbench.figures.scales import scale, set_y, y_label
from bnbench.figures.style import DASHES, Look, looks
from bnbench.params.study_schema import Figure
from bnbench.tables import labels

WIDEST = 4  # panels side by side


def draw_curves(frame: pd.DataFrame, options: Figure) -> Drawing:
    """Mean and interval over training. Runs that diverged are in no line but counted above the panel."""
    hue, x = facet(options, "hue"), x_column(options)
    values = values_of(frame, hue)
    styles = looks(hue, values)
    drawing = Drawing(layout="constrained")
    panels = arrange(frame, options, WIDEST)
    axes = grid(drawing, panels)
    several = values_of(frame, "measure") if "measure" in frame else [None]
    for panel, ax in zip(panels, axes, strict=True):
        for value, style in zip(values, styles, strict=True):
            for index, measure in enumerate(several):
                part = select(panel.points, "measure" if measure else None, measure)
                dashes = DASHES[len(several) - 1 - index] if measure else style.dashes
                draw_line(ax, select(part, hue, value), x, replace(style, dashes=dashes))
    name_panels(panels, axes, [note(panel.points, hue if hue in telling(options) else None) for panel in panels])
    y = labels.quantity(options.y, options.probe)
    found = scale(frame, y, options.log)
    set_y(axes[0], found if options.low is None else replace(found, low=options.low), y)
    axes[0].xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes[0].xaxis.set_major_formatter(FuncFormatter(lambda value, _: labels.number(value)))
    axes[0].set_xlim(left=0)
    drawing.supxlabel(labels.column(x), fontsize="medium")
    drawing.supylabel(y_label(y), fontsize="medium")
    add_legend(drawing, *_legend(hue, values, styles, several))
    part_labels(drawing, categories=False)
    return drawing


def _legend(
    hue: str | None, values: list[Any], styles: list[Look], several: list[Any]
) -> tuple[list[Line2D], list[str], str | None]:
    """Entries for the colours, and for the dashes where a panel shows several measures."""
    names, title = legend_names(hue, values) if hue else ([], None)
    solid = len(several) > 1
    handles = [
        Line2D([], [], color=style.colour, linestyle="-" if solid else style.dashes)
        for style, _ in zip(styles, names, strict=False)
    ]
    if solid:
        dashes = [DASHES[len(several) - 1 - index] for index in range(len(several))]
        handles += [Line2D([], [], color="#555555", linestyle=dash) for dash in dashes]
        names = [*names, *(labels.column(measure).lower() for measure in several)]
    return handles, names, title


def draw_line(ax: Axes, points: pd.DataFrame, x: str, style: Look) -> None:
    """One mean with its band; a line of a single evaluation is a dot."""
    points = points.dropna(subset=[x, "mean"])
    marker = style.marker if len(points) == 1 else ""
    ax.plot(points[x], points["mean"], color=style.colour, linestyle=style.dashes, lw=1.4, marker=marker)
    band = points.dropna(subset=["low"])
    ax.fill_between(band[x], band["low"], band["high"], color=style.colour, alpha=0.18, lw=0)


def note(points: pd.DataFrame, hue: str | None) -> str:
    """What is missing from a panel: "no norm: 2 of 5 diverged"."""
    counts = []
    found = run_counts(points, [hue] if hue else [])
    for value in values_of(points, hue):
        row = select(found, hue, value).iloc[0]
        word = "failed" if row["n_other"] else "diverged"
        counts.append((value, int(row["total"] - row["n"]), int(row["total"]), word))
    said = [
        f"{labels.phrase(hue, value)}: {bad} of {total} {word}" if hue is not None else f"{bad} of {total} {word}"
        for value, bad, total, word in counts
        if bad
    ]
    if len(said) > 2:
        word = "failed" if points["n_other"].any() else "diverged"
        return f"{sum(bad for _, bad, _, _ in counts)} of {sum(total for _, _, total, _ in counts)} {word}"
    return labels.sentence(", ".join(said))


def legend_names(hue: str, values: list[object]) -> tuple[list[str], str | None]:
    """Names for a legend's entries, and its title where they are bare numbers."""
    if any(isinstance(value, str) for value in values):
        return [labels.phrase(hue, value) for value in values], None
    return [labels.short(hue, value) for value in values], labels.column(hue)
