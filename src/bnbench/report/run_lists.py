"""Lists of the runs behind each row of the report's tables, by the first characters of their ids."""

from dataclasses import dataclass

import pandas as pd

from bnbench.core.errors import UserError
from bnbench.figures.source import select_runs
from bnbench.plan.record import StudyRecord
from bnbench.report.result_tables import in_order, varied
from bnbench.report.template import Table
from bnbench.tables import labels
from bnbench.tables.files import CELL

LISTED = 2000  # runs of a study; longer lists are not worth reading
DIGITS = 10  # of an id; two of 10,000 runs share them in one of 20,000 reports


@dataclass(frozen=True, kw_only=True)
class RunLists:
    """Number of a study's runs; the runs of each cell and of each published value, unless they are too many."""

    runs: int
    cells: Table | None = None
    published: Table | None = None


def lists(study: StudyRecord, runs: pd.DataFrame, titles: dict[str, str]) -> RunLists:
    """List the runs of each cell of a study, and of each published value.

    Args:
        study: the study's part of the plan.
        runs: its rows of the table `runs`.
        titles: of the data sets, by name.
    """
    if len(runs) > LISTED:
        return RunLists(runs=len(runs))
    published = _of_published(study, runs) if study.published else None
    return RunLists(runs=len(runs), cells=_of_cells(labels.titled(runs, titles)), published=published)


def ids(runs: pd.DataFrame) -> str:
    """Return the runs of a row in the order of their seeds: `0:1f0c6e2ab8, 1:77a30b91c4 (diverged)`."""
    texts = []
    ordered = runs[["seed", "run_id", "status"]].sort_values("seed", kind="stable")
    for seed, run_id, status in zip(*(ordered[name].tolist() for name in ordered), strict=True):
        state = "" if status == "ok" else f" ({status})"
        texts.append(f"{seed}:{run_id[:DIGITS]}{state}")
    return ", ".join(texts)


def _of_cells(runs: pd.DataFrame) -> Table:
    names = varied(runs)
    runs = runs.assign(cell=runs.groupby(list(CELL), dropna=False, sort=False).ngroup())
    cells = dict(iter(runs[["cell", "seed", "run_id", "status"]].groupby("cell")))  # not the many settings
    rows = [
        [*(labels.short(name, cell[name]) for name in names), ids(cells[cell["cell"]])]
        for _, cell in in_order(runs.drop_duplicates("cell"), names).iterrows()
    ]
    return Table([*map(labels.column, names), "Seed: run"], rows)


def _of_published(study: StudyRecord, runs: pd.DataFrame) -> Table:
    rows = []
    for value in study.published:
        try:
            rows.append([value.what, ids(select_runs(runs, value))])
        except UserError:  # not in this tier, as the table of published values states
            continue
    return Table(["Quantity", "Seed: run"], rows)
