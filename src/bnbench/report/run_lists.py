"""The runs behind each row of the report's tables, by the beginnings of their ids."""

from typing import Any

import pandas as pd

from bnbench.core.errors import UserError
from bnbench.core.markdown import escape, folded, table
from bnbench.figures.source import select_runs
from bnbench.params.study_schema import Published
from bnbench.report.result_tables import in_order, varied
from bnbench.tables import labels
from bnbench.tables.files import CELL

LISTED = 2000  # runs of a study whose list is still read
DIGITS = 10  # of an id; so many are shared by two of 10,000 runs once in 20,000 reports


def lists(study: dict[str, Any], runs: pd.DataFrame, titles: dict[str, str]) -> list[str]:
    """Markdown: the runs of each cell of a study, and of each published value; folded where the reader can fold.

    Args:
        study: as the plan has it.
        runs: its rows of the table `runs`.
        titles: of the data sets.
    """
    if len(runs) > LISTED:
        return [escape(f"{labels.number(len(runs))} runs: they stand in results/tables/runs.csv.")]
    shown = [folded(f"{labels.number(len(runs))} runs", _of_cells(labels.titled(runs, titles)))]
    return [*shown, folded("published values", _of_published(study, runs))] if study["published"] else shown


def ids(runs: pd.DataFrame) -> str:
    """The runs of a row in the order of their seeds: `0:1f0c6e2ab8, 1:77a30b91c4 (diverged)`."""
    texts = []
    for run in runs.sort_values("seed", kind="stable").itertuples():
        state = "" if run.status == "ok" else f" ({run.status})"
        texts.append(f"{run.seed}:{str(run.run_id)[:DIGITS]}{state}")
    return ", ".join(texts)


def _of_cells(runs: pd.DataFrame) -> str:
    names = varied(runs)
    runs = runs.assign(cell=runs.groupby(list(CELL), dropna=False, sort=False).ngroup())
    parts = dict(iter(runs.groupby("cell")))
    rows = [
        [*(labels.short(name, cell[name]) for name in names), ids(parts[cell["cell"]])]
        for _, cell in in_order(runs.drop_duplicates("cell"), names).iterrows()
    ]
    return table([*map(labels.column, names), "Seed: run"], rows)


def _of_published(study: dict[str, Any], runs: pd.DataFrame) -> str:
    rows = []
    for value in map(Published.model_validate, study["published"]):
        try:
            rows.append([value.what, ids(select_runs(runs, value))])
        except UserError:  # not in this tier, as the table of published values says
            continue
    return table(["Quantity", "Seed: run"], rows)
