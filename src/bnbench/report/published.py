"""Published values beside what the study's runs gave."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from bnbench.core.errors import UserError
from bnbench.core.markdown import heading, table
from bnbench.figures.figure_kind import plot_data
from bnbench.figures.source import Source, measured_rows, value_columns
from bnbench.figures.usable_range import range_text, usable_ranges
from bnbench.params.study_schema import Figure, Published
from bnbench.tables import labels
from bnbench.tables.intervals import written
from bnbench.tables.summary import aggregate

ABSENT = "not in this tier"


def tables(study: dict[str, Any], source: Source, anchor: str, titles: Mapping[str, str] | None = None) -> list[str]:
    """Markdown of a study's published values: a table of single numbers and ranges, and one for each row of numbers.

    Args:
        study: as the plan has it.
        source: its tables.
        anchor: what the anchors of their headings start with.
        titles: of the data sets; they stand at the numbers where this tier takes other data than were published.
    """
    values = [Published.model_validate(raw) for raw in study["published"]]
    single = [value for value in values if value.x or not isinstance(value.value, list)]
    rows = [value for value in values if value not in single]
    found = []
    if single:
        header = ["Quantity", *_heads(study, source, titles or {}), "Seeds"]
        told = [(_range if value.x else _single)(source, value) for value in single]
        found.append(table(header, told, numbers=3))
    for index, value in enumerate(rows):
        found += [heading(4, value.what, f"{anchor}-{index + 1}"), _side_by_side(source, value)]
    return found


def _heads(study: dict[str, Any], source: Source, titles: Mapping[str, str]) -> list[str]:
    """What stands above published numbers and ours: of other data sets, which."""
    used, asked = sorted(set(source.runs["dataset"])), study.get("data") or []
    if not titles or set(used) <= set(asked):
        return ["Published", "Here"]
    return [
        f"{word} (on {labels.joined([titles[name] for name in names])})"
        for word, names in (("Published", asked), ("Here", used))
    ]


def observed(source: Source, value: Published, by: list[str]) -> pd.DataFrame | None:
    """Mean, interval and counts of what a published value is compared with; None if no run of this tier has it.

    Raises:
        UserError: it is measured in no such way.
    """
    try:
        rows = measured_rows(source, value)
    except UserError:
        return None
    y = value_columns(value)[0]
    by = by or ["all"]
    # of several rows of a run the mean: n and the interval are of runs
    rows = rows.assign(all=0).groupby(["run_id", "status", *by])[y].mean(skipna=False).reset_index()
    found = aggregate(rows, by, [y], labels.quantity(value.y, value.probe))
    return found.rename(columns={f"{y}_{part}": part for part in ("mean", "low", "high")}).sort_values(by)


def _single(source: Source, value: Published) -> list[str]:
    name = labels.quantity(value.y, value.probe)
    published = text(name, float(value.value))  # type: ignore[arg-type]
    found = observed(source, value, [])
    if found is None:
        return [value.what, published, ABSENT, labels.DASH]
    row = found.iloc[0]
    here = written(name, row, digits=2)
    lost = int(row["n_diverged"] + row["n_other"])
    return [value.what, published, here, f"{int(row['n'])} ({lost} more failed)" if lost else str(int(row["n"]))]


def _range(source: Source, value: Published) -> list[str]:
    """A usable range: as in a sweep over the same runs."""
    low, high = value.value  # type: ignore[misc]
    decades = math.log10(high / low)
    published = f"{labels.number(low)} to {labels.number(high)} ({decades:.1f} decades)"
    asked = value.model_dump(exclude_unset=True, exclude={"what", "value"})
    options = Figure.model_validate({"kind": "sweep", "title": value.what, **asked})
    try:
        plot = plot_data(source, options)
    except UserError:
        return [value.what, published, ABSENT, labels.DASH]
    seeds = int(plot.run_counts()["total"].max())
    return [value.what, published, range_text(usable_ranges(plot).iloc[0]), str(seeds)]


def text(name: str, value: float) -> str:
    """A value in the unit of its column: accuracy in percent with two digits."""
    return written(name, {"mean": value, "low": math.nan, "high": math.nan}, digits=2)


def _side_by_side(source: Source, value: Published) -> str:
    """A table with a column for each value of `by`: published, here, their ratio."""
    by, name = value.by or "layer", labels.quantity(value.y, value.probe)
    numbers: list[float] = value.value  # type: ignore[assignment]
    found = observed(source, value, [by])
    here = [float("nan")] * len(numbers) if found is None else list(found["mean"])[: len(numbers)]
    ratios = [f"{mean / number:.2f}" for mean, number in zip(here, numbers, strict=False)]
    rows = [["published", *(text(name, number) for number in numbers)]]
    if found is None:
        rows.append([ABSENT])
    else:
        rows += [["here", *(text(name, mean) for mean in here)], ["here / published", *ratios]]
    rows = [row + [""] * (len(numbers) + 1 - len(row)) for row in rows]
    heads = [labels.column(by), *(str(index + 1) for index in range(len(numbers)))]
    return table(heads, rows, numbers=len(numbers))
