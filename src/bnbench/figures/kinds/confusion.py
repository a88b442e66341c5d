"""Confusion matrices: the share of the test images of each class that is predicted as each class."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import PercentFormatter

from bnbench.figures import canvas
from bnbench.figures.captions import line_name
from bnbench.figures.facets import Panel, arrange, grid, grid_size, title_panels
from bnbench.figures.figure_kind import FigureKind
from bnbench.figures.plot_data import Encoding, PlotData
from bnbench.figures.source import VALUE, Source, named_rows
from bnbench.figures.squares import draw_squares
from bnbench.figures.style import SMALL
from bnbench.params.study_schema import Figure
from bnbench.tables import labels

WIDEST = 2  # panels side by side
WRITTEN = 150  # squares of a panel up to which the shares are written
TRUE, PREDICTED = "true_class", "predicted_class"


def data(source: Source, options: Figure) -> pd.DataFrame:
    """Return a row per panel and pair of true and predicted class: the share of the true class, mean over seeds."""
    columns = Encoding(options=options)
    rows = named_rows(source, options)
    rows = rows[rows["quantity"] == "images"].astype({TRUE: int, PREDICTED: int})
    images = rows.groupby(["run_id", TRUE])[VALUE].transform("sum")
    rows = rows.assign(share=rows[VALUE] / images)
    return columns.average(rows, [*columns.facets, TRUE, PREDICTED], "share", name="share")


def draw(plot: PlotData) -> Drawing:
    """Draw the shares of each true class as colours, and in percent in the squares."""
    drawing = canvas.new()
    panels = arrange(plot, WIDEST)
    axes = grid(drawing, panels)
    rows, columns = grid_size(panels)
    side = drawing.get_size_inches()[0] / columns
    drawing.set_size_inches(side * columns, 0.6 + rows * 0.86 * side)
    for panel, ax in zip(panels, axes, strict=True):
        _draw_panel(ax, panel.points)
    title_panels(panels, axes)
    _label_axes(panels, axes)
    bar = drawing.colorbar(axes[0].collections[0], ax=axes, label="Share of the true class (%)", shrink=0.8)
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1, symbol=""))
    return drawing


def _draw_panel(ax: Axes, points: pd.DataFrame) -> None:
    table = points.pivot(index=TRUE, columns=PREDICTED, values="mean")
    texts = (100 * table).map(lambda value: labels.DASH if pd.isna(value) else f"{value:.0f}").to_numpy()
    draw_squares(ax, table, Normalize(0, 1), texts if len(table) ** 2 <= WRITTEN else None, 6)
    ax.set_aspect("equal")
    box = ax.get_window_extent()
    every = _every(ax, box.width, len(table.columns)), _every(ax, box.height, len(table))
    ax.set_xticks(np.arange(len(table.columns))[:: every[0]] + 0.5, [f"{name}" for name in table.columns[:: every[0]]])
    ax.set_yticks(
        np.arange(len(table))[:: every[1]] + 0.5, [f"{name}" for name in table.index[:: every[1]]], va="center"
    )
    ax.tick_params(labelrotation=0)


def _every(ax: Axes, pixels: float, classes: int) -> int:
    """Return which of many classes are named: each, each second ..., as there is room for in a length."""
    return 1 + classes // max(1, int(72 * pixels / ax.figure.dpi / SMALL))


def _label_axes(panels: Sequence[Panel], axes: Sequence[Axes]) -> None:
    """Label the outer axes one by one: a panel is higher than its square, which a label of the figure would leave."""
    bottom = {panel.position[1]: ax for panel, ax in zip(panels, axes, strict=True)}
    for ax in bottom.values():
        ax.set_xlabel(labels.column(PREDICTED))
    for panel, ax in zip(panels, axes, strict=True):
        if panel.position[1] == 0:
            ax.set_ylabel(labels.column(TRUE))


def caption(plot: PlotData) -> list[str]:
    """Describe the squares and, of each panel, the mean over classes, the extremes and the most frequent confusion."""
    seeds = int(plot.points["n"].max())
    sentences = [
        "Each row is a true class: the share of its test images that is predicted as each class, mean over"
        f" {seeds} seeds. The diagonal is the accuracy of the class."
    ]
    for values, part in plot.lines():
        own = part[part[TRUE] == part[PREDICTED]].set_index(TRUE)["mean"].round(12)  # rounding must not break ties
        wrong = part[part[TRUE] != part[PREDICTED]]
        most = wrong.iloc[int(wrong["mean"].round(12).to_numpy(float).argmax())]
        true, predicted = int(most[TRUE]), int(most[PREDICTED])
        sentences.append(
            f"{line_name(values)}: the mean over the classes is {labels.percent(own.mean(), 2)}; the best class is"
            f" {own.idxmax()} ({labels.percent(own.max())}), the worst {own.idxmin()} ({labels.percent(own.min())});"
            f" the most frequent confusion is class {true} predicted as {predicted}"
            f" ({labels.percent(most['mean'])})."
        )
    return sentences


KIND = FigureKind(data=data, draw=draw, caption=caption)
