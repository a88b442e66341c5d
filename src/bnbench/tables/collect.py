"""Collection of the result tables from the run store; 10,000 runs of 60 epochs take 7 s and 0.7 GiB on one core."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from bnbench.arithmetic import exact
from bnbench.core import identities
from bnbench.core.atomic import explained
from bnbench.core.errors import UserError
from bnbench.core.files import write_json
from bnbench.params import architecture
from bnbench.params.layers.norms import NORMS
from bnbench.plan.record import PlanRecord
from bnbench.store import run_record as store_runs
from bnbench.store.probe_rows import PROBED
from bnbench.store.run_record import History, Outcome
from bnbench.tables import files as store_tables
from bnbench.tables.confusion import Counts, confusion_table
from bnbench.tables.environment import environment_table, timings_table
from bnbench.tables.files import CELL, CONFIG, CONFIG_TYPES, RESULTS, settings
from bnbench.tables.summary import COUNTS, aggregate, mean_curves

SUMMARISED = ("valid_accuracy", "test_accuracy", "test_loss", "train_accuracy", "official_accuracy")

WHERE_TYPES: dict[str, pa.DataType] = dict.fromkeys(("study", "work", "tier"), pa.string())
RUNS_TYPES: dict[str, pa.DataType] = {
    "run_id": pa.string(),
    **WHERE_TYPES,
    **CONFIG_TYPES,
    "status": pa.string(),
    "steps": pa.int64(),
    "epochs": pa.float64(),  # with the fraction of an unfinished last epoch
    "best_epoch": pa.float64(),
    "diverged_step": pa.int64(),
    "last_finite_loss": pa.float64(),
    "parameters": pa.int64(),
    "span": pa.int64(),
    **dict.fromkeys(RESULTS, pa.float64()),
    "generalisation_gap": pa.float64(),  # training minus test accuracy
}
HISTORY_TYPES: dict[str, pa.DataType] = {
    "run_id": pa.string(),
    "step": pa.int64(),
    "epoch": pa.float64(),
    "learning_rate": pa.float64(),
    **dict.fromkeys(RESULTS, pa.float64()),
}
SUMMARY_TYPES: dict[str, pa.DataType] = {
    **WHERE_TYPES,
    **{name: CONFIG_TYPES[name] for name in CELL},
    **dict.fromkeys(COUNTS, pa.int64()),
    **{f"{value}_{part}": pa.float64() for value in SUMMARISED for part in ("mean", "low", "high")},
}

CURVES_TYPES: dict[str, pa.DataType] = {
    **dict.fromkeys(("study", "norm"), pa.string()),
    **dict.fromkeys(("epoch", "train_loss", "valid_accuracy"), pa.float64()),
}


OUTCOME_COLUMNS = (
    "status",
    "steps",
    "epochs",
    "best_epoch",
    "diverged_step",
    "last_finite_loss",
    "parameters",
)


class Gathered(NamedTuple):
    """The tables that claims are judged by."""

    runs: pd.DataFrame
    history: pd.DataFrame
    confusion: pa.Table
    probes: pa.Table


Judge = Callable[[PlanRecord, Gathered], pa.Table]


def collect(plan: PlanRecord, store: Path, tables: Path, judge: Judge | None = None) -> None:
    """Write the tables `runs`, `history`, `summary`, `confusion`, `probes` and `curves` of a plan, and `metrics.json`.

    They are the same bytes on every machine. What differs between machines is in `environment` and `timings`, which
    have an identity file of their own. The identity files are written last. They hold the digest of each table; that of
    the results also holds the digest of the stored runs.

    Args:
        plan: the plan.
        store: the run store; records of its packs lie beside it, in `provenance` and `timings`.
        tables: the folder of the tables; `metrics.json` is written to its parent.
        judge: makes the table `claims`, which is written too; None: it is left out.

    Raises:
        UserError: a run of the plan is missing, cannot be read, or differs from the plan.
    """
    with explained(tables):
        tables.mkdir(parents=True, exist_ok=True)
    for stage in ("tables", "environment"):
        identities.forget(tables, identities.STAGES[stage].pattern)
    trained = identities.trained(store, sorted(plan.runs))
    found = gather(plan, store)
    store_tables.write(found.runs, tables, "runs", RUNS_TYPES)
    store_tables.write(found.history, tables, "history", HISTORY_TYPES)
    store_tables.write(summary_table(found.runs), tables, "summary", SUMMARY_TYPES)
    store_tables.write_table(found.confusion, tables, "confusion")
    store_tables.write_table(found.probes, tables, "probes")
    if judge:
        store_tables.write_table(judge(plan, found), tables, "claims")
    curves = store_tables.arrow(mean_curves(found.runs, found.history), CURVES_TYPES)
    store_tables.write_csv(curves, tables / "curves.csv")
    write_json(tables.parent / "metrics.json", metrics(found.runs))
    about = {key: getattr(plan, key) for key in ("tier", "tables_id", "trainer_version")}
    names = [name for name in identities.TABLES if judge or not name.startswith("claims.")]
    written = [tables.parent / "metrics.json", *(tables / name for name in names)]
    _write_machine_tables(plan, store.parent, tables)
    about |= {"runs": len(plan.runs), "trained": trained}
    identities.conclude(tables / f"identity-{plan.tables_id}.json", about, written)


def gather(plan: PlanRecord, store: Path) -> Gathered:
    """Return the tables of a plan's runs.

    Raises:
        UserError: a run of the plan is missing, cannot be read, or differs from the plan.
    """
    found = {run_id: read_run(plan, store, run_id) for run_id in sorted(plan.runs)}
    outcomes = {run_id: run.outcome for run_id, run in found.items()}
    counted: dict[str, dict[Any, Counts]] = {run_id: outcome.confusion or {} for run_id, outcome in outcomes.items()}
    return Gathered(
        runs=runs_table(plan, outcomes),
        history=history_table({run_id: run.history for run_id, run in found.items()}),
        confusion=confusion_table(counted),
        probes=probes_table({run_id: run.probes for run_id, run in found.items() if run.probes is not None}),
    )


def _write_machine_tables(plan: PlanRecord, results: Path, tables: Path) -> None:
    """Write the tables of `identities.MACHINE` from the records in the folder of results, and their identity file."""
    ids = sorted(plan.runs)
    store_tables.write_table(environment_table(ids, results / "provenance"), tables, "environment")
    store_tables.write_table(timings_table(ids, results / "timings"), tables, "timings")
    about = {key: getattr(plan, key) for key in ("tier", "tables_id", "trainer_version")}
    written = [tables / name for name in identities.MACHINE_TABLES]
    identities.conclude(tables / f"environment-{plan.tables_id}.json", about, written)


class Run(NamedTuple):
    """The content of a stored run that the tables need."""

    outcome: Outcome
    history: History
    probes: pa.Table | None


def read_run(plan: PlanRecord, store: Path, run_id: str) -> Run:
    """Return a run of the plan after verifying the checksums of its files.

    Raises:
        UserError: the run is missing, unreadable or altered, or has other settings, data or trainer version than
            the plan's run of that id.
    """
    folder = store / run_id
    if not (folder / "run.json").exists():
        raise UserError(
            f"every run of the plan must be in the run store, but run {run_id} is not: there is no {folder}/run.json.\n"
            f"Delete the folder {folder}, if it exists, and start again: only that run is trained again."
        )
    found = store_runs.load(folder)
    outcome = store_runs.outcome(found)
    _check_planned(plan, folder, outcome)
    try:
        history = History.model_validate_json(found.file("history.json"))
        return Run(outcome, history, _probes(found.file("probes.parquet")) if outcome.config["probes"] else None)
    except (ValidationError, pa.ArrowException) as error:
        what = "history.json" if isinstance(error, ValidationError) else "probes.parquet"
        raise store_runs.damaged(folder, f"{folder / what}: {error}") from error


def _check_planned(plan: PlanRecord, folder: Path, outcome: Outcome) -> None:
    """Check that a stored run is the plan's run of that id: the same settings, data and trainer version.

    Raises:
        UserError: it is not; with the path and the remedy.
    """
    planned = plan.runs[folder.name]
    expected = {
        "config": planned.config.model_dump(mode="json"),
        "data": planned.data,
        "trainer_version": plan.trainer_version,
    }
    for key, value in expected.items():
        if (seen := getattr(outcome, key)) != value:
            raise store_runs.damaged(folder, f"{folder}/run.json: its {key} is {seen}, the plan's is {value}")


def _probes(content: bytes) -> pa.Table:
    return pq.read_table(pa.BufferReader(content), schema=pa.schema(list(PROBED.items())))


def runs_table(plan: PlanRecord, outcomes: dict[str, Outcome]) -> pd.DataFrame:
    """Return a row per study and run, sorted by study and configuration."""
    rows: dict[str, list[Any]] = {name: [] for name in RUNS_TYPES}
    for name, study in plan.studies.items():
        for run_id in study.runs:
            outcome = outcomes[run_id]
            row: dict[str, Any] = {"run_id": run_id, "study": name, "work": study.work, "tier": plan.tier}
            row |= settings(outcome.config) | {"network": architecture.kind(outcome.config["model"])}
            row |= {column: getattr(outcome, column) for column in (*OUTCOME_COLUMNS, *RESULTS)}
            row["generalisation_gap"] = _gap(outcome)
            row["span"] = NORMS[row["norm"]].samples(row["batch_size"], row["norm_parts"])
            for column, values in rows.items():
                values.append(row[column])
    frame = pd.DataFrame(rows)
    return frame.sort_values(["study", *CONFIG, "run_id"], na_position="first", ignore_index=True)


def _gap(outcome: Outcome) -> float | None:
    if outcome.train_accuracy is None or outcome.test_accuracy is None:
        return None
    return outcome.train_accuracy - outcome.test_accuracy


def history_table(histories: dict[str, History]) -> pd.DataFrame:
    """Return a row per run and evaluation, in the order of run ids."""
    columns: dict[str, list[Any]] = {name: [] for name in History.model_fields}
    for history in histories.values():
        for name, values in columns.items():
            values.extend(getattr(history, name))
    lengths = [len(history.step) for history in histories.values()]
    run_ids = np.repeat(np.array(list(histories), dtype=object), lengths)
    return pd.DataFrame({"run_id": run_ids, **columns})


def probes_table(probed: dict[str, pa.Table]) -> pa.Table:
    """Return a row per run and number that a probe measured, in the order of run ids."""
    schema = pa.schema([("run_id", pa.string()), *PROBED.items()])
    named = [
        table.add_column(0, "run_id", pa.array([run_id] * len(table), pa.string())) for run_id, table in probed.items()
    ]
    return pa.concat_tables([schema.empty_table(), *named])


def summary_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Return a row per study and cell (a configuration without its seed), sorted by study and configuration."""
    by = [*WHERE_TYPES, *CELL]
    summary = aggregate(runs, by, list(SUMMARISED))
    return summary.sort_values(["study", *CELL], na_position="first", ignore_index=True)


def metrics(runs: pd.DataFrame) -> dict[str, Any]:
    """Return the numbers for `dvc metrics show`: counts of runs, and per study the mean test accuracy of each norm.

    A run whose status is not `ok` counts as accuracy 0, so that a norm gains nothing from runs that diverge.
    """
    status = runs.drop_duplicates("run_id")["status"]
    studies: dict[str, dict[str, Any]] = {}
    for (study, norm), part in runs.groupby(["study", "norm"]):
        accuracy = exact.mean(part["test_accuracy"].where(part["status"] == "ok", 0.0).dropna().tolist())
        values = studies.setdefault(str(study), {"test_accuracy": {}})["test_accuracy"]
        values[str(norm)] = round(accuracy, 6)
    counts = {"ok": int((status == "ok").sum()), "diverged": int((status == "diverged").sum())}
    return {"runs": len(status), **counts, "studies": studies}
