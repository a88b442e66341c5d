"""Ridge plots: the histograms of a layer's output, recorded over training, one behind the other."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import FixedFormatter, FixedLocator

from bnbench.figures import canvas
from bnbench.figures.captions import line_name
from bnbench.figures.facets import arrange, grid, grid_size, title_panels
from bnbench.figures.figure_kind import FigureKind
from bnbench.figures.plot_data import PlotData, first_seed_rows
from bnbench.figures.style import shades
from bnbench.tables import labels

WIDEST = 2  # panels side by side
OVERLAP = 2.5  # greatest height of a ridge, in distances between ridges


def draw(plot: PlotData) -> Drawing:
    """Draw a ridge for each recorded step, the first at the back; its height is the share of values in a bin."""
    points, drawing = plot.points, canvas.new()
    panels = arrange(plot, WIDEST)
    axes = grid(drawing, panels)
    steps = sorted(points["step"].unique())
    width, height = drawing.get_size_inches()
    drawing.set_size_inches(width, max(height, 0.8 + grid_size(panels)[0] * 2.4))
    keys = [name for name in points.columns if name not in ("item", "at", "value")]
    tops = [float(density(part.sort_values("item")).max()) for _, part in points.groupby(keys, dropna=False)]
    top = float(np.median(tops)) or 1.0
    for panel, ax in zip(panels, axes, strict=True):
        _draw_panel(ax, panel.points, steps, OVERLAP / top)
    title_panels(panels, axes)
    shown = steps[:: max(1, len(steps) // 5)]
    axes[0].yaxis.set_major_locator(FixedLocator([-steps.index(step) for step in shown]))
    axes[0].yaxis.set_major_formatter(FixedFormatter([labels.number(step) for step in shown]))
    low, high = _limits(points)
    axes[0].set_xlim(low, high)
    axes[0].set_ylim(-len(steps) + 0.5, OVERLAP + 0.3)
    drawing.supxlabel(labels.sentence(_name(plot)), fontsize="medium")
    drawing.supylabel(labels.column("step"), fontsize="medium")
    return drawing


def _name(plot: PlotData) -> str:
    """Return the name of what the histograms count."""
    return plot.options.y if isinstance(plot.options.y, str) else "value"


def _draw_panel(ax: Axes, points: pd.DataFrame, steps: list[int], scale: float) -> None:
    for index, (step, colour) in enumerate(zip(steps, shades(len(steps)), strict=True)):
        line = points[points["step"] == step].sort_values("item")
        if line.empty:
            continue
        height = (density(line) * scale).clip(upper=OVERLAP + 0.2) - index
        ax.fill_between(line["at"], -index, height, color=colour, alpha=0.75, lw=0, zorder=index + 2)
        ax.plot(line["at"], height, color="white", lw=0.5, zorder=index + 2)
    ax.grid(visible=False)


def density(line: pd.DataFrame) -> "pd.Series[float]":
    """Return the share of values per unit of their size; the bins of one histogram are equally wide."""
    edges = line["at"]
    width = (edges.max() - edges.min()) / max(1, len(edges) - 1)
    return line["value"] / (width or 1.0)


def _limits(points: pd.DataFrame) -> tuple[float, float]:
    """Return the lowest and highest bin that hold at least a thousandth of the values."""
    seen = points[points["value"] > 1e-3]["at"]
    return float(seen.min()), float(seen.max())


def caption(plot: PlotData) -> list[str]:
    """Describe what a ridge is, and mean and standard deviation of the values at the first and the last step."""
    steps = sorted(plot.points["step"].unique())
    sentences = [
        f"Each ridge is the histogram of the {_name(plot)} at one recorded step, {labels.number(steps[0])} to"
        f" {labels.number(steps[-1])}; each panel shows one run, the one with the smallest seed."
    ]
    for values, part in plot.lines():
        first, last = (_moments(part[part["step"] == step]) for step in (steps[0], steps[-1]))
        means = f"mean {first[0]:.2g} at the first step and {last[0]:.2g} at the last"
        sentences.append(f"{line_name(values)}: {means}, standard deviation {first[1]:.2g} and {last[1]:.2g}.")
    return sentences


def _moments(histogram: pd.DataFrame) -> tuple[float, float]:
    """Return mean and standard deviation of the values that a histogram counts."""
    weights, bins = histogram["value"].to_numpy(float), histogram["at"].to_numpy(float)
    mean = float((weights * bins).sum() / weights.sum())
    return mean, float((weights * (bins - mean) ** 2).sum() / weights.sum()) ** 0.5


KIND = FigureKind(data=first_seed_rows, draw=draw, caption=caption)
