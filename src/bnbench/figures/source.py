"""Tables of one study, and the rows of them that a figure or a published value measures."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from bnbench.core.errors import UserError
from bnbench.params.fields import CLASSES
from bnbench.params.run_schema import Run
from bnbench.params.study_schema import Measure
from bnbench.plan.record import PlanRecord
from bnbench.tables import files as store_tables
from bnbench.tables.confusion import class_rows
from bnbench.tables.files import CELL, RENAMED, settings
from bnbench.tables.probes import picked

# columns that locate a row of a probe within its run
LOCATIONS = ("step", "epoch", "part", "layer", "quantity", "item", "at")
# probe -> what its column `item` numbers
ITEMS = {"neurons": "unit", "percentiles": "percentile", "one_by_one": "images_together", CLASSES: "true_class"}
# probe -> what its column `at` numbers, where it holds one of several values
ATS = {CLASSES: "predicted_class"}
VALUE = "value"


class Rows:
    """A table of rows of runs, which gives the rows of some of the runs."""

    def __init__(self, table: pd.DataFrame) -> None:
        self._table = table
        self._places = table.groupby("run_id", sort=False).indices

    def of(self, run_ids: Iterable[str]) -> pd.DataFrame:
        """Return the rows of these runs, in the order of the table."""
        found = [self._places[run_id] for run_id in dict.fromkeys(run_ids) if run_id in self._places]
        return self._table.take(np.sort(np.concatenate([*found, np.empty(0, np.intp)]))).reset_index(drop=True)


@dataclass(frozen=True)
class Tables:
    """The tables of a plan, each read and verified once, when it is first used."""

    folder: Path
    plan: PlanRecord

    @cached_property
    def runs(self) -> pd.DataFrame:
        """A row per run and study."""
        return store_tables.read(self.folder, "runs", self.plan.tables_id)

    @cached_property
    def history(self) -> Rows:
        """A row per run and evaluation."""
        return Rows(store_tables.read(self.folder, "history", self.plan.tables_id))

    @cached_property
    def probes(self) -> Rows:
        """A row per run and recorded value."""
        return Rows(store_tables.read(self.folder, "probes", self.plan.tables_id))

    @cached_property
    def confusion(self) -> Rows:
        """A row per run, true class and predicted class."""
        return Rows(store_tables.read(self.folder, "confusion", self.plan.tables_id))

    def study(self, name: str) -> "Source":
        """Return the rows of a study; the confusion matrices only where a figure or a value uses them."""
        record = self.plan.studies[name]
        runs = self.runs[self.runs["study"] == name]
        probes = self.probes.of(runs["run_id"])
        measures: list[Measure] = [*record.figures.values(), *record.published]
        if any(measure.probe == CLASSES for measure in measures):
            probes = pd.concat([probes, class_rows(self.confusion.of(runs["run_id"]))], ignore_index=True)
        configs = {run_id: self.plan.runs[run_id].config for run_id in runs["run_id"]}
        shapes = {name: dataset.shape for name, dataset in self.plan.datasets.items()}
        return Source(runs, self.history.of(runs["run_id"]), probes, configs, shapes)


@dataclass(frozen=True)
class Source:
    """Tables of one study, the configurations of its runs, and the image shapes of the data sets.

    Args:
        runs: a row per run.
        history: a row per run and evaluation.
        probes: a row per run and recorded value.
        configs: run id -> configuration.
        shapes: data set -> shape (C, H, W) of an image.
    """

    runs: pd.DataFrame
    history: pd.DataFrame
    probes: pd.DataFrame
    configs: dict[str, Run]
    shapes: dict[str, tuple[int, int, int]]

    @classmethod
    def read(cls, tables: Path, plan: PlanRecord, study: str) -> "Source":
        """Read a study's rows of the tables, which are used for nothing else."""
        return Tables(tables, plan).study(study)


def column(name: str, probe: str | None = None) -> str:
    """Return the column of the tables that holds a setting; of a probe, `item` and `at` by what they number."""
    named = {"item": ITEMS, "at": ATS}.get(name, {})
    return named.get(probe or "", RENAMED.get(name, name))


def value_columns(measure: Measure) -> list[str]:
    """Return the columns that hold the measured values."""
    if measure.probe:
        return [VALUE]
    return measure.y if isinstance(measure.y, list) else [measure.y or "test_accuracy"]


def select_runs(runs: pd.DataFrame, measure: Measure) -> pd.DataFrame:
    """Return the rows of `runs` that have the values of `where`.

    Raises:
        UserError: no run has them.
    """
    where = settings(measure.where.model_dump(exclude_unset=True))
    frame = runs
    for name, value in where.items():
        frame = frame[frame[name].isna() if value is None else frame[name] == value]
    if frame.empty:
        raise UserError(f"no run has {where}: take values for `where` from the study's grid")
    return frame


def measured_rows(source: Source, measure: Measure) -> pd.DataFrame:
    """Return a row per selected run; with a probe, a row per selected run and picked row of the probe.

    Raises:
        UserError: no run has the values of `where`, or none recorded rows that match `pick`.
    """
    runs = select_runs(source.runs, measure)
    if measure.probe is None:
        return runs
    pick = measure.pick.model_dump(exclude_unset=True)
    rows = picked(source.probes, measure.probe, pick)
    own = [name for name in (*LOCATIONS, VALUE) if name in rows]
    # a probe's own columns replace columns of the same name in the table of runs
    found = runs.drop(columns=[name for name in own if name in runs]).merge(rows[["run_id", *own]], on="run_id")
    if found.empty:
        raise UserError(f"no run recorded rows of the probe {measure.probe!r} with {pick}")
    return found


def named_rows(source: Source, measure: Measure) -> pd.DataFrame:
    """Return `measured_rows` with a probe's `item` and `at` renamed to what they number."""
    rows = measured_rows(source, measure)
    return rows.rename(columns={name: column(name, measure.probe) for name in ("item", "at")})


def check_columns(rows: pd.DataFrame, names: Iterable[str]) -> None:
    """Check that all `names` are columns of `rows`.

    Raises:
        UserError: one is not.
    """
    for name in names:
        if name not in rows:
            raise UserError(f"the figure's data have no column {name!r}; known are {', '.join(map(str, rows.columns))}")


def check_only_seeds_mix(rows: pd.DataFrame, names: Iterable[str]) -> None:
    """Check that rows that agree in `names` agree in all settings and locations, so that a mean is over seeds only.

    Raises:
        UserError: a name is no column, or a mean would be over different settings.
    """
    names = list(dict.fromkeys(names))
    check_columns(rows, names)
    within = (*LOCATIONS, *ITEMS.values(), *ATS.values()) if VALUE in rows else ()
    located = [name for name in within if name in rows and name not in ("epoch", "at")]
    mixed = [name for name in (*CELL, *located) if name not in names and rows[name].nunique(dropna=False) > 1]
    by = [name for name in names if name != "seed"]  # with seeds apart, the settings must still be one cell
    if mixed and by:
        mixed = [name for name in mixed if (rows.groupby(by, dropna=False)[name].nunique(dropna=False) > 1).any()]
    if mixed:
        raise UserError(
            f"a figure takes the mean over seeds only, but its points would mix runs of different"
            f" {', '.join(mixed)}: use x, hue, col or row for it, or select one value by `where` or `pick`"
        )
