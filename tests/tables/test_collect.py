"""Collection: tables compared with SciPy and pandas, and refusals of runs that differ from the plan."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scipy import stats

from bnbench.core.errors import UserError
from bnbench.core.files import read_json, write_json
from bnbench.core.identities import seen
from bnbench.params.run_schema import Run
from bnbench.tables import files as store_tables
from bnbench.tables.collect import RUNS_TYPES, collect, metrics
from bnbench.tables.files import CONFIG
from tests.support.store import as_record, fill_store, make_plan, rewrite, write_origin

SMALL: dict[str, Any] = {
    "A1": ({"epochs": 3}, {"norm": ["none", "batch"], "seed": [0, 1, 2]}),
    "E1": (
        {"batch_size": 16, "epochs": 3},
        {"norm": ["none", "batch"], "learning_rate": [0.1, 1.0], "seed": [0, 1, 2]},
    ),
}


@pytest.fixture
def plan(tmp_path: Path) -> dict[str, Any]:
    plan = make_plan(SMALL)
    fill_store(plan, tmp_path / "runs")
    return plan


def collected(plan: dict[str, Any], folder: Path) -> Path:
    collect(as_record(plan), folder / "runs", folder / "tables")
    return folder / "tables"


def test_a_row_per_study_and_run(plan: dict[str, Any], tmp_path: Path) -> None:
    plan["studies"]["B1"] = {**plan["studies"]["A1"], "work": "B"}  # shares every run with A1
    tables = collected(plan, tmp_path)
    runs = store_tables.read(tables, "runs")
    assert list(runs.columns) == list(RUNS_TYPES)
    assert runs.groupby("study").size().to_dict() == {"A1": 6, "B1": 6, "E1": 12}
    assert len(Run.model_fields) == len(CONFIG)
    assert (runs["max_epochs"] == 3).all()
    history = store_tables.read(tables, "history")
    assert not history.duplicated(["run_id", "step"]).any()
    assert set(history["run_id"]) == set(plan["runs"])


def test_norms_have_their_settings_as_text_and_their_span_as_a_number(tmp_path: Path) -> None:
    norms = {"none": None, "batch": 16, "center": 16, "renorm": 16, "ghost": 4, "group": 1, "layer": 1}
    base = {"batch_size": 16, "norm_parts": 4, "norm_gamma": 2.0, "epochs": 3}
    plan = make_plan({"E1": (base, {"norm": list(norms), "norm_beta": ["learned", 0.5], "seed": [0]})})
    fill_store(plan, tmp_path / "runs")
    tables = collected(plan, tmp_path)
    runs = store_tables.read(tables, "runs")
    spans = runs.drop_duplicates("norm").set_index("norm")["span"]
    assert {name: None if pd.isna(value) else value for name, value in spans.items()} == norms
    assert set(runs.norm_gamma) == {"2"}
    assert set(runs.norm_beta) == {"learned", "0.5"}
    assert set(runs.renorm_rmax_ramp) == {"1 to 4"}
    again = store_tables.read_csv(tables / "runs.csv")
    assert [list(again[name]) for name in ("norm_gamma", "norm_beta")] == [list(runs.norm_gamma), list(runs.norm_beta)]


def test_summary_is_the_t_interval_of_scipy(plan: dict[str, Any], tmp_path: Path) -> None:
    tables = collected(plan, tmp_path)
    runs, summary = store_tables.read(tables, "runs"), store_tables.read(tables, "summary")
    assert len(summary) == 6
    for index, row in enumerate(summary.itertuples()):
        same = (runs.study == row.study) & (runs.norm == row.norm) & (runs.learning_rate == row.learning_rate)
        cell = runs[same]
        good = cell.loc[cell.status == "ok", "test_accuracy"]
        assert (row.n, row.n_diverged) == (len(good), len(cell) - len(good))
        if len(good) >= 2:
            low, high = stats.t.interval(0.95, len(good) - 1, loc=good.mean(), scale=stats.sem(good))
            found = (row.test_accuracy_mean, row.test_accuracy_low, row.test_accuracy_high)
            assert found == pytest.approx((good.mean(), low, high))
        else:
            assert summary.test_accuracy_low.isna().iloc[index]


def test_diverged_runs_are_counted_not_averaged(plan: dict[str, Any], tmp_path: Path) -> None:
    tables = collected(plan, tmp_path)
    runs = store_tables.read(tables, "runs")
    summary = store_tables.read(tables, "summary")
    diverged = runs[runs.status == "diverged"]
    assert len(diverged) > 0
    assert set(diverged.norm) == {"none"}
    assert diverged.diverged_step.notna().all()
    assert diverged.test_accuracy.isna().all()
    assert summary.n_diverged.sum() == len(diverged)
    assert summary.n.sum() + len(diverged) == len(runs)


def test_an_ok_run_with_an_infinite_loss_makes_no_mean(plan: dict[str, Any], tmp_path: Path) -> None:
    run_id = plan["studies"]["A1"]["runs"][-1]
    rewrite(tmp_path / "runs" / run_id, test_loss=None)
    summary = store_tables.read(collected(plan, tmp_path), "summary")
    cell = summary[(summary.study == "A1") & (summary.norm == "batch")].iloc[0]
    assert cell.n == 3
    assert pd.isna(cell.test_loss_mean)
    assert cell.test_accuracy_mean > 0


def test_the_same_bytes_twice_and_from_a_shuffled_plan(plan: dict[str, Any], tmp_path: Path) -> None:
    first = collected(plan, tmp_path)
    first_bytes = {path.name: path.read_bytes() for path in first.iterdir()}
    first_bytes["metrics"] = (tmp_path / "metrics.json").read_bytes()
    plan["runs"] = dict(reversed(plan["runs"].items()))
    plan["studies"] = dict(reversed(plan["studies"].items()))
    for study in plan["studies"].values():
        study["runs"].reverse()
    second = collected(plan, tmp_path)
    again = {path.name: path.read_bytes() for path in second.iterdir()}
    assert again | {"metrics": (tmp_path / "metrics.json").read_bytes()} == first_bytes
    tables = ("runs", "history", "summary", "confusion", "probes", "environment", "timings")
    names = {f"{table}.{kind}" for table in tables for kind in ("csv", "parquet")}
    assert set(again) == names | {"curves.csv", "identity-aa11.json", "environment-aa11.json"}


def test_identity_is_replaced(plan: dict[str, Any], tmp_path: Path) -> None:
    tables = collected(plan, tmp_path)
    collected(plan | {"tables_id": "dd44"}, tmp_path)
    identity = read_json(tables / "identity-dd44.json")
    assert [path.name for path in tables.glob("identity-*")] == ["identity-dd44.json"]
    about = {"tier": "quick", "tables_id": "dd44", "trainer_version": 1, "runs": 18}
    assert {key: identity[key] for key in about} == about
    files = {path.name: seen(path) for path in tables.iterdir() if path.name != "identity-dd44.json"}
    machine = {name: files.pop(name) for name in list(files) if name.startswith(("environment.", "timings."))}
    assert files.pop("environment-dd44.json")
    assert identity["files"] == files | {"../metrics.json": seen(tmp_path / "metrics.json")}
    assert read_json(tables / "environment-dd44.json")["files"] == machine


def test_no_identity_after_a_failure(plan: dict[str, Any], tmp_path: Path) -> None:
    tables = collected(plan, tmp_path)
    shutil.rmtree(tmp_path / "runs" / next(iter(plan["runs"])))
    with pytest.raises(UserError):
        collected(plan, tmp_path)
    assert not list(tables.glob("identity-*"))


def test_csv_keeps_every_text(plan: dict[str, Any], tmp_path: Path) -> None:
    fill_store(plan, tmp_path / "runs")
    for run_id, text in zip(plan["runs"], ["null", "NA", 'a,b "c"\n', "=cmd()"], strict=False):
        write_origin(tmp_path / "provenance", [run_id], processor=text)
    tables = collected(plan, tmp_path)
    for name in ("runs", "history", "summary", "environment"):
        parquet = store_tables.read(tables, name)
        csv = store_tables.read_csv(tables / f"{name}.csv")
        if name == "runs":
            assert set(csv.norm) == {"none", "batch"}
        if name == "environment":
            assert {"null", "NA", 'a,b "c"\n'} < set(csv.processor)
            parquet["processor"] = parquet["processor"].replace("=cmd()", "'=cmd()")  # no spreadsheet executes it
        pd.testing.assert_frame_equal(csv, parquet, check_dtype=False, rtol=0, atol=0)


def test_a_missing_run_is_named(plan: dict[str, Any], tmp_path: Path) -> None:
    gone = plan["studies"]["E1"]["runs"][3]
    shutil.rmtree(tmp_path / "runs" / gone)
    with pytest.raises(UserError, match=rf"run {gone} is not: there is no .*run.json") as caught:
        collected(plan, tmp_path)
    assert "start again" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"run_id": "other"}, "its run_id is other"),
        ({"config": {"norm": "batch"}}, "are those of run"),
        ({"trainer_version": 2}, "and trainer version 2 are those of run"),
        ({"status": "fine"}, "status"),
        ({"steps": None}, "steps"),
        ({"confusion": {"test": [[1, 2], [3]]}}, "the matrix of the part test is not square"),
        ({"confusion": {"valid": [[1]]}}, "confusion.valid"),
    ],
)
def test_a_run_that_is_not_the_plans(
    plan: dict[str, Any], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    run_id = plan["studies"]["A1"]["runs"][0]
    rewrite(tmp_path / "runs" / run_id, **change)
    with pytest.raises(UserError, match=rf"(?s)run {run_id}.*{message}.*Delete the folder"):
        collected(plan, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "d2"}, "its data is d1, the plan's is d2"),
        ({"config": {"norm": "group"}}, "its config is .*, the plan's is .*'norm': 'group'"),
    ],
)
def test_a_run_of_the_plans_id_with_other_data_or_settings_is_refused(
    plan: dict[str, Any], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    run_id = plan["studies"]["A1"]["runs"][0]
    planned = plan["runs"][run_id]
    for key, value in change.items():
        planned[key] = planned[key] | value if isinstance(value, dict) else value
    folder = tmp_path / "runs" / run_id
    with pytest.raises(
        UserError, match=rf"(?s)run {run_id} .*{folder}/run.json: {message}.*Delete the folder {folder}"
    ):
        collected(plan, tmp_path)


@pytest.mark.parametrize("name", ["run.json", "history.json"])
def test_a_changed_digit_is_noticed(plan: dict[str, Any], tmp_path: Path, name: str) -> None:
    path = tmp_path / "runs" / plan["studies"]["E1"]["runs"][2] / name
    content = bytearray(path.read_bytes())
    content[content.rindex(b"0.") + 2] ^= 1  # 0 for 1, 2 for 3, ...
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"{name} was altered: (?s:.*)Delete the folder"):
        collected(plan, tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b'{"step": [1]}', b'{"test_loss": [NaN]}'])
def test_a_damaged_history_is_named(plan: dict[str, Any], tmp_path: Path, content: bytes) -> None:
    run_id = plan["studies"]["A1"]["runs"][0]
    (tmp_path / "runs" / run_id / "history.json").write_bytes(content)
    with pytest.raises(UserError, match=rf"run {run_id}.*history.json"):
        collected(plan, tmp_path)


def test_a_run_that_diverged_before_its_first_evaluation(plan: dict[str, Any], tmp_path: Path) -> None:
    run_id = plan["studies"]["A1"]["runs"][0]
    path = tmp_path / "runs" / run_id
    write_json(path / "history.json", {})
    rewrite(path, status="diverged")
    tables = collected(plan, tmp_path)
    history = store_tables.read(tables, "history")
    assert len(set(history["run_id"])) == len(plan["runs"]) - 1
    assert history.test_accuracy.isna().all()  # not measured during training
    assert run_id in set(store_tables.read(tables, "runs")["run_id"])


def test_history_columns_of_different_length(plan: dict[str, Any], tmp_path: Path) -> None:
    run_id = plan["studies"]["A1"]["runs"][0]
    path = tmp_path / "runs" / run_id / "history.json"
    write_json(path, read_json(path) | {"step": [18]})
    rewrite(path.parent)
    with pytest.raises(UserError, match="columns differ in length"):
        collected(plan, tmp_path)


def test_metrics_are_few_rounded_numbers(plan: dict[str, Any], tmp_path: Path) -> None:
    plan["studies"]["B1"] = {**plan["studies"]["A1"], "work": "B"}
    runs = store_tables.read(collected(plan, tmp_path), "runs")
    found = metrics(runs)
    assert found["runs"] == 18
    assert found["ok"] + found["diverged"] == 18
    good = runs[(runs.study == "E1") & (runs.norm == "batch")].test_accuracy.mean()
    assert found["studies"]["E1"]["test_accuracy"]["batch"] == round(good, 6)
    assert json.loads((tmp_path / "metrics.json").read_text()) == found


def test_a_study_where_nothing_is_ok(tmp_path: Path) -> None:
    plan = make_plan({"E1": ({"norm": "none", "batch_size": 4, "learning_rate": 1.0}, {"seed": [0, 1]})})
    fill_store(plan, tmp_path / "runs")
    summary = store_tables.read(collected(plan, tmp_path), "summary")
    assert summary[["n", "n_diverged"]].to_numpy().tolist() == [[0, 2]]
    assert summary.test_accuracy_mean.isna().all()
    assert read_json(tmp_path / "metrics.json")["studies"]["E1"]["test_accuracy"] == {"none": 0.0}


def test_metrics_count_a_diverged_run_as_accuracy_0(tmp_path: Path) -> None:
    plan = make_plan({"E1": ({"batch_size": 16, "learning_rate": 1.0}, {"norm": ["none", "batch"], "seed": [0, 1, 2]})})
    fill_store(plan, tmp_path / "runs")
    collected(plan, tmp_path)
    found = read_json(tmp_path / "metrics.json")
    sums: dict[str, float] = {"none": 0.0, "batch": 0.0}
    for path in (tmp_path / "runs").glob("*/run.json"):
        outcome = read_json(path)
        sums[outcome["config"]["norm"]] += outcome["test_accuracy"] if outcome["status"] == "ok" else 0
    assert found["diverged"] == 2
    assert found["studies"]["E1"]["test_accuracy"] == {norm: pytest.approx(sums[norm] / 3, abs=1e-6) for norm in sums}
    assert found["studies"]["E1"]["test_accuracy"]["none"] < 0.4


@pytest.mark.parametrize(
    ("module", "unused"),
    [
        ("cli", {"torch", "numpy", "pandas", "pydantic"}),
        ("workflow", {"torch", "pandas", "pyarrow", "matplotlib"}),
        ("tables.collect", {"torch", "seaborn", "matplotlib"}),
        ("figures.draw", {"torch", "seaborn"}),
        ("report.render", {"torch", "seaborn"}),
    ],
)
def test_a_stage_loads_only_the_libraries_that_it_needs(module: str, unused: set[str]) -> None:
    code = f"import sys, bnbench.{module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"snakemake", "dvc", *unused} & set(done.stdout.split())
