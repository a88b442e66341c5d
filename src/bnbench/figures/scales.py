"""The y axis that all panels share: limits around the data, percent for accuracies, decades for wide losses."""

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from bnbench.figures.plot_data import PlotData
from bnbench.tables import labels

DECADES_FROM = 30  # a loss that spans more than so many times its smallest value gets a log axis


@dataclass(frozen=True)
class Scale:
    """A y axis: its limits, and whether it is logarithmic."""

    low: float
    high: float
    log: bool

    def lowered(self, below: float, above: float = 0.0) -> float:
        """Return the lower limit that leaves these shares of the axis free below `low` and above `high`."""
        return self._shifted(self.low, -below / (1 - below - above))

    def raised(self, below: float, above: float) -> float:
        """Return the upper limit that leaves these shares of the axis free below `low` and above `high`."""
        return self._shifted(self.high, above / (1 - below - above))

    def _shifted(self, end: float, lengths: float) -> float:
        """Return `end` shifted by so many lengths of the axis."""
        if not self.log:
            return end + (self.high - self.low) * lengths
        return float(10 ** (math.log10(end) + math.log10(self.high / self.low) * lengths))


def scale(plot: PlotData) -> Scale:
    """Return limits around the means and intervals; logarithmic if requested, or if positive means span decades."""
    points, log = plot.points, plot.options.log
    values = points[["mean", "low", "high"]].to_numpy(dtype=float)
    values = values[~np.isnan(values)]
    if not len(values):
        return Scale(0.0, 1.0, log=False)
    means, low, high = points["mean"].dropna(), float(values.min()), float(values.max())
    possible = not labels.is_accuracy(plot.y) and log is not False and means.min() > 0
    if possible and (log or means.max() / means.min() > DECADES_FROM):
        low = max(low, float(means.min()) / 2)
        return Scale(low / 1.2, high * 1.2, log=True)
    if means.min() >= 0:
        low = max(low, 0.0)
    margin = 0.04 * (high - low) or 0.02 * abs(high) or 0.02
    return Scale(low - margin, high + margin, log=False)


def set_y(ax: Axes, found: Scale, y: str, strip: float = 0.0, top: float = 0.0) -> None:
    """Set the shared y axis, leaving the shares `strip` at the bottom and `top` above free of data."""
    if found.log:
        ax.set_yscale("log")
    ax.set_ylim(found.lowered(strip, top), found.raised(strip, top))
    ticks = ticks_between(found, y)
    ax.yaxis.set_major_locator(FixedLocator(ticks))
    ax.yaxis.set_minor_locator(NullLocator())
    factor = 100 if labels.is_accuracy(y) else 1
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: labels.number(round(factor * value, 9))))


def ticks_between(found: Scale, y: str) -> list[float]:
    """Return round numbers within the limits; of an accuracy none above 1."""
    if found.log:
        subs = (1.0,) if found.high / found.low > 1000 else (1.0, 3.0)
        ticks = LogLocator(subs=subs, numticks=12).tick_values(found.low, found.high)
    else:
        ticks = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(found.low, found.high)
    top = min(found.high, 1 + 1e-9) if labels.is_accuracy(y) else found.high
    return [float(tick) for tick in ticks if max(found.low, -1e-9) <= tick <= top]


def y_label(y: str) -> str:
    """Return the label of the y axis, with its unit."""
    return f"{labels.column(y)} (%)" if labels.is_accuracy(y) else labels.column(y)
