"""The first layer's hyperplanes W x + b = 0 in the plane of two inputs, with the training images in it."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from bnbench.figures.facets import arrange, grid, name_panels
from bnbench.params.study_schema import Figure
from bnbench.tables import labels

WIDEST = 3  # panels side by side
TENTH = 0.1


def draw_hyperplanes(frame: pd.DataFrame, options: Figure) -> Drawing:
    """Images as dots coloured by class, units as lines, the other inputs at their mean; above, the share that cut.

    Each panel has its own scale: the preprocessings differ in it by two orders of magnitude.
    """
    drawing = Drawing(layout="constrained")
    panels = arrange(frame, options, WIDEST)
    axes = grid(drawing, panels, shared=False)
    notes = []
    for panel, ax in zip(panels, axes, strict=True):
        _scatter(ax, panel.points)
        notes.append(f"{labels.percent(share(panel.points), 0)} cut off a tenth")
    name_panels(panels, axes, notes)
    drawing.supxlabel("Input of largest mean deviation", fontsize="medium")
    drawing.supylabel("Input of second largest mean deviation", fontsize="medium")
    return drawing


def share(points: pd.DataFrame) -> float:
    """The share of first-layer units whose hyperplane leaves at least a tenth of the images on either side."""
    return float(points.loc[(points["quantity"] == "share_cutting") & (points["at"] == TENTH), "value"].iloc[0])


def _values(points: pd.DataFrame, quantity: str) -> "np.typing.NDArray[np.float64]":
    return points[points["quantity"] == quantity].sort_values("item")["value"].to_numpy(float)


def _scatter(ax: Axes, points: pd.DataFrame) -> None:
    x, y, classes = (_values(points, name) for name in ("image_1", "image_2", "label"))
    colours = [mpl.color_sequences["tab10"][int(label) % 10] for label in classes]
    ax.scatter(x, y, c=colours, s=8, lw=0, zorder=3)
    room = [0.25 * (np.ptp(values) or 1.0) for values in (x, y)]
    low, high = (x.min() - room[0], y.min() - room[1]), (x.max() + room[0], y.max() + room[1])
    ends = np.array([low[0], high[0]])
    for a, b, c in zip(*(_values(points, name) for name in ("weight_1", "weight_2", "shift")), strict=True):
        if b:
            ax.plot(ends, -(a * ends + c) / b, color="#555555", lw=0.8, zorder=2)
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xlabel="", ylabel="")
