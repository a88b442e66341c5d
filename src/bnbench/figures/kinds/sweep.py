"""Sweeps over a setting: means with intervals, usable ranges above them, counts of failed runs below them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from textwrap import fill
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from bnbench.figures import canvas
from bnbench.figures.captions import describe_means
from bnbench.figures.facets import (
    Panel,
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
from bnbench.figures.plot_data import Encoding, PlotData
from bnbench.figures.scales import scale, set_y, y_label
from bnbench.figures.source import Source, named_rows, value_columns
from bnbench.figures.style import CROSS, PAGE_WIDTH, SMALL, LineStyle, line_styles
from bnbench.figures.usable_range import usable_ranges
from bnbench.params.study_schema import Figure
from bnbench.tables import labels

LOGARITHMIC = {"learning_rate": 10, "batch_size": 2, "images_together": 2}  # setting -> base of its axis
SHARE_WIDTH = 15  # points that "2/5" takes, with some room
COUNT_WIDTH = 18  # points that a cross and "2/5" take
CATEGORIES = {"true_class"}  # numbers that only name
BAR = 7.0  # points between bars of usable ranges
LINE = 1.35 * SMALL  # points between lines of counts

PanelAxes = list[tuple[Panel, Axes]]


@dataclass(frozen=True)
class XAxis:
    """Positions of the values of a setting on the x axis."""

    name: str
    values: list[Any]

    @property
    def base(self) -> int | None:
        """The base of a logarithmic axis; None if values stand side by side at equal distances."""
        base = LOGARITHMIC.get(self.name)
        ratios = [b / a for a, b in pairwise(self.values)] if base and min(self.values) > 0 else []
        return base if base and len(self.values) > 1 and min(ratios, default=0) >= 1.5 else None

    @property
    def ordered(self) -> bool:
        """Return whether the values are quantities: only these are joined by lines."""
        return self.name not in CATEGORIES and not any(isinstance(value, str) for value in self.values)

    def at(self, values: Iterable[Any], shift: float = 0.0) -> list[float]:
        """Return the positions of `values`, shifted by a share of the narrowest gap so that bars do not overlap."""
        if self.base:
            ratios = [b / a for a, b in pairwise(self.values)]
            return [value * min(ratios, default=2.0) ** shift for value in values]
        index = {(None if pd.isna(value) else value): position for position, value in enumerate(self.values)}
        return [index[None if pd.isna(value) else value] + shift for value in values]


def data(source: Source, options: Figure) -> pd.DataFrame:
    """Return a row per value of `x` and line: the mean over seeds."""
    columns = Encoding(options=options)
    return columns.average(named_rows(source, options), [*columns.facets, columns.x], value_columns(options)[0])


def draw(plot: PlotData) -> Drawing:
    """Draw mean and interval over seeds against a setting.

    Where some runs failed, the mean of the others is a hollow marker, and their number stands at the bottom.
    """
    points, hue, x = plot.points, plot.hue, plot.x
    axis, values = XAxis(x, labels.ordered(x, points[x])), values_of(points, hue)
    styles = line_styles(hue, values)
    drawing = canvas.new()
    panels = arrange(plot, widest(len(axis.values)))
    axes = grid(drawing, panels)
    shifts = [0.07 * (i - (len(values) - 1) / 2) / max(1, len(values) / 4) for i in range(len(values))]
    for panel, ax in zip(panels, axes, strict=True):
        for value, style, shift in zip(values, styles, shifts, strict=True):
            part = _sorted(select(panel.points, hue, value), axis)
            draw_points(ax, part, axis.at(part[x], shift), style if axis.ordered else replace(style, dashes=""))
    title_panels(panels, axes)
    _set_x(axes[0], axis)
    drawing.supxlabel(labels.column(x), fontsize="medium")
    drawing.supylabel(y_label(plot.y), fontsize="medium")
    add_legend(drawing, *_legend(plot, values, styles))
    pairs = list(zip(panels, axes, strict=True))
    if failures(points).any() or plot.options.within is not None:
        canvas.lay_out(drawing)  # it decides the panels' heights
    strip = _mark_failures(plot, pairs, axis)
    if plot.options.within is not None:
        _mark_usable(plot, pairs, strip)
    separate_tick_labels(drawing, categories=axis.base is None)
    return drawing


def widest(ticks: int) -> int:
    """Return how many panels of `ticks` values fit side by side with their counts of failures."""
    return max(1, min(4, int(0.9 * 72 * PAGE_WIDTH / SHARE_WIDTH / max(1, ticks + 0.5))))


def panel_height(ax: Axes) -> float:
    """Return the height of a panel in points."""
    return 72 * ax.get_window_extent().height / ax.figure.dpi


def _sorted(points: pd.DataFrame, axis: XAxis) -> pd.DataFrame:
    order = axis.at(points[axis.name])
    return points.iloc[sorted(range(len(order)), key=order.__getitem__)]


def failures(points: pd.DataFrame) -> "pd.Series[int]":
    """Return how many runs of each point have no result."""
    return points["n_diverged"] + points["n_other"]


def draw_points(ax: Axes, points: pd.DataFrame, at: list[float], style: LineStyle) -> None:
    """Draw one line of means with bars; it breaks where there is no mean."""
    colour = style.colour
    ax.plot(at, points["mean"], color=colour, linestyle=style.dashes, lw=1.1, zorder=2)
    ax.vlines(at, points["low"], points["high"], color=colour, lw=1.1, zorder=2)
    for position, (_, point) in zip(at, points.iterrows(), strict=True):
        if not pd.isna(point["mean"]):
            face = "white" if point["n_diverged"] + point["n_other"] else colour
            marker = {"marker": style.marker, "ms": 4, "color": colour, "mfc": face}
            ax.plot(position, point["mean"], **marker, clip_on=False, zorder=3)


def _set_x(ax: Axes, axis: XAxis) -> None:
    at = axis.at(axis.values)
    if axis.base:
        ax.set_xscale("log", base=axis.base)
        margin = (max(at) / min(at)) ** 0.1 if len(at) > 1 else 2.0
        ax.set_xlim(min(at) / margin, max(at) * margin)
    else:
        ax.set_xlim(-0.5, len(at) - 0.5)
    ax.xaxis.set_major_locator(FixedLocator(at))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FixedFormatter([fill(labels.short(axis.name, v), 24) for v in axis.values]))


def _legend(plot: PlotData, values: list[Any], styles: list[LineStyle]) -> tuple[list[Line2D], list[str], str | None]:
    """Return handles, names and title of the legend: colours, usable ranges, counts of failures, hollow markers."""
    names, title = legend_names(plot.hue, values) if plot.hue else ([], None)
    handles = [
        Line2D([], [], color=style.colour, linestyle=style.dashes, marker=style.marker, ms=4)
        for style, _ in zip(styles, names, strict=False)
    ]
    if plot.options.within is not None:
        handles.append(Line2D([], [], color="#555555", lw=3))
        names = [*names, "usable"]
    failed = plot.points[failures(plot.points) > 0]
    if len(failed):
        first = failed.sort_values("n", ascending=False).iloc[0]
        count, total = int(first["n_diverged"] + first["n_other"]), int(first["n"])
        word = "failed" if plot.points["n_other"].any() else "diverged"
        handles.append(Line2D([], [], color="#555555", marker="x", ms=4, linestyle=""))
        shares = ["all"] if (failed["n"] == 0).any() else []
        shares += [f"{count}/{count + total}"] if total else []
        names = [*names, f"{' or '.join(shares)} of the runs {word}"]
        if (failed["n"] > 0).any():
            handles.append(Line2D([], [], color="#555555", marker="o", mfc="white", ms=4, linestyle=""))
            names = [*names, "mean of the others"]
    return handles, names, title


def _mark_failures(plot: PlotData, panels: PanelAxes, axis: XAxis) -> float:
    """Write the counts of failed runs on grey below the data, a line for each colour; return the share it takes."""
    values = values_of(plot.points, plot.hue)
    failing = [
        (value, style)
        for value, style in zip(values, line_styles(plot.hue, values), strict=True)
        if failures(select(plot.points, plot.hue, value)).any()
    ]
    found = scale(plot)
    set_y(panels[0][1], found, plot.y)
    if not failing:
        return 0.0
    line = LINE / panel_height(panels[0][1])
    strip = min(0.6, line * len(failing) + 0.03)
    set_y(panels[0][1], found, plot.y, strip)
    for panel, ax in panels:
        grey = Rectangle((0, 0), 1, strip - 0.02, transform=ax.transAxes, color="#f0f0f0", lw=0, zorder=2.5)
        ax.add_artist(grey)
        for index, (value, style) in enumerate(failing):
            points = select(panel.points, plot.hue, value)
            height = (index + 0.55) * (strip - 0.02) / len(failing)
            _write_counts(ax, points[failures(points) > 0], axis, height, style)
    return strip


def _mark_usable(plot: PlotData, panels: PanelAxes, strip: float) -> None:
    """Draw a bar for each colour's usable range above the data, from its first to its last value."""
    values = values_of(plot.points, plot.hue)
    line = BAR / panel_height(panels[0][1])
    set_y(panels[0][1], scale(plot), plot.y, strip, top=line * (len(values) + 1))
    for panel, ax in panels:
        for index, (value, style) in enumerate(zip(values, line_styles(plot.hue, values), strict=True)):
            height = 1 - (index + 0.75) * line
            found = usable_ranges(plot.with_points(select(panel.points, plot.hue, value)))
            for low, high in found[["low", "high"]].dropna().to_numpy(float):
                across = ax.get_xaxis_transform()
                ax.plot([low, high], [height] * 2, color=style.colour, lw=3, transform=across, solid_capstyle="butt")
                ax.plot([low, high], [height] * 2, color=style.colour, marker="|", ms=7, mew=2, lw=0, transform=across)


def _write_counts(ax: Axes, points: pd.DataFrame, axis: XAxis, height: float, style: LineStyle) -> None:
    """Write a cross and "2/5" at each point; where that is too wide, a cross for all runs and "2/5" for some."""
    width = ax.get_window_extent().width * 72 / ax.figure.dpi
    crowded = width / (len(axis.values) + 0.5) < COUNT_WIDTH
    for at, (_, point) in zip(axis.at(points[axis.name]), points.iterrows(), strict=True):
        failed = int(point["n_diverged"] + point["n_other"])
        share = f"{failed}/{failed + int(point['n'])}"
        text = (CROSS if not point["n"] else share) if crowded else CROSS + share
        ax.text(
            at,
            height,
            text,
            transform=ax.get_xaxis_transform(),
            ha="center",
            va="center",
            color=style.colour,
            fontsize=SMALL,
            zorder=4,
        )


KIND = FigureKind(data=data, draw=draw, caption=describe_means)
