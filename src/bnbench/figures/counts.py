"""How many runs a figure is of: each is counted once, however many points, layers, images or squares it is in."""

import pandas as pd

from bnbench.figures.plot_data import PLACES, column, facets, x_column
from bnbench.params.study_schema import Figure
from bnbench.tables.summary import COUNTS


def telling(options: Figure) -> list[str]:
    """The columns by which a figure tells runs apart; not those that go along within a run."""
    axes = {"sweep": [x_column(options)], "heatmap": [column(options.x or "", options.probe)]}.get(options.kind, [])
    against = [column(options.against, options.probe)] if options.against else []
    within = {column(name, options.probe) for name in PLACES}
    return [name for name in dict.fromkeys([*facets(options), *axes, *against]) if name not in within]


def run_counts(points: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """A row per combination of `names`: how many of its runs are ok, diverged, other, and in all (`total`).

    Points of one combination are of the same runs; one that a run no longer reached counts fewer.
    """
    if names:
        counts = points.groupby(names, dropna=False, sort=False)[list(COUNTS)].max().reset_index()
    else:
        counts = points[list(COUNTS)].max().to_frame().T
    return counts.assign(total=counts[list(COUNTS)].sum(axis=1))
