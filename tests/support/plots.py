"""Drawings of synthetic points, and a check that no texts overlap."""

import itertools

import pandas as pd
from matplotlib.figure import Figure as Drawing
from matplotlib.text import Text

from bnbench.figures.captions import caption
from bnbench.figures.figure_kind import find
from bnbench.figures.plot_data import PlotData
from bnbench.figures.style import styled
from bnbench.params.study_schema import Figure


def plotted(points: pd.DataFrame, options: Figure) -> PlotData:
    """Return the data of a figure from given points."""
    return PlotData(options=options, table=points)


def drawn(plot: PlotData) -> Drawing:
    """Draw the figure and return it."""
    with styled():
        return find(plot.options.kind).draw(plot)


def described(plot: PlotData) -> str:
    """Return the caption without the backslashes of Markdown."""
    return caption(plot).replace("\\", "")


def texts(drawing: Drawing) -> list[Text]:
    """Return all visible texts; of tick labels, those within the axis limits."""
    drawing.draw_without_rendering()
    ticks: dict[int, bool] = {}
    for axis in (axis for ax in drawing.axes for axis in (ax.xaxis, ax.yaxis)):
        low, high = sorted(axis.get_view_interval())
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            ticks[id(tick.label1)] = bool(low <= tick.get_loc() <= high)
            ticks[id(tick.label2)] = False
    found = [text for text in drawing.findobj(Text) if text.get_visible() and text.get_alpha() != 0]
    return [text for text in found if isinstance(text, Text) and text.get_text().strip() and ticks.get(id(text), True)]


def assert_apart(drawing: Drawing) -> None:
    """Check that all texts are within the figure and that no two overlap."""
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts(drawing)]
    canvas = drawing.bbox
    for text, box in boxes:
        assert box.x0 >= canvas.x0 - 1, text
        assert box.x1 <= canvas.x1 + 1, text
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        wide = min(a.x1, b.x1) - max(a.x0, b.x0)
        high = min(a.y1, b.y1) - max(a.y0, b.y0)
        blank = "\n " in one or "\n " in other  # a title's box includes its empty lines
        assert wide <= 0.5 or high <= 0.5 or blank, (one, other)
