"""A table drawn as coloured squares with texts in them.

This is seaborn's heatmap without seaborn, which takes longer to load than twenty figures take to draw.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

BRIGHT = 0.408  # relative luminance from which dark text is easier to read than white text
LUMINANCE = (0.2126, 0.7152, 0.0722)  # of red, green and blue light (ITU-R BT.709)


def draw_squares(
    ax: Axes, table: pd.DataFrame, colours: Normalize, texts: npt.NDArray[Any] | None, size: float
) -> None:
    """Draw a square for each value of a table, its first row at the top; missing values are left out.

    Args:
        ax: where to draw.
        table: the values.
        colours: the mapping from values to colours.
        texts: what is written into the squares, of the shape of the table; None for nothing.
        size: of the texts, in points.
    """
    values = np.ma.masked_invalid(table.to_numpy(float))
    mesh = ax.pcolormesh(values, cmap="viridis", norm=colours, linewidths=0, edgecolor="white")
    ax.spines[:].set_visible(False)
    ax.set(xlim=(0, values.shape[1]), ylim=(values.shape[0], 0))
    shades = mesh.to_rgba(values)[..., :3]
    if texts is None:
        return
    for row, column in zip(*np.nonzero(~np.ma.getmaskarray(values)), strict=True):
        colour = ".15" if luminance(shades[row, column]) > BRIGHT else "w"
        ax.text(column + 0.5, row + 0.5, texts[row, column], color=colour, ha="center", va="center", fontsize=size)


def luminance(colour: npt.NDArray[np.float64]) -> float:
    """Return the relative luminance of an sRGB colour, as WCAG 2 defines it."""
    linear = np.where(colour <= 0.03928, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    return float(linear @ LUMINANCE)
