"""Ridges: the histograms of a layer's output, recorded over training, one behind the other."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import FixedFormatter, FixedLocator

from bnbench.figures.facets import arrange, grid, name_panels
from bnbench.figures.style import shades
from bnbench.params.study_schema import Figure
from bnbench.tables import labels

WIDEST = 2  # panels side by side
OVERLAP = 2.5  # a ridge is at most so many lines high


def draw_ridges(frame: pd.DataFrame, options: Figure) -> Drawing:
    """A ridge for each recorded step, the first at the back; the height is the share of values in a bin."""
    drawing = Drawing(layout="constrained")
    panels = arrange(frame, options, WIDEST)
    axes = grid(drawing, panels)
    steps = sorted(frame["step"].unique())
    width, height = drawing.get_size_inches()
    rows = 1 + max(panel.place[0] for panel in panels)
    drawing.set_size_inches(width, max(height, 0.8 + rows * 2.4))
    keys = [name for name in frame.columns if name not in ("item", "at", "value")]
    tops = [float(density(part.sort_values("item")).max()) for _, part in frame.groupby(keys, dropna=False)]
    top = float(np.median(tops)) or 1.0
    for panel, ax in zip(panels, axes, strict=True):
        _ridges(ax, panel.points, steps, OVERLAP / top)
    name_panels(panels, axes, [""] * len(panels))
    shown = steps[:: max(1, len(steps) // 5)]
    axes[0].yaxis.set_major_locator(FixedLocator([-steps.index(step) for step in shown]))
    axes[0].yaxis.set_major_formatter(FixedFormatter([labels.number(step) for step in shown]))
    low, high = _limits(frame)
    axes[0].set_xlim(low, high)
    axes[0].set_ylim(-len(steps) + 0.5, OVERLAP + 0.3)
    drawing.supxlabel(labels.sentence(options.y if isinstance(options.y, str) else "value"), fontsize="medium")
    drawing.supylabel(labels.column("step"), fontsize="medium")
    return drawing


def _ridges(ax: Axes, points: pd.DataFrame, steps: list[int], scale: float) -> None:
    for index, (step, colour) in enumerate(zip(steps, shades(len(steps)), strict=True)):
        line = points[points["step"] == step].sort_values("item")
        if line.empty:
            continue
        height = (density(line) * scale).clip(upper=OVERLAP + 0.2) - index
        ax.fill_between(line["at"], -index, height, color=colour, alpha=0.75, lw=0, zorder=index + 2)
        ax.plot(line["at"], height, color="white", lw=0.5, zorder=index + 2)
    ax.grid(visible=False)


def density(line: pd.DataFrame) -> "pd.Series[float]":
    """Share of values per unit of their size: the bins of one histogram are equally wide."""
    edges = line["at"]
    width = (edges.max() - edges.min()) / max(1, len(edges) - 1)
    return line["value"] / (width or 1.0)


def _limits(frame: pd.DataFrame) -> tuple[float, float]:
    """The span of bins that hold at least a thousandth of the values."""
    seen = frame[frame["value"] > 1e-3]["at"]
    return float(seen.min()), float(seen.max())
