"""Predictions of the first test images, digit by digit: with the statistics of the one image and the population's."""

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from bnbench.figures.facets import facet, select, values_of
from bnbench.figures.style import NORMAL, PAGE_WIDTH
from bnbench.params.study_schema import Figure
from bnbench.tables import labels

ACROSS = 10  # predictions in a line
STATISTICS = {"batch": "statistics of the one image", "population": "population statistics"}


def draw_predictions(frame: pd.DataFrame, options: Figure) -> Drawing:
    """A line of panels for each value of `col`: the predicted classes, coloured by class, with what share is right."""
    col = facet(options, "col")
    values = values_of(frame, col)
    kinds = [name for name in STATISTICS if (frame["quantity"] == f"predicted_{name}").any()]
    drawing = Drawing(layout="constrained", figsize=(PAGE_WIDTH, 2.7 * len(values)))
    axes = drawing.subplots(len(values), len(kinds), squeeze=False)
    for line, value in zip(axes, values, strict=True):
        points = select(frame, col, value)
        for ax, kind in zip(line, kinds, strict=True):
            found = points[points["quantity"] == f"predicted_{kind}"].sort_values("item")["value"]
            right = share_right(points, kind)
            name = f"{labels.phrase(col, value)}, " if col else ""
            ax.set_title(labels.sentence(f"{name}{STATISTICS[kind]}: {labels.percent(right, 0)} right"))
            _write(ax, [int(digit) for digit in found.dropna()])
    return drawing


def share_right(points: pd.DataFrame, kind: str) -> float:
    """The accuracy of those predictions; NaN if there are none."""
    found = points[points["quantity"] == f"accuracy_of_first_{kind}"]["value"]
    return float(found.iloc[0]) if len(found) else float("nan")


def _write(ax: Axes, digits: list[int]) -> None:
    colours = mpl.color_sequences["tab10"]
    for place, digit in enumerate(digits):
        x, y = place % ACROSS, place // ACROSS
        ax.text(x, y, str(digit), ha="center", va="center", fontsize=NORMAL, color=colours[digit % 10])
    ax.set(xlim=(-0.6, ACROSS - 0.4), ylim=(max(1, len(digits) // ACROSS) - 0.3, -0.7), xticks=[], yticks=[])
    ax.grid(visible=False)
