"""Style of figures: page and type sizes, colours, and the line style of each norm."""

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

PAGE_WIDTH, PAGE_HEIGHT = 6.5, 8.6  # inches of an A4 page between its margins, less the caption
SMALL, NORMAL = 7.0, 8.0  # points
CROSS = "\N{MULTIPLICATION SIGN}"  # marks failed runs

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
    "figure.dpi": 150,
    "savefig.dpi": "figure",
}


@contextlib.contextmanager
def styled(families: Sequence[str] = ()) -> Iterator[None]:
    """Apply `STYLE` to matplotlib's defaults within a `with` block, whatever the user's own settings are.

    Args:
        families: fonts for characters that DejaVu Sans lacks.
    """
    style = STYLE | {"font.family": [STYLE["font.family"], *families]}
    # matplotlib's stubs list each name of each setting
    with warnings.catch_warnings(), mpl.style.context(["default", cast(Any, style)]):
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # reported once for all figures
        yield


@dataclass(frozen=True, kw_only=True)
class LineStyle:
    """A line's colour, dashes and marker: three signs, so that a reader needs none of them alone."""

    colour: Any
    dashes: Any = "-"
    marker: str = "o"


DASHED = (0, (4, 1.6))  # matplotlib's offset and lengths of dash and gap, in line widths
NORMS = {
    name: LineStyle(colour=spec.colour, dashes=DASHED if spec.dashed else "-", marker=spec.marker)
    for name, spec in norms.NORMS.items()
}
# "colorblind" of seaborn 0.13, which takes a second to load: ten colours that colour-blind readers can distinguish
CATEGORICAL = (
    *("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc"),
    *("#ca9161", "#fbafe4", "#949494", "#ece133", "#56b4e9"),
)
DASHES: tuple[Any, ...] = ("-", DASHED, (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))
MARKERS = "os^DvPX<>"


def line_styles(column: str | None, values: list[Any]) -> list[LineStyle]:
    """Return the style of each value: fixed for norms, dark to light for numbers, distinct colours for names."""
    if column is None:
        return [NORMS["batch"]]
    if any(isinstance(value, str) for value in values):
        colours = [to_rgb(CATEGORICAL[i % len(CATEGORICAL)]) for i in range(len(values))]
        dashes = [DASHES[i % len(DASHES)] for i in range(len(values))]
    else:
        colours = shades(len(values))
        dashes = ["-"] * len(values)
    found = [
        LineStyle(colour=colour, dashes=dash, marker=MARKERS[i % len(MARKERS)])
        for i, (colour, dash) in enumerate(zip(colours, dashes, strict=True))
    ]
    if column == "norm":
        return [NORMS.get(value, style) for value, style in zip(values, found, strict=True)]
    return found


def shades(count: int) -> list[tuple[float, float, float]]:
    """Return `count` colours from dark to light, without the lightest, which hardly shows on white."""
    colours = mpl.colormaps["viridis"](np.linspace(0, 1, count + 3)[1:-2])
    return [(float(red), float(green), float(blue)) for red, green, blue, _ in colours]
