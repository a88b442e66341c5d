"""Hyperplanes W x + b = 0 of the first layer in the plane of two inputs, with training images as dots."""

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from bnbench.figures import canvas
from bnbench.figures.captions import line_name
from bnbench.figures.facets import arrange, grid, title_panels
from bnbench.figures.figure_kind import FigureKind
from bnbench.figures.plot_data import PlotData, first_seed_rows
from bnbench.tables import labels

WIDEST = 3  # panels side by side
TENTH = 0.1


def draw(plot: PlotData) -> Drawing:
    """Draw images as dots coloured by class and units as lines, the other inputs at their mean.

    Each panel has its own scale: preprocessings differ in it by two orders of magnitude. Its note is the share of
    units that cut the data.
    """
    drawing = canvas.new()
    panels = arrange(plot, WIDEST)
    axes = grid(drawing, panels, shared=False)
    for panel, ax in zip(panels, axes, strict=True):
        _draw_panel(ax, panel.points)
    title_panels(
        panels, axes, [f"{labels.percent(share_cutting(panel.points), 0)} cut off a tenth" for panel in panels]
    )
    drawing.supxlabel("Input of largest standard deviation", fontsize="medium")
    drawing.supylabel("Input of second largest standard deviation", fontsize="medium")
    return drawing


def share_cutting(points: pd.DataFrame) -> float:
    """Return the share of first-layer units whose hyperplane has at least a tenth of the images on either side."""
    return float(points.loc[(points["quantity"] == "share_cutting") & (points["at"] == TENTH), "value"].iloc[0])


def _values(points: pd.DataFrame, quantity: str) -> "npt.NDArray[np.float64]":
    return points[points["quantity"] == quantity].sort_values("item")["value"].to_numpy(float)


def _draw_panel(ax: Axes, points: pd.DataFrame) -> None:
    x, y, classes = (_values(points, name) for name in ("image_1", "image_2", "label"))
    colours = [mpl.color_sequences["tab10"][int(label) % 10] for label in classes]
    ax.scatter(x, y, c=colours, s=8, lw=0, zorder=3)
    margins = [0.25 * (np.ptp(values) or 1.0) for values in (x, y)]
    low, high = (x.min() - margins[0], y.min() - margins[1]), (x.max() + margins[0], y.max() + margins[1])
    ends = np.array([low[0], high[0]])
    for a, b, c in zip(*(_values(points, name) for name in ("weight_1", "weight_2", "shift")), strict=True):
        if b:
            ax.plot(ends, -(a * ends + c) / b, color="#555555", lw=0.8, zorder=2)
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xlabel="", ylabel="")


def caption(plot: PlotData) -> list[str]:
    """Describe dots and lines, and the share of units that cut the data in each panel."""
    sentences = [
        "Dots are training images, coloured by class, in the plane of the two inputs of largest mean standard"
        " deviation; lines are where ten units of the untrained first layer are 0, with the other inputs at their mean."
        " Each panel shows one run, the one with the smallest seed."
    ]
    for values, part in plot.lines():
        cut = labels.percent(share_cutting(part))
        sentences.append(f"{line_name(values)}: {cut} of all units cut off at least a tenth of the images.")
    return sentences


KIND = FigureKind(data=first_seed_rows, draw=draw, caption=caption)
