"""Figures as pictures: created at the resolution of the PNG, laid out only where texts changed, drawn once per format.

Layout takes longer than drawing. Left to matplotlib, it is computed in two passes before each of the formats, and once
more for every question about the place of a text.
"""

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Drawing

from bnbench.core.atomic import atomic


def new(*, layout: str | None = "constrained", **options: Any) -> Drawing:
    """Return an empty figure whose canvas retains its renderer, and with it the measured sizes of texts.

    Args:
        layout: of `matplotlib.figure.Figure`.
        options: likewise, such as `figsize`.
    """
    drawing = Drawing(layout=layout, **options)  # type: ignore[arg-type]  # the stubs list each layout by name
    FigureCanvasAgg(drawing)
    return drawing


def lay_out(drawing: Drawing) -> None:
    """Compute the layout from the texts as they are now, without drawing anything."""
    if engine := drawing.get_layout_engine():
        engine.execute(drawing)


def settle(drawing: Drawing) -> None:
    """Keep the present layout: matplotlib computes none any more."""
    drawing.set_layout_engine(None)


def save(drawing: Drawing, path: Path, title: str) -> None:
    """Write a figure as PNG and SVG without dates and versions, so that equal figures give equal bytes.

    Both have the layout of the PNG.

    Args:
        drawing: the figure; it is laid out here unless its layout was settled.
        path: of the files, without suffix.
        title: recorded in the SVG.
    """
    lay_out(drawing)
    settle(drawing)
    with atomic(path.with_name(f"{path.name}.png")) as temporary:
        drawing.savefig(temporary, format="png", metadata={"Software": None})
    with atomic(path.with_name(f"{path.name}.svg")) as temporary:
        drawing.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
