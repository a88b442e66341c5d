"""The entries of a legend stay in their order, row by row, for any number of entries."""

import pytest
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D

from bnbench.figures.facets import add_legend
from bnbench.figures.style import styled


@pytest.mark.parametrize("count", range(1, 31))
@pytest.mark.parametrize("width", [3.0, 6.5])
def test_entries_are_read_in_order(count: int, width: float) -> None:
    names = [f"seed {index}" for index in range(count)]
    with styled():
        drawing = Drawing(layout="constrained", figsize=(width, 4))
        add_legend(drawing, [Line2D([], []) for _ in names], names, "")
        drawing.draw_without_rendering()
        boxes = [(text.get_window_extent(), text.get_text()) for text in drawing.legends[0].get_texts()]
    read = [text for _, _, text in sorted((-round(box.y0), box.x0, text) for box, text in boxes)]
    assert read == names
