"""The y axis that all panels share: limits around the data, percent for accuracy, decades for wide losses."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from bnbench.tables import labels

DECADES_FROM = 30  # a loss that spans more than so many times its smallest value gets a log axis


@dataclass(frozen=True)
class Scale:
    """A y axis: its limits, and whether it is logarithmic."""

    low: float
    high: float
    log: bool

    def lowered(self, below: float, above: float = 0.0) -> float:
        """The lower limit that leaves shares of the axis free below `low` and above `high`."""
        return self._moved(self.low, -below / (1 - below - above))

    def raised(self, below: float, above: float) -> float:
        """The upper limit that does."""
        return self._moved(self.high, above / (1 - below - above))

    def _moved(self, end: float, spans: float) -> float:
        """`end` moved by so many lengths of the axis."""
        if not self.log:
            return end + (self.high - self.low) * spans
        return float(10 ** (math.log10(end) + math.log10(self.high / self.low) * spans))


def scale(points: pd.DataFrame, y: str, log: bool | None = None) -> Scale:
    """Limits around means and intervals.

    Args:
        points: with columns mean, low and high.
        y: the name of what is drawn.
        log: whether the axis is logarithmic; None: if the means are positive and span enough.
    """
    values = points[["mean", "low", "high"]].to_numpy(dtype=float)
    values = values[~np.isnan(values)]
    if not len(values):
        return Scale(0.0, 1.0, log=False)
    means, low, high = points["mean"].dropna(), float(values.min()), float(values.max())
    wanted = not labels.is_accuracy(y) and log is not False and means.min() > 0
    if wanted and (log or means.max() / means.min() > DECADES_FROM):
        low = max(low, float(means.min()) / 2)
        return Scale(low / 1.2, high * 1.2, log=True)
    if means.min() >= 0:
        low = max(low, 0.0)
    room = 0.04 * (high - low) or 0.02 * abs(high) or 0.02
    return Scale(low - room, high + room, log=False)


def set_y(ax: Axes, found: Scale, y: str, strip: float = 0.0, top: float = 0.0) -> None:
    """Put the scale on the shared y axis, leaving shares of it free: `strip` at the bottom, `top` above."""
    if found.log:
        ax.set_yscale("log")
    ax.set_ylim(found.lowered(strip, top), found.raised(strip, top))
    ticks = ticks_between(found, y)
    ax.yaxis.set_major_locator(FixedLocator(ticks))
    ax.yaxis.set_minor_locator(NullLocator())
    factor = 100 if labels.is_accuracy(y) else 1
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: labels.number(round(factor * value, 9))))


def ticks_between(found: Scale, y: str) -> list[float]:
    """Round numbers within the limits; of an accuracy none above 1."""
    if found.log:
        subs = (1.0,) if found.high / found.low > 1000 else (1.0, 3.0)
        ticks = LogLocator(subs=subs, numticks=12).tick_values(found.low, found.high)
    else:
        ticks = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(found.low, found.high)
    top = min(found.high, 1 + 1e-9) if labels.is_accuracy(y) else found.high
    return [float(tick) for tick in ticks if max(found.low, -1e-9) <= tick <= top]


def y_label(y: str) -> str:
    """The y axis' name with its unit."""
    return f"{labels.column(y)} (%)" if labels.is_accuracy(y) else labels.column(y)
