"""Result table of a study: a row per cell if there are few, else a column per norm, else the best cells alone."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from bnbench.report.template import Table
from bnbench.tables import labels
from bnbench.tables.files import CELL
from bnbench.tables.intervals import written

LONGEST = 24  # rows of a table; longer ones are not worth reading
SHOWN = ("valid_accuracy", "test_accuracy", "test_loss", "official_accuracy")


@dataclass(frozen=True, kw_only=True)
class Result:
    """A result table and its form.

    `norms_in_columns`: entries are test accuracies, in a column per norm; otherwise each row is a cell.
    `selected`: the settings of which an entry shows the best value, by mean validation accuracy; "" if there are none.
    """

    table: Table
    norms_in_columns: bool = False
    selected: str = ""


def varied(cells: pd.DataFrame) -> list[str]:
    """Return the settings that differ between rows, without those that are a function of one already returned."""
    found: list[str] = []
    for name in (name for name in CELL if cells[name].nunique(dropna=False) > 1):
        if not any((cells.groupby(other, dropna=False)[name].nunique(dropna=False) == 1).all() for other in found):
            found.append(name)
    return found


def mean_of(value: str) -> Callable[["pd.Series[float]"], str]:
    """Return the formatter of a column: mean and interval of `value`, as "97.1 ± 0.4 %"."""

    def text(cell: "pd.Series[float]") -> str:
        return written(value, {part: cell[f"{value}_{part}"] for part in ("mean", "low", "high")})

    return text


OFFICIAL = labels.column("official_accuracy")
# header of a column -> formatter of a cell
COLUMNS: dict[str, Callable[["pd.Series[float]"], str]] = {
    **{labels.column(value): mean_of(value) for value in SHOWN},
    "Seeds": lambda cell: labels.number(cell["n"]),
    "Diverged": lambda cell: labels.number(cell["n_diverged"]),
    "Failed": lambda cell: labels.number(cell["n_other"]),
}


def result(cells: pd.DataFrame) -> Result:
    """Return the result table of a study.

    Args:
        cells: the study's rows of the table `summary`, with titles of data sets in place of their names.
    """
    names = varied(cells)
    cells = in_order(cells, names)
    if len(cells) <= LONGEST:
        return _full(cells, names)
    selected: list[str] = []
    while len(cells.drop_duplicates(_rows(names))) > LONGEST and len(_rows(names)) > 1:
        widest = max(_rows(names), key=lambda name: cells[name].nunique(dropna=False))
        names = [name for name in names if name != widest]
        cells, selected = best(cells, names), [*selected, widest]
    return _norms_in_columns(cells, names, selected)


def _rows(names: list[str]) -> list[str]:
    """Return the settings that distinguish rows when each norm has a column."""
    return [name for name in names if name != "norm"]


def in_order(cells: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Sort rows by these settings, each in its order for readers (see `labels.ordered`)."""
    ranks = {}
    for name in names:
        order = labels.ordered(name, cells[name])
        rank = {(None if pd.isna(value) else value): index for index, value in enumerate(order)}
        ranks[name] = [rank[None if pd.isna(value) else value] for value in cells[name]]
    index = pd.DataFrame(ranks).sort_values(names, kind="stable").index if names else range(len(cells))
    return cells.iloc[list(index)].reset_index(drop=True)


def best(cells: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Select the cell of best mean validation accuracy per combination of `names`; a failed run counts as 0."""
    runs = cells["n"] + cells["n_diverged"] + cells["n_other"]
    score = (cells["valid_accuracy_mean"].fillna(0.0) * cells["n"] / runs).round(12).rename("score")  # ties are ties
    ranked = cells.assign(score=score).sort_values("score", ascending=False, kind="stable")
    return ranked.drop_duplicates(names).sort_index().drop(columns="score") if names else ranked[:1]


def _full(cells: pd.DataFrame, names: list[str]) -> Result:
    shown = {"Failed": cells["n_other"].any(), OFFICIAL: cells["official_accuracy_mean"].notna().any()}
    columns = {name: text for name, text in COLUMNS.items() if shown.get(name, True)}
    rows = [
        [labels.short(name, cell[name]) for name in names] + [text(cell) for text in columns.values()]
        for _, cell in cells.iterrows()
    ]
    return Result(table=Table([*map(labels.column, names), *columns], rows, numbers=len(columns)))


def _norms_in_columns(cells: pd.DataFrame, names: list[str], selected: list[str]) -> Result:
    """Return test accuracies with a column per norm, each with the values of its `selected` settings."""
    by = _rows(names)
    norms = labels.ordered("norm", cells["norm"]) if "norm" in names else [None]
    rows = []
    for key, part in cells.groupby(by, dropna=False, sort=False):
        row = [labels.short(name, value) for name, value in zip(by, key, strict=True)]
        for norm in norms:
            found = part if norm is None else part[part["norm"] == norm]
            row.append(_entry(found.iloc[0], selected) if len(found) else labels.DASH)
        rows.append(row)
    heads = [labels.sentence(labels.short("norm", norm)) if norm else "Test accuracy" for norm in norms]
    table = Table([*map(labels.column, by), *heads], rows, numbers=len(norms))
    settings = labels.joined([labels.column(name).lower() for name in selected])
    return Result(table=table, norms_in_columns=True, selected=settings)


def _entry(cell: "pd.Series[float]", selected: list[str]) -> str:
    total = int(cell["n"] + cell["n_diverged"] + cell["n_other"])
    word = "diverged or failed" if cell["n_other"] else "diverged"
    failed = f"{total - int(cell['n'])} of {total} {word}" if cell["n"] < total else ""
    values = [labels.phrase(name, cell[name]) for name in selected]
    beside = ", ".join(filter(None, [*values, failed]))
    return mean_of("test_accuracy")(cell) + (f" ({beside})" if beside else "")
