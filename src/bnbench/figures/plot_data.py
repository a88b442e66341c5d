"""Data of one figure: the table that is drawn, described in the caption and written as CSV."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from bnbench.core.errors import UserError
from bnbench.figures.source import (
    ATS,
    ITEMS,
    LOCATIONS,
    VALUE,
    Source,
    check_columns,
    check_only_seeds_mix,
    column,
    measured_rows,
)
from bnbench.params.figure_kinds import KINDS
from bnbench.params.study_schema import Figure
from bnbench.tables import files as store_tables
from bnbench.tables import labels
from bnbench.tables.files import CONFIG_TYPES
from bnbench.tables.summary import COUNTS, aggregate

STOPPED = "n_stopped"  # runs of a curve that stopped early
OWN_TYPES: dict[str, pa.DataType] = {
    **dict.fromkeys(("mean", "low", "high", VALUE, "at", "epoch"), pa.float64()),
    **dict.fromkeys(
        (*COUNTS, STOPPED, "step", "layer", "item", *ITEMS.values(), *ATS.values(), "stage", "parameters"), pa.int64()
    ),
}


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """Columns that a figure's axes, colours and panels show, by the keys of its options."""

    options: Figure

    def column(self, key: str) -> str | None:
        """Return the column that the key `x`, `against`, `hue`, `col` or `row` names; None if the key is not given."""
        name: str | None = getattr(self.options, key)
        return None if name is None else column(name, self.options.probe)

    @property
    def x(self) -> str:
        """The column on the x axis.

        Raises:
            UserError: the kind has no default for `x`, and none is given.
        """
        found = self.column("x") or KINDS[self.options.kind].time
        if found is None:
            raise UserError(f"a figure of kind {self.options.kind} needs x")
        return found

    @property
    def against(self) -> str | None:
        """The column on the y axis of a figure over two settings."""
        return self.column("against")

    @property
    def hue(self) -> str | None:
        """The column shown by colour."""
        return self.column("hue")

    @property
    def col(self) -> str | None:
        """The column shown by columns of panels."""
        return self.column("col")

    @property
    def row(self) -> str | None:
        """The column shown by rows of panels."""
        return self.column("row")

    @property
    def facets(self) -> list[str]:
        """The columns that separate lines: rows of panels, columns of panels, colours."""
        return list(dict.fromkeys(name for name in (self.row, self.col, self.hue) if name is not None))

    @property
    def axes(self) -> list[str]:
        """The columns on the axes; a measured value is none of them."""
        across = [self.x] if self.options.x or KINDS[self.options.kind].time else []
        return [*across, self.against] if self.against else across

    @property
    def separating(self) -> list[str]:
        """The columns that separate runs: without those that vary within one run, as steps and layers."""
        within = {column(name, self.options.probe) for name in LOCATIONS}
        return [name for name in dict.fromkeys([*self.facets, *self.axes]) if name not in within]

    @property
    def measures(self) -> list[str]:
        """The names of the measured values."""
        return self.options.y if isinstance(self.options.y, list) else [self.y]

    @property
    def y(self) -> str:
        """The name of the measured value on the y axis; it decides unit, limits and scale."""
        return labels.quantity(self.options.y, self.options.probe)

    def average(self, rows: pd.DataFrame, by: Sequence[str], value: str, name: str | None = None) -> pd.DataFrame:
        """Return mean, 95 % t interval and counts of runs of the column `value` for each combination of `by`.

        Args:
            rows: a row per run and combination.
            by: the columns that separate points.
            value: the column to average.
            name: what it measures, which limits the interval; by default the figure's `y`.

        Raises:
            UserError: a name is no column, or a mean would be over more than seeds.
        """
        by = list(dict.fromkeys(by))
        check_only_seeds_mix(rows, by)
        return tidy(aggregate(rows, by, [value], name or self.y), by, value)


@dataclass(frozen=True, kw_only=True)
class PlotData(Encoding):
    """The data of one figure, made once and given to its drawing, its caption and its CSV file.

    Args:
        options: the figure's entry in the parameter file.
        table: the data, data sets by key.
        titles: data set -> title, for people.
        datasets: the data sets used, in words, for the caption.

    Raises:
        UserError: the table lacks a column that the options name.
    """

    table: pd.DataFrame
    titles: Mapping[str, str] = field(default_factory=dict)
    datasets: str = ""

    def __post_init__(self) -> None:
        check_columns(self.table, [*self.facets, *self.axes])

    @cached_property
    def points(self) -> pd.DataFrame:
        """The table with data sets by title."""
        return labels.titled(self.table, self.titles)

    def with_points(self, points: pd.DataFrame) -> "PlotData":
        """Return a copy with some of the points."""
        return replace(self, table=points, titles={})

    def lines(self) -> list[tuple[dict[str, Any], pd.DataFrame]]:
        """Return the values of the facets and the points of each line, in the order of the values."""
        names = self.facets
        order = {name: labels.ordered(name, self.points[name]) for name in names}

        def rank(line: tuple[dict[str, Any], pd.DataFrame]) -> list[int]:
            return [order[name].index(None if pd.isna(value) else value) for name, value in line[0].items()]

        return sorted(groups(self.points, names), key=rank)

    def run_counts(self, names: list[str] | None = None) -> pd.DataFrame:
        """Return `count_runs` of the points for each combination of `names`, or of all columns that separate runs."""
        return count_runs(self.points, self.separating if names is None else names)

    def write_csv(self, path: Path) -> None:
        """Write the table as CSV, with data sets by key."""
        types = {name: (OWN_TYPES | CONFIG_TYPES).get(name, pa.string()) for name in self.table.columns}
        store_tables.write_csv(store_tables.arrow(self.table, types), path)


def first_seed_rows(source: Source, options: Figure) -> pd.DataFrame:
    """Return the rows of a probe of the run with the smallest seed, for each panel.

    Raises:
        UserError: a panel would show several runs, or no run recorded such rows.
    """
    rows, names = measured_rows(source, options), Encoding(options=options).facets
    first = rows[rows["seed"] == rows["seed"].min()]
    check_only_seeds_mix(first, [*names, *LOCATIONS])
    retained = list(dict.fromkeys([*names, *(name for name in LOCATIONS if name in first), VALUE]))
    found: pd.DataFrame = first[retained]
    return found.sort_values(retained[:-1], na_position="first", ignore_index=True)


def tidy(points: pd.DataFrame, by: list[str], value: str, counts: Sequence[str] = COUNTS) -> pd.DataFrame:
    """Return the columns `by`, mean, low and high of `value`, and `counts` as whole numbers, sorted by `by`."""
    names = {f"{value}_{statistic}": statistic for statistic in ("mean", "low", "high")}
    points = points.rename(columns=names)[[*by, *names.values(), *counts]]
    points = points.assign(**{name: points[name].fillna(0).astype(int) for name in counts})
    return points.sort_values(by, na_position="first", ignore_index=True)


def groups(points: pd.DataFrame, by: list[str]) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """Return the values of `by` and the points of each combination of them, in the order of the points."""
    if not by:
        return [({}, points)]
    return [(dict(zip(by, key, strict=True)), part) for key, part in points.groupby(by, dropna=False, sort=False)]


def count_runs(points: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Return how many runs are ok, diverged, otherwise failed, and in all (`total`) for each combination of `names`.

    Points of one combination come from the same runs, so a run counts once, however many steps or layers are drawn.
    A point that a run did not reach counts fewer, hence the maximum.
    """
    if names:
        counts = points.groupby(names, dropna=False, sort=False)[list(COUNTS)].max().reset_index()
    else:
        counts = points[list(COUNTS)].max().to_frame().T
    return counts.assign(total=counts[list(COUNTS)].sum(axis=1))
