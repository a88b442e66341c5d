"""Published values beside those that the study's runs measured."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from bnbench.core.errors import UserError
from bnbench.figures.figure_kind import plot_data
from bnbench.figures.source import Source, measured_rows, value_columns
from bnbench.figures.usable_range import range_text, usable_ranges
from bnbench.params.study_schema import Figure, Published
from bnbench.report.template import Table
from bnbench.tables import labels
from bnbench.tables.intervals import written
from bnbench.tables.summary import aggregate

ABSENT = "not in this tier"


@dataclass(frozen=True, kw_only=True)
class Series:
    """A published row of numbers: the quantity, and the table that compares it."""

    quantity: str
    table: Table


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A study's published values and the measured ones.

    `values` are rows of quantity, published value, measured value, number of seeds.
    """

    values: list[list[str]]
    series: list[Series]


def compare(published: Sequence[Published], source: Source) -> Comparison:
    """Compare published values with those of a study's runs.

    Args:
        published: the study's published values.
        source: the study's part of the tables.
    """
    rows = [value for value in published if isinstance(value.value, list) and not value.x]
    return Comparison(
        values=[(_range if value.x else _single)(source, value) for value in published if value not in rows],
        series=[Series(quantity=value.what, table=_series(source, value)) for value in rows],
    )


def observed(source: Source, value: Published, by: list[str]) -> pd.DataFrame | None:
    """Return mean, interval and counts of the runs that a published value is compared with.

    Args:
        source: the study's part of the tables.
        value: the published value; it says which runs and which quantity.
        by: the columns whose values each get a row; all runs are one row if there are none.

    Returns:
        A row per combination of `by`; None if no run of this tier measured the quantity.
    """
    try:
        rows = measured_rows(source, value)
    except UserError:
        return None
    y = value_columns(value)[0]
    by = by or ["all"]
    # one value per run, the mean of its rows: n counts runs, and the interval is over runs
    rows = rows.assign(all=0).groupby(["run_id", "status", *by])[y].mean(skipna=False).reset_index()
    found = aggregate(rows, by, [y], labels.quantity(value.y, value.probe))
    return found.rename(columns={f"{y}_{part}": part for part in ("mean", "low", "high")}).sort_values(by)


def _single(source: Source, value: Published) -> list[str]:
    """Return the row of a published number."""
    name = labels.quantity(value.y, value.probe)
    published = text(name, float(value.value))  # type: ignore[arg-type]
    found = observed(source, value, [])
    if found is None:
        return [value.what, published, ABSENT, labels.DASH]
    row = found.iloc[0]
    mean = written(name, row, digits=2)
    lost = int(row["n_diverged"] + row["n_other"])
    return [value.what, published, mean, f"{int(row['n'])} ({lost} more failed)" if lost else str(int(row["n"]))]


def _range(source: Source, value: Published) -> list[str]:
    """Return the row of a published usable range; the measured one is computed as in a sweep over the same runs."""
    low, high = value.value  # type: ignore[misc]
    decades = math.log10(high / low)
    published = f"{labels.number(low)} to {labels.number(high)} ({decades:.1f} decades)"
    measure = value.model_dump(exclude_unset=True, exclude={"what", "value"})
    try:
        plot = plot_data(source, Figure.model_validate({"kind": "sweep", "title": value.what, **measure}))
    except UserError:
        return [value.what, published, ABSENT, labels.DASH]
    seeds = int(plot.run_counts()["total"].max())
    return [value.what, published, range_text(usable_ranges(plot).iloc[0]), str(seeds)]


def text(name: str, value: float) -> str:
    """Return a value in the unit of its column; an accuracy in percent with two decimals."""
    return written(name, {"mean": value, "low": math.nan, "high": math.nan}, digits=2)


def _series(source: Source, value: Published) -> Table:
    """Return the table of a row of numbers: a column per value of `by`; published, measured, their ratio."""
    by, name = value.by or "layer", labels.quantity(value.y, value.probe)
    numbers: list[float] = value.value  # type: ignore[assignment]
    found = observed(source, value, [by])
    means = [math.nan] * len(numbers) if found is None else list(found["mean"])[: len(numbers)]
    ratios = [f"{mean / number:.2f}" for mean, number in zip(means, numbers, strict=False)]
    rows = [["published", *(text(name, number) for number in numbers)]]
    if found is None:
        rows.append([ABSENT])
    else:
        rows += [["measured", *(text(name, mean) for mean in means)], ["measured / published", *ratios]]
    rows = [row + [""] * (len(numbers) + 1 - len(row)) for row in rows]
    heads = [labels.column(by), *(str(index + 1) for index in range(len(numbers)))]
    return Table(heads, rows, numbers=len(numbers))
