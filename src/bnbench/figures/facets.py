"""Small multiples: the panels of a figure, their titles and tick labels, and the legend above them."""

import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.text import Text
from matplotlib.transforms import BboxBase

from bnbench.figures import canvas
from bnbench.figures.plot_data import PlotData
from bnbench.figures.style import NORMAL, PAGE_HEIGHT, PAGE_WIDTH
from bnbench.tables import labels

CHARACTER = 0.62 * NORMAL  # mean width of a character in points
BOLD_CHARACTER = 0.7 * NORMAL
GAP = 0.03  # least inches between two tick labels


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One panel: its points, its row and column in the grid, and the texts above it."""

    points: pd.DataFrame
    position: tuple[int, int]
    heading: str  # of its block of panels; "" except in the first of a block
    title: str


def select(points: pd.DataFrame, name: str | None, value: Any) -> pd.DataFrame:
    """Return the points whose column `name` equals `value`, where missing equals missing; all if `name` is None."""
    if name is None:
        return points
    return points[points[name].isna() if pd.isna(value) else points[name] == value]


def values_of(points: pd.DataFrame, name: str | None) -> list[Any]:
    """Return the ordered values of a facet's column; `[None]` if there is no such facet."""
    return [None] if name is None else labels.ordered(name, points[name])


def arrange(plot: PlotData, widest: int) -> list[Panel]:
    """Return the panels that have points: a block for each value of `row`, in rows of at most `widest` panels."""
    row, col = plot.row, plot.col
    panels: list[Panel] = []
    first = 0
    for value in values_of(plot.points, row):
        block = select(plot.points, row, value)
        columns = values_of(block, col)
        width = math.ceil(len(columns) / math.ceil(len(columns) / widest))
        for index, entry in enumerate(columns):
            heading = labels.sentence(labels.phrase(row, value)) if row and not index else ""
            title = labels.sentence(labels.phrase(col, entry)) if col else ""
            position = (first + index // width, index % width)
            panels.append(Panel(points=select(block, col, entry), position=position, heading=heading, title=title))
        first += math.ceil(len(columns) / width)
    return panels


def grid_size(panels: Sequence[Panel]) -> tuple[int, int]:
    """Return the numbers of rows and columns of the grid of panels."""
    return 1 + max(panel.position[0] for panel in panels), 1 + max(panel.position[1] for panel in panels)


def grid(drawing: Drawing, panels: list[Panel], shared: bool = True) -> list[Axes]:
    """Add axes for the panels; if they share both scales, only the outer ones have tick labels."""
    rows, columns = grid_size(panels)
    drawing.set_size_inches(*size(rows, columns))
    spec = drawing.add_gridspec(rows, columns)
    taken = {panel.position for panel in panels}
    found: list[Axes] = []
    for panel in panels:
        first = found[0] if found and shared else None
        axes = drawing.add_subplot(spec[panel.position], sharex=first, sharey=first)
        left = panel.position[1] == 0
        below = (panel.position[0] + 1, panel.position[1]) in taken
        axes.tick_params(length=2.5, labelleft=left or not shared, labelbottom=not below or not shared)
        found.append(axes)
    return found


def size(rows: int, columns: int) -> tuple[float, float]:
    """Return width and height of a figure in inches, within an A4 page."""
    width = 4.4 if columns == 1 else PAGE_WIDTH
    height = {1: 2.5, 2: 2.1, 3: 1.7}.get(columns, 1.6)
    room = 0.8  # legend and axis label
    return width, room + rows * max(1.0, min(height, (PAGE_HEIGHT - room) / rows))


def title_panels(panels: list[Panel], axes: Sequence[Axes], notes: Sequence[str] | None = None) -> None:
    """Write each panel's title, its note below wrapped to the panel's width, and the headings of blocks."""
    _, columns = grid_size(panels)
    width = size(1, columns)[0]
    characters = int(72 * width / columns / CHARACTER) - 2
    for panel, ax, note in zip(panels, axes, notes or [""] * len(panels), strict=True):
        lines = [line for text in (panel.title, note) for line in textwrap.wrap(text, characters)]
        ax.set_title("\n".join(lines))
        if panel.heading:  # matplotlib aligns the last lines of both titles
            heading = textwrap.fill(panel.heading, int(72 * width / BOLD_CHARACTER) - 8)
            ax.set_title(heading + "\n " * len(lines), loc="left", fontweight="bold")


def add_legend(drawing: Drawing, handles: Sequence[Any], names: list[str], title: str | None) -> None:
    """Add one legend above all panels, in as many columns as the width allows, to be read row by row."""
    if not names:
        return
    width = 72 * drawing.get_size_inches()[0]
    names = [textwrap.fill(name, int(width / CHARACTER) - 8) for name in names]
    longest = max(len(line) for name in names for line in name.splitlines())
    columns = max(1, min(int(width // (CHARACTER * longest + 4 * NORMAL)), len(names)))
    # matplotlib fills column by column
    order = [entry for column in range(columns) for entry in range(column, len(names), columns)]
    drawing.legend(
        [handles[entry] for entry in order],
        [names[entry] for entry in order],
        title=title,
        loc="outside upper center",
        ncols=columns,
        frameon=False,
        columnspacing=1.4,
        handlelength=2.2,
    )


def legend_names(hue: str, values: list[object]) -> tuple[list[str], str | None]:
    """Return the names of a legend's entries, and the legend's title where the names are bare numbers."""
    if any(isinstance(value, str) for value in values):
        return [labels.phrase(hue, value) for value in values], None
    return [labels.short(hue, value) for value in values], labels.column(hue)


def separate_tick_labels(drawing: Drawing, categories: bool) -> None:
    """Keep the labels of x ticks from overlapping: rotate names, hide numbers other than round ones.

    The layout is final after that.
    """
    canvas.lay_out(drawing)
    rotated = False
    for ax in drawing.axes:
        texts = tick_labels(ax)
        boxes = [text.get_window_extent() for text in texts]
        if not overlap(boxes, drawing.dpi):
            continue
        if categories:
            rotated = True
            ax.tick_params(axis="x", labelrotation=30)
            for text in texts:
                text.set(ha="right", rotation_mode="anchor")
        else:
            _thin(texts, boxes, drawing.dpi)
    if rotated:  # hidden labels keep their room
        canvas.lay_out(drawing)
    canvas.settle(drawing)


def tick_labels(ax: Axes) -> list[Text]:
    """Return the visible labels of x ticks: matplotlib does not draw those of ticks outside the limits."""
    low, high = sorted(ax.get_xlim())
    found = [tick.label1 for tick in ax.xaxis.get_major_ticks() if low <= tick.get_loc() <= high]
    return [text for text in found if text.get_visible() and text.get_text()]


def overlap(boxes: Iterable[BboxBase], dpi: float) -> bool:
    """Return whether neighbours in a row of boxes, in pixels, come closer than `GAP`."""
    ordered = sorted(boxes, key=lambda box: box.x0)
    return any(left.x1 + GAP * dpi > right.x0 for left, right in pairwise(ordered))


def _thin(texts: Sequence[Text], boxes: Sequence[BboxBase], dpi: float) -> None:
    """Hide labels until the rest do not overlap; powers of ten stay first."""

    def digits(label: tuple[Text, BboxBase]) -> int:
        text = label[0].get_text()
        return len(text.replace(",", "").strip("0.")) + (text.strip("0.,") != "1")

    shown: list[BboxBase] = []
    for text, box in sorted(zip(texts, boxes, strict=True), key=digits):
        if overlap([*shown, box], dpi):
            text.set_alpha(0)  # set_visible would be undone at the next drawing
        else:
            shown.append(box)
