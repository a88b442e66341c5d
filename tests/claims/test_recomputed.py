"""Five claims recomputed from `runs.csv` and `history.csv` by a script that shares no code with the package."""

import csv
import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bnbench.claims.table import judge
from bnbench.tables.collect import collect
from bnbench.tables.files import read
from tests.claims.made_up import claim
from tests.support.store import as_record, fill_store, make_plan

T975 = {2: 4.302653, 4: 2.776445}  # of Student's t, by degrees of freedom
SMALL = {"model": "64-100-100-10", "batch_size": 64}
RATE = SMALL | {"learning_rate": 0.1}
HIGH = SMALL | {"learning_rate": 1}
CLAIMS = {
    "E-c1": claim(kind="difference", where=RATE, more={"norm": "batch"}, less={"norm": "none"}),
    "E-c2": claim(kind="difference", where=HIGH, more={"norm": "batch"}, less={"norm": "none"}),
    "E-c3": claim(
        kind="interaction", where=SMALL, more={"learning_rate": 0.1}, less={"learning_rate": 0.01},
        gains={"norm": "batch"}, than={"norm": "none"},
    ),
    "E-c4": claim(
        kind="level", where=RATE | {"norm": "none"}, side="at_least", value=0.96
    ),
    "E-c5": claim(
        kind="faster", y="valid_accuracy", reach=0.9, where=RATE, fast={"norm": "batch"},
        slow={"norm": "none"},
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("claims")
    plan = make_plan()
    plan["studies"]["E1"]["claims"] = CLAIMS
    fill_store(plan, folder / "runs")
    collect(as_record(plan), folder / "runs", folder / "tables", judge)
    return folder / "tables"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def values(tables: Path, norm: str, rate: str) -> dict[str, dict[str, str]]:
    """Return a row per seed of study E1, of one norm and learning rate."""
    return {
        row["seed"]: row
        for row in rows(tables / "runs.csv")
        if (row["study"], row["model"], row["batch_size"]) == ("E1", "64-100-100-10", "64")
        and (row["norm"], float(row["learning_rate"])) == (norm, float(rate))
    }


def accuracy(row: dict[str, str]) -> float:
    return float(row["test_accuracy"]) if row["status"] == "ok" else 0.0


def differences(tables: Path, rate: str) -> list[float]:
    batch, none = (values(tables, norm, rate) for norm in ("batch", "none"))
    return [accuracy(batch[seed]) - accuracy(none[seed]) for seed in batch]


def reached(tables: Path, run: str) -> float:
    found = [
        row for row in rows(tables / "history.csv") if row["run_id"] == run and float(row["valid_accuracy"]) >= 0.9
    ]
    return math.log10(min(int(row["step"]) for row in found))


def recomputed(tables: Path, name: str) -> list[float]:
    batch, none = (values(tables, norm, "0.1") for norm in ("batch", "none"))
    effects: dict[str, list[float]] = {
        "E-c1": differences(tables, "0.1"),
        "E-c2": differences(tables, "1"),
        "E-c4": [accuracy(row) - 0.96 for row in none.values()],
        "E-c5": [reached(tables, none[seed]["run_id"]) - reached(tables, batch[seed]["run_id"]) for seed in batch],
    }
    low, high = differences(tables, "0.01"), differences(tables, "0.1")
    effects["E-c3"] = [b - a for a, b in zip(low, high, strict=True)]
    return effects[name]


@pytest.mark.parametrize("name", CLAIMS)
def test_effect_and_interval_agree_with_an_independent_computation(tables: Path, name: str) -> None:
    found = read(tables, "claims").set_index("claim").loc[name]
    effects = recomputed(tables, name)
    mean, deviation = statistics.mean(effects), statistics.stdev(effects)
    half = T975[len(effects) - 1] * deviation / math.sqrt(len(effects))
    assert found["n"] == len(effects)
    assert found["effect"] == pytest.approx(mean, rel=1e-6, abs=1e-12)
    if deviation > 1e-12:
        assert (found["ci_low"], found["ci_high"]) == pytest.approx(
            (max(mean - half, -1), min(mean + half, 1)), rel=1e-4
        )


def test_the_table_is_written_as_parquet_and_csv_and_its_identity_names_both(tables: Path) -> None:
    written: pd.DataFrame = read(tables, "claims")
    with (tables / "claims.csv").open() as file:
        from_csv: list[dict[str, Any]] = list(csv.DictReader(file))
    assert [row["claim"] for row in from_csv] == list(written["claim"]) == list(CLAIMS)
    assert np.allclose([float(row["effect"]) for row in from_csv], written["effect"])
    (identity,) = tables.glob("identity-*.json")
    assert all(f'"{name}"' in identity.read_text() for name in ("claims.parquet", "claims.csv"))
