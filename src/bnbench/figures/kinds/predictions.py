"""Predicted classes of the first test images, with the statistics of the one image and with the population's."""

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from bnbench.figures import canvas
from bnbench.figures.captions import line_name
from bnbench.figures.facets import select, values_of
from bnbench.figures.figure_kind import FigureKind
from bnbench.figures.plot_data import PlotData, first_seed_rows
from bnbench.figures.style import NORMAL, PAGE_WIDTH
from bnbench.tables import labels

ACROSS = 10  # predictions in a row
STATISTICS = {"batch": "statistics of the one image", "population": "population statistics"}


def draw(plot: PlotData) -> Drawing:
    """Draw a row of panels for each value of `col`: the predicted classes, coloured by class, with the accuracy."""
    values = values_of(plot.points, plot.col)
    kinds = [name for name in STATISTICS if (plot.points["quantity"] == f"predicted_{name}").any()]
    drawing = canvas.new(figsize=(PAGE_WIDTH, 2.7 * len(values)))
    axes = drawing.subplots(len(values), len(kinds), squeeze=False)
    for line, value in zip(axes, values, strict=True):
        points = select(plot.points, plot.col, value)
        for ax, kind in zip(line, kinds, strict=True):
            name = f"{labels.phrase(plot.col, value)}, " if plot.col else ""
            right = labels.percent(accuracy(points, kind), 0)
            ax.set_title(labels.sentence(f"{name}{STATISTICS[kind]}: {right} right"))
            _write(ax, [int(digit) for digit in _predicted(points, kind).dropna()])
    return drawing


def accuracy(points: pd.DataFrame, kind: str) -> float:
    """Return the accuracy of the predictions with one kind of `STATISTICS`; NaN if there are none."""
    found = points[points["quantity"] == f"accuracy_of_first_{kind}"]["value"]
    return float(found.iloc[0]) if len(found) else float("nan")


def _predicted(points: pd.DataFrame, kind: str) -> "pd.Series[float]":
    return points[points["quantity"] == f"predicted_{kind}"].sort_values("item")["value"]


def _write(ax: Axes, digits: list[int]) -> None:
    colours = mpl.color_sequences["tab10"]
    for index, digit in enumerate(digits):
        x, y = index % ACROSS, index // ACROSS
        ax.text(x, y, str(digit), ha="center", va="center", fontsize=NORMAL, color=colours[digit % 10])
    ax.set(xlim=(-0.6, ACROSS - 0.4), ylim=(max(1, len(digits) // ACROSS) - 0.3, -0.7), xticks=[], yticks=[])
    ax.grid(visible=False)


def caption(plot: PlotData) -> list[str]:
    """Describe how many images and runs there are, how many different classes are predicted, and the accuracy."""
    images = max(len(_predicted(part, kind)) for _, part in plot.lines() for kind in STATISTICS)
    sentences = [
        f"Predicted classes of the first {images} test images, in their order, each image predicted alone, by the run"
        " with the smallest seed."
    ]
    for values, part in plot.lines():
        for kind, name in STATISTICS.items():
            found = _predicted(part, kind)
            if len(found):
                classes = found.nunique()
                text = f"always {int(found.iloc[0])}" if classes == 1 else f"{classes} different classes"
                right = labels.percent(accuracy(part, kind), 0)
                sentences.append(f"{line_name(values, name)}: {text}, {right} right.")
    return sentences


KIND = FigureKind(data=first_seed_rows, draw=draw, caption=caption)
