"""Kinds of figures as code: one signature for the data, the drawing and the caption of each kind."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module

import pandas as pd
from matplotlib.figure import Figure as Drawing

from bnbench.figures.plot_data import PlotData
from bnbench.figures.source import Source
from bnbench.params.study_schema import Figure


@dataclass(frozen=True, kw_only=True)
class FigureKind:
    """One kind of figure; its entry in `bnbench.params.figure_kinds` has its name, description and keys.

    Args:
        data: select and aggregate the rows that are drawn; raises `UserError` if the options do not fit the runs.
        draw: draw them.
        caption: describe them in sentences of plain text.
    """

    data: Callable[[Source, Figure], pd.DataFrame]
    draw: Callable[[PlotData], Drawing]
    caption: Callable[[PlotData], list[str]]


def find(name: str) -> FigureKind:
    """Return the `KIND` of the module of this name in `bnbench.figures.kinds`."""
    kind: FigureKind = import_module(f"bnbench.figures.kinds.{name}").KIND
    return kind


def plot_data(source: Source, options: Figure, titles: Mapping[str, str] | None = None, datasets: str = "") -> PlotData:
    """Make the data of a figure from a study's tables.

    Raises:
        UserError: the options do not fit the study's runs.
    """
    table = find(options.kind).data(source, options)
    return PlotData(options=options, table=table, titles=titles or {}, datasets=datasets)
