"""Heat maps: the mean of one measure over two settings, a panel for each value of a third."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure as Drawing
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, NullFormatter

from bnbench.figures import canvas
from bnbench.figures.captions import count_range, describe_failures, fixed_settings, line_name
from bnbench.figures.facets import Panel, arrange, grid, grid_size, title_panels
from bnbench.figures.figure_kind import FigureKind
from bnbench.figures.plot_data import Encoding, PlotData
from bnbench.figures.source import Source, named_rows, value_columns
from bnbench.figures.squares import draw_squares
from bnbench.figures.style import CROSS
from bnbench.params.study_schema import Figure
from bnbench.tables import labels

WIDEST = 2  # panels side by side
WRITTEN = 150  # squares of a panel up to which the values are written
DECADES_FROM = 30  # values that span more than so many times the smallest get a log colour scale


def data(source: Source, options: Figure) -> pd.DataFrame:
    """Return a row per square: the mean over seeds for each value of `x` and `against`."""
    columns = Encoding(options=options)
    by = [*columns.facets, *reversed(columns.axes)]
    return columns.average(named_rows(source, options), by, value_columns(options)[0])


def draw(plot: PlotData) -> Drawing:
    """Draw means over seeds as colours, written into the squares, with one colour scale for all panels."""
    drawing = canvas.new()
    panels = arrange(plot, WIDEST)
    axes = grid(drawing, panels)
    x, y = plot.axes
    factor = 100 if labels.is_accuracy(plot.y) else 1
    colours = _normalisation(plot.points["mean"] * factor)
    rows = plot.points[y].nunique()
    width, _ = drawing.get_size_inches()
    drawing.set_size_inches(width, 0.9 + grid_size(panels)[0] * (0.5 + 0.2 * max(rows, 6)))
    for panel, ax in zip(panels, axes, strict=True):
        _draw_panel(ax, panel, (x, y), factor, colours)
    title_panels(panels, axes)
    drawing.supxlabel(labels.column(x), fontsize="medium")
    drawing.supylabel(labels.column(y), fontsize="medium")
    _add_colour_bar(drawing, axes, labels.column(plot.y) + (" (%)" if factor == 100 else ""))
    return drawing


def _draw_panel(ax: Axes, panel: Panel, settings: tuple[str, str], factor: float, colours: Normalize) -> None:
    """Draw the squares of one panel, with the settings (x, y) on its axes."""
    x, y = settings
    table = panel.points.pivot(index=y, columns=x, values="mean") * factor
    table = table.reindex(labels.ordered(y, table.index))[labels.ordered(x, table.columns)]
    texts = _texts(panel.points, factor).pivot(index=y, columns=x, values="text").loc[table.index, table.columns]
    draw_squares(ax, table, colours, texts.to_numpy() if table.size <= WRITTEN else None, 5.5)
    ax.set_xticks(np.arange(table.shape[1]) + 0.5, [labels.short(x, value) for value in table.columns])
    ax.set_yticks(np.arange(table.shape[0]) + 0.5, [labels.short(y, value) for value in table.index], va="center")
    _hatch(ax, table, texts)
    ax.grid(visible=False)
    ax.tick_params(labelleft=panel.position[1] == 0, labelrotation=0)


def _add_colour_bar(drawing: Drawing, axes: Sequence[Axes], title: str) -> None:
    bar = drawing.colorbar(axes[0].collections[0], ax=axes, label=title, shrink=0.8)
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: labels.number(float(f"{value:.3g}"))))
    bar.ax.yaxis.set_minor_formatter(NullFormatter())


def _texts(points: pd.DataFrame, factor: float) -> pd.DataFrame:
    """Add the text of each square: its mean and, below, how many of its runs diverged or failed."""
    bad = points["n_diverged"] + points["n_other"]
    means = [labels.number(float(f"{factor * mean:.3g}")) if pd.notna(mean) else "" for mean in points["mean"]]
    lost = [f"{CROSS}{b}/{b + n}" if b else "" for b, n in zip(bad, points["n"], strict=True)]
    texts = ["\n".join(filter(None, pair)) or labels.DASH for pair in zip(means, lost, strict=True)]
    return points.assign(text=texts)


def _hatch(ax: Axes, table: pd.DataFrame, texts: pd.DataFrame) -> None:
    """Hatch the squares without a mean, which have no colour."""
    for row, column in zip(*np.nonzero(table.isna().to_numpy()), strict=True):
        ax.add_patch(Rectangle((column, row), 1, 1, fc="#f0f0f0", ec="#cccccc", hatch="////", lw=0, zorder=0.5))
        if table.size <= WRITTEN:
            ax.text(column + 0.5, row + 0.5, str(texts.iat[row, column]), ha="center", va="center", fontsize=5.5)


def _normalisation(values: "pd.Series[float]") -> Normalize:
    """Return the mapping from values to colours: logarithmic if they are positive and span decades."""
    seen = values[np.isfinite(values)]
    low, high = (float(seen.min()), float(seen.max())) if len(seen) else (0.0, 1.0)
    return LogNorm(low, high) if low > 0 and high / low > DECADES_FROM else Normalize(low, high)


def caption(plot: PlotData) -> list[str]:
    """Describe what the squares show, the lowest and highest mean of each panel, and the failed runs."""
    n = count_range(plot.run_counts()["total"])
    sentences = [f"Squares show the mean {labels.column(plot.y).lower()} over {n} seeds{fixed_settings(plot)}."]
    for values, part in plot.lines():
        means = part["mean"].dropna()
        if len(means):
            low, high = labels.metric(plot.y, means.min()), labels.metric(plot.y, means.max())
            sentences.append(f"{line_name(values)}: from {low} to {high}.")
    sentences.append(describe_failures(plot))
    if (plot.points["n_diverged"] + plot.points["n_other"]).any():
        sentences.append("A cross with a share marks a square with such runs; a hatched square has no other runs.")
    return sentences


KIND = FigureKind(data=data, draw=draw, caption=caption)
