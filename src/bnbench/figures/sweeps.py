"""Sweeps over a setting: points with intervals, and at the bottom of each panel what diverged."""

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

from bnbench.figures.curves import legend_names
from bnbench.figures.facets import Panel, add_legend, arrange, facet, grid, name_panels, part_labels, select, values_of
from bnbench.figures.plot_data import x_column
from bnbench.figures.scales import scale, set_y, y_label
from bnbench.figures.style import PAGE_WIDTH, SMALL, Look, looks
from bnbench.figures.usable_range import usable_ranges
from bnbench.params.study_schema import Figure
from bnbench.tables import labels

LOGARITHMIC = {"learning_rate": 10, "batch_size": 2, "images_together": 2}  # setting -> base of its axis
SHARE_WIDTH = 15  # points that "2/5" takes, with some room
COUNT_WIDTH = 18  # points that a cross and "2/5" take
CROSS = "\N{MULTIPLICATION SIGN}"
NAMES = {"true_class"}  # numbers that only name
BAR = 7.0  # points between bars of usable ranges
LINE = 1.35 * SMALL  # points between lines of counts


@dataclass(frozen=True)
class Places:
    """Where the values of a setting stand on the x axis."""

    name: str
    values: list[Any]

    @property
    def base(self) -> int | None:
        """The base of a log axis; None: names or numbers side by side."""
        base = LOGARITHMIC.get(self.name)
        steps = [b / a for a, b in pairwise(self.values)] if base and min(self.values) > 0 else []
        return base if base and len(self.values) > 1 and min(steps, default=0) >= 1.5 else None

    @property
    def ordered(self) -> bool:
        """Whether the values are numbers that count something: only these are joined by lines."""
        return self.name not in NAMES and not any(isinstance(value, str) for value in self.values)

    def at(self, values: Iterable[Any], shift: float = 0.0) -> list[float]:
        """Positions of `values`, moved by a share `shift` of the narrowest gap, so that bars do not hide."""
        if self.base:
            ratios = [b / a for a, b in zip(self.values, self.values[1:], strict=False)]
            return [value * min(ratios, default=2.0) ** shift for value in values]
        index = {(None if pd.isna(value) else value): place for place, value in enumerate(self.values)}
        return [index[None if pd.isna(value) else value] + shift for value in values]


def draw_sweep(frame: pd.DataFrame, options: Figure) -> Drawing:
    """Mean and interval over seeds against a setting.

    Where some runs diverged, the mean of the rest is hollow; how many did stands at the bottom of the panel.
    """
    hue, x = facet(options, "hue"), x_column(options)
    places, values = Places(x, labels.ordered(x, frame[x])), values_of(frame, hue)
    styles = looks(hue, values)
    drawing = Drawing(layout="constrained")
    panels = arrange(frame, options, widest(len(places.values)))
    axes = grid(drawing, panels)
    shifts = [0.07 * (i - (len(values) - 1) / 2) / max(1, len(values) / 4) for i in range(len(values))]
    for panel, ax in zip(panels, axes, strict=True):
        for value, style, shift in zip(values, styles, shifts, strict=True):
            part = _sorted(select(panel.points, hue, value), places)
            draw_points(ax, part, places.at(part[x], shift), style if places.ordered else replace(style, dashes=""))
    name_panels(panels, axes, [""] * len(panels))
    _set_x(axes[0], places)
    drawing.supxlabel(labels.column(x), fontsize="medium")
    drawing.supylabel(y_label(labels.quantity(options.y, options.probe)), fontsize="medium")
    add_legend(drawing, *_legend(frame, options, values, styles))
    pairs = list(zip(panels, axes, strict=True))
    strip = _mark_failures(drawing, frame, options, pairs, places)
    if options.within is not None:
        _mark_usable(drawing, frame, options, pairs, strip)
    part_labels(drawing, categories=places.base is None)
    return drawing


def widest(ticks: int) -> int:
    """How many panels of `ticks` values stand side by side, so that the counts of failures fit."""
    return max(1, min(4, int(0.9 * 72 * PAGE_WIDTH / SHARE_WIDTH / max(1, ticks + 0.5))))


def _sorted(points: pd.DataFrame, places: Places) -> pd.DataFrame:
    order = places.at(points[places.name])
    return points.iloc[sorted(range(len(order)), key=order.__getitem__)]


def bad(points: pd.DataFrame) -> "pd.Series[int]":
    """How many runs of each point gave no result."""
    return points["n_diverged"] + points["n_other"]


def draw_points(ax: Axes, points: pd.DataFrame, at: list[float], style: Look) -> None:
    """One line of means with bars; it breaks where there is no mean."""
    colour = style.colour
    ax.plot(at, points["mean"], color=colour, linestyle=style.dashes, lw=1.1, zorder=2)
    ax.vlines(at, points["low"], points["high"], color=colour, lw=1.1, zorder=2)
    for place, (_, point) in zip(at, points.iterrows(), strict=True):
        if not pd.isna(point["mean"]):
            inside = "white" if point["n_diverged"] + point["n_other"] else colour
            ax.plot(
                place,
                point["mean"],
                marker=style.marker,
                ms=4,
                color=colour,
                mfc=inside,
                clip_on=False,
                zorder=3,
            )


def _set_x(ax: Axes, places: Places) -> None:
    at = places.at(places.values)
    if places.base:
        ax.set_xscale("log", base=places.base)
        room = (max(at) / min(at)) ** 0.1 if len(at) > 1 else 2.0
        ax.set_xlim(min(at) / room, max(at) * room)
    else:
        ax.set_xlim(-0.5, len(at) - 0.5)
    ax.xaxis.set_major_locator(FixedLocator(at))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FixedFormatter([fill(labels.short(places.name, v), 24) for v in places.values]))


def _legend(
    frame: pd.DataFrame, options: Figure, values: list[Any], styles: list[Look]
) -> tuple[list[Line2D], list[str], str | None]:
    """Entries for the colours, for usable ranges, hollow points and counts at the bottom, as far as they occur."""
    hue = facet(options, "hue")
    names, title = legend_names(hue, values) if hue else ([], None)
    handles = [
        Line2D([], [], color=style.colour, linestyle=style.dashes, marker=style.marker, ms=4)
        for style, _ in zip(styles, names, strict=False)
    ]
    if options.within is not None:
        handles.append(Line2D([], [], color="#555555", lw=3))
        names = [*names, "usable"]
    failed = frame[bad(frame) > 0]
    if len(failed):
        first = failed.sort_values("n", ascending=False).iloc[0]
        count, total = int(first["n_diverged"] + first["n_other"]), int(first["n"])
        word = "failed" if frame["n_other"].any() else "diverged"
        handles.append(Line2D([], [], color="#555555", marker="x", ms=4, linestyle=""))
        shares = ["all"] if (failed["n"] == 0).any() else []
        shares += [f"{count}/{count + total}"] if total else []
        names = [*names, f"{' or '.join(shares)} of the runs {word}"]
        if (failed["n"] > 0).any():
            handles.append(Line2D([], [], color="#555555", marker="o", mfc="white", ms=4, linestyle=""))
            names = [*names, "mean of the others"]
    return handles, names, title


def _mark_failures(
    drawing: Drawing,
    frame: pd.DataFrame,
    options: Figure,
    panels: list[tuple[Panel, Axes]],
    places: Places,
) -> float:
    """Put a line of counts for each colour with failures below the data, on grey; the share that it takes."""
    hue = facet(options, "hue")
    values = values_of(frame, hue)
    failing = [
        (value, style)
        for value, style in zip(values, looks(hue, values), strict=True)
        if bad(select(frame, hue, value)).any()
    ]
    y = labels.quantity(options.y, options.probe)
    found = scale(frame, y, options.log)
    set_y(panels[0][1], found, y)
    if not failing:
        return 0.0
    drawing.draw_without_rendering()  # only now are the panels' heights known
    line = LINE / (72 * panels[0][1].get_window_extent().height / drawing.dpi)
    strip = min(0.6, line * len(failing) + 0.03)
    set_y(panels[0][1], found, y, strip)
    for panel, ax in panels:
        grey = Rectangle((0, 0), 1, strip - 0.02, transform=ax.transAxes, color="#f0f0f0", lw=0, zorder=2.5)
        ax.add_artist(grey)
        for index, (value, style) in enumerate(failing):
            points = select(panel.points, hue, value)
            height = (index + 0.55) * (strip - 0.02) / len(failing)
            _count(ax, points[bad(points) > 0], places, height, style)
    return strip


def _mark_usable(
    drawing: Drawing, frame: pd.DataFrame, options: Figure, panels: list[tuple[Panel, Axes]], strip: float
) -> None:
    """Put a bar for each colour's usable range above the data, from its first to its last value."""
    hue = facet(options, "hue")
    values = values_of(frame, hue)
    y = labels.quantity(options.y, options.probe)
    drawing.draw_without_rendering()  # only now are the panels' heights known
    line = BAR / (72 * panels[0][1].get_window_extent().height / drawing.dpi)
    top = line * (len(values) + 1)
    set_y(panels[0][1], scale(frame, y, options.log), y, strip, top)
    for panel, ax in panels:
        for index, (value, style) in enumerate(zip(values, looks(hue, values), strict=True)):
            found = usable_ranges(select(panel.points, hue, value), options)
            height = 1 - (index + 0.75) * line
            for low, high in found[["low", "high"]].dropna().to_numpy(float):
                across = ax.get_xaxis_transform()
                ax.plot([low, high], [height] * 2, color=style.colour, lw=3, transform=across, solid_capstyle="butt")
                ax.plot([low, high], [height] * 2, color=style.colour, marker="|", ms=7, mew=2, lw=0, transform=across)


def _count(ax: Axes, points: pd.DataFrame, places: Places, height: float, style: Look) -> None:
    """Write a cross and "2/5" at each point; where that is too wide, a cross for all, "2/5" for some."""
    width = ax.get_window_extent().width * 72 / ax.figure.dpi
    crowded = width / (len(places.values) + 0.5) < COUNT_WIDTH
    for at, (_, point) in zip(places.at(points[places.name]), points.iterrows(), strict=True):
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
