"""Small multiples: which panels a figure has, where they stand, their titles, ticks and the one legend."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.text import Text

from bnbench.figures.plot_data import column
from bnbench.figures.style import NORMAL, PAGE_HEIGHT, PAGE_WIDTH
from bnbench.params.study_schema import Figure
from bnbench.tables import labels

CHARACTER = 0.62 * NORMAL  # mean width of a character in points
BOLD_CHARACTER = 0.7 * NORMAL


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A panel: its points, its place in the grid, and the texts above it."""

    points: pd.DataFrame
    place: tuple[int, int]
    heading: str  # of its block of panels; "" but for the first of a block
    title: str


def select(points: pd.DataFrame, name: str | None, value: Any) -> pd.DataFrame:
    """The points where the column `name` has `value`, a missing one included."""
    if name is None:
        return points
    return points[points[name].isna() if pd.isna(value) else points[name] == value]


def facet(options: Figure, name: str) -> str | None:
    """The column that a figure's `hue`, `col` or `row` is."""
    setting: str | None = getattr(options, name)
    return None if setting is None else column(setting, options.probe)


def values_of(points: pd.DataFrame, name: str | None) -> list[Any]:
    """The values of a facet's column, ordered; one None where there is no such facet."""
    return [None] if name is None else labels.ordered(name, points[name])


def arrange(points: pd.DataFrame, options: Figure, widest: int) -> list[Panel]:
    """The panels with points in them: a block for each row value, in lines of at most `widest` panels."""
    row, col = facet(options, "row"), facet(options, "col")
    panels: list[Panel] = []
    first = 0
    for value in values_of(points, row):
        block = select(points, row, value)
        columns = values_of(block, col)
        width = math.ceil(len(columns) / math.ceil(len(columns) / widest))
        for index, entry in enumerate(columns):
            heading = labels.sentence(labels.phrase(row, value)) if row and not index else ""
            title = labels.sentence(labels.phrase(col, entry)) if col else ""
            place = (first + index // width, index % width)
            panels.append(Panel(points=select(block, col, entry), place=place, heading=heading, title=title))
        first += math.ceil(len(columns) / width)
    return panels


def grid(drawing: Drawing, panels: list[Panel], shared: bool = True) -> list[Axes]:
    """Axes for the panels; if they share both scales, tick labels stand at the outer edges only."""
    rows, columns = 1 + max(p.place[0] for p in panels), 1 + max(p.place[1] for p in panels)
    drawing.set_size_inches(*size(rows, columns))
    spec = drawing.add_gridspec(rows, columns)
    taken = {panel.place for panel in panels}
    found: list[Axes] = []
    for panel in panels:
        first = found[0] if found and shared else None
        axes = drawing.add_subplot(spec[panel.place], sharex=first, sharey=first)
        below = (panel.place[0] + 1, panel.place[1]) in taken
        axes.tick_params(length=2.5, labelleft=panel.place[1] == 0 or not shared, labelbottom=not below or not shared)
        found.append(axes)
    return found


def size(rows: int, columns: int) -> tuple[float, float]:
    """Width and height in inches, within an A4 page."""
    width = 4.4 if columns == 1 else PAGE_WIDTH
    height = {1: 2.5, 2: 2.1, 3: 1.7}.get(columns, 1.6)
    room = 0.8  # legend and axis label
    return width, room + rows * max(1.0, min(height, (PAGE_HEIGHT - room) / rows))


def name_panels(panels: list[Panel], axes: Sequence[Axes], notes: Sequence[str]) -> None:
    """Write each panel's title with its note below, wrapped to its width, and the headings of blocks."""
    columns = 1 + max(panel.place[1] for panel in panels)
    width = size(1, columns)[0]
    characters = int(72 * width / columns / CHARACTER) - 2
    for panel, ax, note in zip(panels, axes, notes, strict=True):
        lines = [line for text in (panel.title, note) for line in textwrap.wrap(text, characters)]
        ax.set_title("\n".join(lines))
        if panel.heading:  # matplotlib aligns the last lines of both titles
            heading = textwrap.fill(panel.heading, int(72 * width / BOLD_CHARACTER) - 8)
            ax.set_title(heading + "\n " * len(lines), loc="left", fontweight="bold")


def add_legend(drawing: Drawing, handles: Sequence[Any], names: list[str], title: str | None) -> None:
    """One legend above all panels, in as many columns as the width allows, to be read line by line."""
    if not names:
        return
    width = 72 * drawing.get_size_inches()[0]
    names = [textwrap.fill(name, int(width / CHARACTER) - 8) for name in names]
    longest = max(len(line) for name in names for line in name.splitlines())
    columns = max(1, min(int(width // (CHARACTER * longest + 4 * NORMAL)), len(names)))
    order = [place for column in range(columns) for place in range(column, len(names), columns)]  # it fills columns
    drawing.legend(
        [handles[place] for place in order],
        [names[place] for place in order],
        title=title,
        loc="outside upper center",
        ncols=columns,
        frameon=False,
        columnspacing=1.4,
        handlelength=2.2,
    )


def part_labels(drawing: Drawing, categories: bool) -> None:
    """Keep the labels of x ticks apart: names are turned, numbers left out, the round ones last."""
    drawing.draw_without_rendering()
    for ax in drawing.axes:
        texts = tick_labels(ax)
        if not overlap(texts):
            continue
        if categories:
            ax.tick_params(axis="x", labelrotation=30)
            for text in texts:
                text.set(ha="right", rotation_mode="anchor")
        else:
            _thin(texts)
    drawing.draw_without_rendering()


def tick_labels(ax: Axes) -> list[Text]:
    """The labels of x ticks that are seen: those of ticks outside the limits are not drawn."""
    low, high = sorted(ax.get_xlim())
    found = [tick.label1 for tick in ax.xaxis.get_major_ticks() if low <= tick.get_loc() <= high]
    return [text for text in found if text.get_visible() and text.get_text()]


def overlap(texts: Sequence[Text], gap: float = 3.0) -> bool:
    """Whether neighbours in a row of texts come closer than `gap` pixels."""
    boxes = sorted((text.get_window_extent() for text in texts), key=lambda box: box.x0)
    return any(left.x1 + gap > right.x0 for left, right in pairwise(boxes))


def _thin(texts: Sequence[Text]) -> None:
    """Hide labels until the rest stand apart; powers of ten are kept first."""

    def roundness(text: Text) -> int:
        return len(text.get_text().replace(",", "").strip("0.")) + (text.get_text().strip("0.,") != "1")

    kept: list[Text] = []
    for text in sorted(texts, key=roundness):
        if overlap([*kept, text]):
            text.set_alpha(0)  # a tick's label becomes visible again at the next drawing
        else:
            kept.append(text)
