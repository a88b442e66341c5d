"""A study's result table for people: every cell if they are few, otherwise norms side by side or the best."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from bnbench.tables import labels
from bnbench.tables.files import CELL
from bnbench.tables.intervals import written

LONGEST = 24  # rows of a table that are still read
SHOWN = ("valid_accuracy", "test_accuracy", "test_loss", "official_accuracy")


@dataclass(frozen=True, kw_only=True)
class Result:
    """A table ready to be shown: texts, how many of the last columns are numbers, and what to know of it."""

    header: list[str]
    rows: list[list[str]]
    numbers: int
    note: str = ""


def varied(cells: pd.DataFrame) -> list[str]:
    """The settings that differ between the rows of `cells`, without those that follow from one already there."""
    found: list[str] = []
    for name in (name for name in CELL if cells[name].nunique(dropna=False) > 1):
        if not any((cells.groupby(other, dropna=False)[name].nunique(dropna=False) == 1).all() for other in found):
            found.append(name)
    return found


def mean_of(value: str) -> Callable[["pd.Series[float]"], str]:
    """A column: the mean of `value` and its interval, as "97.1 ± 0.4 %"."""

    def text(cell: "pd.Series[float]") -> str:
        return written(value, {part: cell[f"{value}_{part}"] for part in ("mean", "low", "high")})

    return text


OFFICIAL = labels.column("official_accuracy")
# what is said of a cell: a column's name -> its text
COLUMNS: dict[str, Callable[["pd.Series[float]"], str]] = {
    **{labels.column(value): mean_of(value) for value in SHOWN},
    "Seeds": lambda cell: labels.number(cell["n"]),
    "Diverged": lambda cell: labels.number(cell["n_diverged"]),
    "Failed": lambda cell: labels.number(cell["n_other"]),
}


def result(cells: pd.DataFrame) -> Result:
    """The result table of a study from its rows of `summary`, data sets by title."""
    names = varied(cells)
    cells = in_order(cells, names)
    if len(cells) <= LONGEST:
        return _full(cells, names)
    chosen: list[str] = []
    while len(cells.drop_duplicates(_rows(names))) > LONGEST and len(_rows(names)) > 1:
        widest = max(_rows(names), key=lambda name: cells[name].nunique(dropna=False))
        names = [name for name in names if name != widest]
        cells, chosen = best(cells, names), [*chosen, widest]
    return _side_by_side(cells, names, chosen)


def _rows(names: list[str]) -> list[str]:
    """The settings that tell rows apart where norms stand side by side."""
    return [name for name in names if name != "norm"]


def in_order(cells: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """`cells` as the values of these settings follow each other for people."""
    ranks = {}
    for name in names:
        order = labels.ordered(name, cells[name])
        place = {(None if pd.isna(value) else value): index for index, value in enumerate(order)}
        ranks[name] = [place[None if pd.isna(value) else value] for value in cells[name]]
    index = pd.DataFrame(ranks).sort_values(names, kind="stable").index if names else range(len(cells))
    return cells.iloc[list(index)].reset_index(drop=True)


def best(cells: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """For each combination of `names` the cell of best validation accuracy; a failed run counts as 0."""
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
    return Result(header=[*map(labels.column, names), *columns], rows=rows, numbers=len(columns))


def _side_by_side(cells: pd.DataFrame, names: list[str], chosen: list[str]) -> Result:
    """Test accuracy with a column for each norm; what was chosen for it stands beside the number."""
    by = _rows(names)
    norms = labels.ordered("norm", cells["norm"]) if "norm" in names else [None]
    rows = []
    for key, part in cells.groupby(by, dropna=False, sort=False):
        row = [labels.short(name, value) for name, value in zip(by, key, strict=True)]
        for norm in norms:
            found = part if norm is None else part[part["norm"] == norm]
            row.append(_cell(found.iloc[0], chosen) if len(found) else labels.DASH)
        rows.append(row)
    heads = [labels.sentence(labels.short("norm", norm)) if norm else "Test accuracy" for norm in norms]
    return Result(header=[*map(labels.column, by), *heads], rows=rows, numbers=len(norms), note=_note(chosen))


def _cell(cell: "pd.Series[float]", chosen: list[str]) -> str:
    total = int(cell["n"] + cell["n_diverged"] + cell["n_other"])
    word = "diverged or failed" if cell["n_other"] else "diverged"
    failed = f"{total - int(cell['n'])} of {total} {word}" if cell["n"] < total else ""
    places = [labels.phrase(name, cell[name]) for name in chosen]
    beside = ", ".join(filter(None, [*places, failed]))
    return mean_of("test_accuracy")(cell) + (f" ({beside})" if beside else "")


def _note(chosen: list[str]) -> str:
    text = "Test accuracy: mean over seeds and half its 95 % t interval, or the whole where it ends at a limit."
    if not chosen:
        return text
    names = labels.joined([labels.column(name).lower() for name in chosen])
    return (
        f"{text} In each cell the {names} of best mean validation accuracy, a diverged run counted as 0."
        " The table of all cells is results/tables/summary.csv."
    )
