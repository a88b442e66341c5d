"""Tables of environments and wall times: the only ones that differ between machines."""

from pathlib import Path
from typing import Any

import pytest

from bnbench.core.files import write_sealed
from bnbench.tables import files as store_tables
from bnbench.tables.collect import collect
from bnbench.tables.environment import UNKNOWN
from tests.support.store import as_record, fill_store, make_plan, write_origin

SMALL: dict[str, Any] = {"E1": ({"epochs": 3}, {"norm": ["none", "batch"], "seed": [0, 1]})}
MACHINE = ("environment", "timings")


@pytest.fixture
def plan(tmp_path: Path) -> dict[str, Any]:
    plan = make_plan(SMALL)
    fill_store(plan, tmp_path / "runs")
    return plan


def collected(plan: dict[str, Any], folder: Path) -> dict[str, bytes]:
    """Return the bytes of all files of the tables."""
    collect(as_record(plan), folder / "runs", folder / "tables")
    return {path.name: path.read_bytes() for path in (folder / "tables").iterdir()}


def test_no_other_file_of_the_tables_depends_on_the_machine(plan: dict[str, Any], tmp_path: Path) -> None:
    first = collected(plan, tmp_path)
    write_origin(tmp_path / "provenance", plan["runs"], processor="EPYC", instructions="avx512", engine="CUDA graphs")
    timing = {"runs": list(plan["runs"]), "seconds": 2.5, "estimated": 2.0, "cpu": "EPYC", "device": "cpu"}
    write_sealed(tmp_path / "timings" / "aa.json", timing)
    second = collected(plan, tmp_path)
    names = {f"{name}.{kind}" for name in MACHINE for kind in ("csv", "parquet")}
    different = {name for name in first if first[name] != second[name]}
    assert different == names | {"environment-aa11.json"}


def test_each_run_has_its_environment_by_run_id(plan: dict[str, Any], tmp_path: Path) -> None:
    one, *others = sorted(plan["runs"])
    write_origin(tmp_path / "provenance", plan["runs"], comparable=False, reason="precision: fast")
    collected(plan, tmp_path)
    table = store_tables.read(tmp_path / "tables", "environment").set_index("run_id")
    assert list(table.index) == [one, *others]
    assert set(table.reason) == {"precision: fast"}
    assert set(table.scikit_learn) == {"1.7.1"}
    assert not table.comparable.any()


def test_a_run_trained_in_two_environments_has_a_row_for_each(plan: dict[str, Any], tmp_path: Path) -> None:
    name = min(plan["runs"])
    write_origin(tmp_path / "provenance", [name], processor="EPYC")
    collected(plan, tmp_path)
    table = store_tables.read(tmp_path / "tables", "environment")
    assert sorted(table.processor[table.run_id == name]) == ["EPYC", "Xeon"]
    assert len(table) == len(plan["runs"]) + 1


def test_a_run_resumed_in_the_same_environment_has_one_row(plan: dict[str, Any], tmp_path: Path) -> None:
    write_origin(tmp_path / "provenance", list(plan["runs"])[:2])
    collected(plan, tmp_path)
    assert len(store_tables.read(tmp_path / "tables", "environment")) == len(plan["runs"])


def test_runs_without_a_record_are_not_comparable(plan: dict[str, Any], tmp_path: Path) -> None:
    for path in (tmp_path / "provenance").iterdir():
        path.write_text("{")
    collected(plan, tmp_path)
    table = store_tables.read(tmp_path / "tables", "environment")
    assert list(table.run_id) == sorted(plan["runs"])
    assert set(table.reason) == {UNKNOWN}
    assert table.processor.isna().all()


def test_wall_times_are_those_of_packs(plan: dict[str, Any], tmp_path: Path) -> None:
    runs = sorted(plan["runs"])
    timing = {"runs": ["0" * 16, *runs[:2]], "seconds": 2.5, "estimated": 2.0, "cpu": "EPYC", "device": "cpu"}
    write_sealed(tmp_path / "timings" / "aa.json", timing)
    collected(plan, tmp_path)
    table = store_tables.read(tmp_path / "tables", "timings")
    assert list(table.run_id) == runs[:2]
    assert set(table.pack) == {"aa"}
    assert set(table.pack_runs) == {3}
    assert set(table.pack_seconds) == {2.5}
