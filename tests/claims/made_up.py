"""Made-up runs with known effects: a plan with claims, and the tables of its runs."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from bnbench.claims.measured import Tables
from bnbench.claims.table import claims_table
from bnbench.params import architecture
from bnbench.plan.record import PlanRecord
from tests.support.store import Axes, Config, as_record, make_plan

Row = dict[str, Any]
Measure = Callable[[Config], Row]
EMPTY = {
    "history": ["run_id", "step", "epoch"],
    "probes": ["run_id", "probe", "step", "part", "layer", "quantity", "item", "at", "value"],
    "confusion": ["run_id", "part", "true_class", "predicted_class", "images", "share"],
}


def claim(**test: Any) -> Row:
    """Return a claim with this test; its effects matter from 0.01 on."""
    if "parts" not in test:
        test = {"y": "test_accuracy", "smallest": 0.01} | test
    return {"statement": "So it is.", "source": "table 1", "needs": {"dataset": ["digits"]}, "test": test}


def plan(claims: dict[str, Row], axes: Axes | None = None, work: str | None = "E") -> PlanRecord:
    """Return a plan of one study, S, with these claims."""
    varied = axes or {"norm": ["none", "batch"], "seed": list(range(5))}
    made = make_plan({"S": ({"model": "64-100-100-10"}, varied)})
    made["studies"]["S"] |= {"claims": claims, "work": work}
    return as_record(made)


def judged(record: PlanRecord, measure: Measure, rows: dict[str, Measure] | None = None) -> pd.DataFrame:
    """Return the table of claims of made-up runs, a row per claim, indexed by its name.

    Args:
        record: the plan.
        measure: returns a run's columns from its settings; `status` is ok unless it is given.
        rows: table -> function that returns a run's columns of it, each a list.
    """
    runs = []
    tables: dict[str, list[pd.DataFrame]] = {name: [pd.DataFrame(columns=names)] for name, names in EMPTY.items()}
    for run_id, run in record.runs.items():
        config = run.config.model_dump()
        row = {"run_id": run_id, "status": "ok", **config, "network": architecture.kind(config["model"])}
        runs.append(row | measure(config))
        for name, of_run in (rows or {}).items():
            tables[name].append(pd.DataFrame(of_run(config)).assign(run_id=run_id))
    joined = {name: pd.concat([frame for frame in parts if len(frame)] or parts) for name, parts in tables.items()}
    return claims_table(record, Tables(pd.DataFrame(runs), **joined)).set_index("claim")
