"""How figures look: type sizes, colours, what a line of each norm looks like everywhere."""

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import matplotlib as mpl
import matplotlib.style
import numpy as np
from matplotlib.colors import to_rgb

from bnbench.params.layers import norms

PAGE_WIDTH, PAGE_HEIGHT = 6.5, 8.6  # inches of an A4 page between its margins, less room for a caption
SMALL, NORMAL = 7.0, 8.0  # points

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same glyphs everywhere
    "font.size": NORMAL,
    "axes.titlesize": NORMAL,
    "axes.labelsize": NORMAL,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": NORMAL,
    "legend.title_fontsize": NORMAL,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "xtick.color": "#888888",
    "ytick.color": "#888888",
    "xtick.labelcolor": "#222222",
    "ytick.labelcolor": "#222222",
    "text.color": "#222222",
    "axes.labelcolor": "#222222",
    "text.parse_math": False,  # a title with $ in it is shown as it is
    "axes.unicode_minus": True,
    "svg.fonttype": "path",
    "svg.hashsalt": "bnbench",  # the same ids, so the same bytes, every time
    "savefig.dpi": 150,
}


@contextlib.contextmanager
def styled(families: Sequence[str] = ()) -> Iterator[None]:
    """Within it figures look as they should: matplotlib's defaults, whatever its settings were, and `STYLE`.

    Args:
        families: fonts for characters that the usual one lacks.
    """
    style = STYLE | {"font.family": [STYLE["font.family"], *families]}
    # its stubs list each name of each setting
    with warnings.catch_warnings(), mpl.style.context(["default", cast(Any, style)]):
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # told once for all figures
        yield


@dataclass(frozen=True, kw_only=True)
class Look:
    """A line's colour, dashes and marker: three signs, so that none is needed alone."""

    colour: Any
    dashes: Any = "-"
    marker: str = "o"


DASHED = (0, (4, 1.6))  # matplotlib's offset and lengths of dash and gap, in line widths
NORMS = {
    name: Look(colour=spec.colour, dashes=DASHED if spec.dashed else "-", marker=spec.marker)
    for name, spec in norms.NORMS.items()
}
# ten that people who see few colours tell apart: "colorblind" of seaborn 0.13, which itself takes a second to load
APART = (
    *("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc"),
    *("#ca9161", "#fbafe4", "#949494", "#ece133", "#56b4e9"),
)
DASHES: tuple[Any, ...] = ("-", DASHED, (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))
MARKERS = "os^DvPX<>"


def looks(column: str | None, values: list[Any]) -> list[Look]:
    """How each value of a colour column looks: norms as always, numbers from dark to light, others apart."""
    if column is None:
        return [NORMS["batch"]]
    if any(isinstance(value, str) for value in values):
        colours = [to_rgb(APART[i % len(APART)]) for i in range(len(values))]
        dashes = [DASHES[i % len(DASHES)] for i in range(len(values))]
    else:
        colours = shades(len(values))
        dashes = ["-"] * len(values)
    found = [
        Look(colour=colour, dashes=dash, marker=MARKERS[i % len(MARKERS)])
        for i, (colour, dash) in enumerate(zip(colours, dashes, strict=True))
    ]
    if column == "norm":
        return [NORMS.get(value, look) for value, look in zip(values, found, strict=True)]
    return found


def shades(count: int) -> list[tuple[float, float, float]]:
    """So many colours from dark to light; the lightest, which is hardly seen on white, is left out."""
    colours = mpl.colormaps["viridis"](np.linspace(0, 1, count + 3)[1:-2])
    return [(float(red), float(green), float(blue)) for red, green, blue, _ in colours]
