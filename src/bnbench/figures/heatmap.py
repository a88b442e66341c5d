"""Heat maps: one measure over two settings, a panel for each value of a third."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure as Drawing
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, NullFormatter

from bnbench.figures.facets import arrange, grid, name_panels
from bnbench.figures.plot_data import column
from bnbench.figures.sweeps import CROSS
from bnbench.params.study_schema import Figure
from bnbench.tables import labels

WIDEST = 2  # panels side by side
WRITTEN = 150  # squares of a panel in which the value is still written
DECADES_FROM = 30  # values that span more than so many times the smallest get a log colour scale


def draw_heatmap(frame: pd.DataFrame, options: Figure) -> Drawing:
    """Means over seeds as colours, written into the squares; one colour scale for all panels."""
    import seaborn as sns  # takes a second, which other figures need not wait for

    drawing = Drawing(layout="constrained")
    panels = arrange(frame, options, WIDEST)
    axes = grid(drawing, panels)
    x, y = column(options.x or "", options.probe), column(options.against or "", options.probe)
    name = labels.quantity(options.y, options.probe)
    factor = 100 if labels.is_accuracy(name) else 1
    colours = _colours(frame["mean"] * factor)
    rows = frame[y].nunique()
    width, _ = drawing.get_size_inches()
    drawing.set_size_inches(width, 0.9 + (1 + max(panel.place[0] for panel in panels)) * (0.5 + 0.2 * max(rows, 6)))
    for panel, ax in zip(panels, axes, strict=True):
        table = panel.points.pivot(index=y, columns=x, values="mean") * factor
        table = table.reindex(labels.ordered(y, table.index))[labels.ordered(x, table.columns)]
        texts = _texts(panel.points, factor).pivot(index=y, columns=x, values="text").loc[table.index, table.columns]
        sns.heatmap(
            table,
            ax=ax,
            norm=colours,
            cmap="viridis",
            annot=texts.to_numpy() if table.size <= WRITTEN else None,
            fmt="",
            annot_kws={"size": 5.5},
            cbar=False,
            xticklabels=[labels.short(x, value) for value in table.columns],
            yticklabels=[labels.short(y, value) for value in table.index],
        )
        _hatch(ax, table, texts)
        ax.set(xlabel="", ylabel="")
        ax.grid(visible=False)
        ax.tick_params(labelleft=panel.place[1] == 0, labelrotation=0)
    name_panels(panels, axes, [""] * len(panels))
    drawing.supxlabel(labels.column(x), fontsize="medium")
    drawing.supylabel(labels.column(y), fontsize="medium")
    _scale(drawing, axes, labels.column(name) + (" (%)" if factor == 100 else ""))
    return drawing


def _scale(drawing: Drawing, axes: Sequence[Axes], title: str) -> None:
    """The colours' scale, one for all panels."""
    bar = drawing.colorbar(axes[0].collections[0], ax=axes, label=title, shrink=0.8)
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: labels.number(float(f"{value:.3g}"))))
    bar.ax.yaxis.set_minor_formatter(NullFormatter())


def _texts(points: pd.DataFrame, factor: float) -> pd.DataFrame:
    """What is written into each square: its mean; below it, how many of its runs diverged or failed."""
    bad = points["n_diverged"] + points["n_other"]
    means = [labels.number(float(f"{factor * mean:.3g}")) if pd.notna(mean) else "" for mean in points["mean"]]
    lost = [f"{CROSS}{b}/{b + n}" if b else "" for b, n in zip(bad, points["n"], strict=True)]
    texts = ["\n".join(filter(None, pair)) or labels.DASH for pair in zip(means, lost, strict=True)]
    return points.assign(text=texts)


def _hatch(ax: Axes, table: pd.DataFrame, texts: pd.DataFrame) -> None:
    """Mark the squares without any mean, which are left out otherwise."""
    for row, place in zip(*np.nonzero(table.isna().to_numpy()), strict=True):
        ax.add_patch(Rectangle((place, row), 1, 1, fc="#f0f0f0", ec="#cccccc", hatch="////", lw=0, zorder=0.5))
        if table.size <= WRITTEN:
            ax.text(place + 0.5, row + 0.5, str(texts.iat[row, place]), ha="center", va="center", fontsize=5.5)


def _colours(values: "pd.Series[float]") -> Normalize:
    seen = values[np.isfinite(values)]
    low, high = (float(seen.min()), float(seen.max())) if len(seen) else (0.0, 1.0)
    return LogNorm(low, high) if low > 0 and high / low > DECADES_FROM else Normalize(low, high)
