"""Results against published digests: equal, or the first run, step and quantity that differ, and the likely reason."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from bnbench.cli import main
from bnbench.core.files import read_json, write_json, write_sealed
from bnbench.core.identities import conclude
from bnbench.manage import published
from bnbench.store import measurements, records, run_record
from bnbench.store.measurements import Measurement
from bnbench.tables import files as store_tables
from tests.support.store import rewrite

RUNS, TABLES, PROVENANCE = Path("results/runs"), Path("results/tables"), Path("results/provenance")
pytestmark = pytest.mark.usefixtures("project")


@pytest.fixture(autouse=True)
def _published(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Publish the digests of the miniature's results."""
    assert project == Path.cwd()
    assert main(["verify", "--write"]) == 0
    capsys.readouterr()


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a function that verifies, checks the exit code, and returns what was printed."""

    def verify(code: int, *words: str) -> str:
        assert main(["verify", *words]) == code
        out, err = capsys.readouterr()
        return out + err

    return verify


def first_run() -> Path:
    return min(run_record.run_folders(RUNS))


def altered(folder: Path, column: str, row: int, value: Any) -> None:
    """Change a value of a run's history and renew its digests, so that the run stays intact."""
    history = read_json(folder / "history.json")
    history[column][row] = value
    write_json(folder / "history.json", history)
    rewrite(folder)


def environment(**changes: Any) -> None:
    """Change values of the environment in all records of provenance."""
    for path in records.paths(PROVENANCE):
        record = records.read(path)
        write_sealed(path, record | {"environment": record["environment"] | changes})


def edit(**changes: Any) -> None:
    """Change values of the published digests and renew the file's own."""
    record = read_json(published.path("quick"))
    write_sealed(published.path("quick"), {key: value for key, value in record.items() if key != "digest"} | changes)


def test_equal_results_are_equal(said: Callable[..., str]) -> None:
    out = said(0)
    assert "tier quick: equal: 4 runs and 7 tables are as published (arithmetic 1, given by" in out
    assert said(0, "--results", str(Path("results").resolve())) == out


def test_a_tables_digest_is_that_of_its_csv_file_and_of_the_values_in_its_parquet_file() -> None:
    tables = published.read("quick").tables
    assert set(tables) == {"runs", "history", "summary", "confusion", "probes", "claims", "curves"}
    for name, of in tables.items():
        assert hashlib.sha256((TABLES / f"{name}.csv").read_bytes()).hexdigest() == of
        if name != "curves":
            table = pq.read_table(TABLES / f"{name}.parquet")
            assert hashlib.sha256(store_tables.csv_bytes(table)).hexdigest() == of


def test_the_first_run_step_and_quantity_that_differ_are_named(said: Callable[..., str]) -> None:
    folder = first_run()
    step = read_json(folder / "history.json")["step"][0]
    altered(folder, "valid_loss", 0, 0.125)
    altered(max(run_record.run_folders(RUNS)), "train_loss", 0, 0.5)
    out = said(1)
    assert f"2 runs differ, first {folder.name} (study S, 64-8-10, norm " in out
    assert f": at step {step}, valid_loss is 0.125 here" in out
    assert "tables are not compared" in out
    assert "tier quick: different" in out


def test_each_measurement_that_changes_is_found_as_the_first() -> None:
    found = measurements.measurements(run_record.load(first_run()))
    marks = measurements.marks(found)
    assert [one.step for one in found] == sorted(one.step for one in found)
    assert {"valid_loss", "learning_rate", "status", "confusion"} <= {one.quantity for one in found}
    assert measurements.first_difference(found, marks) is None
    for index, one in enumerate(found):
        changed = [*found[:index], Measurement(one.step, one.quantity, "another"), *found[index + 1 :]]
        assert measurements.digest(changed) != measurements.digest(found)
        assert measurements.first_difference(changed, marks) == changed[index]
        more = [*found[:index], Measurement(one.step, "new", 1.0), *found[index:]]
        assert measurements.first_difference(more, marks) == more[index]


def test_values_are_told_apart_to_the_last_bit_and_by_their_sign() -> None:
    values = [0.1, 0.1 + 2**-56, 0.0, -0.0, 1, 1.0, True, "1"]
    assert len({measurements.digest([Measurement(1, "x", value)]) for value in values}) == len(values)


def test_a_measurement_that_is_missing_is_a_difference(said: Callable[..., str]) -> None:
    rewrite(first_run(), valid_loss=None, confusion=None, test_loss=None, test_accuracy=None)
    assert f"1 runs differ, first {first_run().name}" in said(1)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"comparable": False, "reason": "trained on a GPU"}, "not comparable between machines: trained on a GPU"),
        ({"comparable": False, "reason": "no C compiler"}, "not comparable between machines: no C compiler"),
        ({"arithmetic": 7}, "it was trained with arithmetic 7; this is arithmetic 1"),
        ({}, "none is known"),
    ],
)
def test_the_likely_reason_is_that_of_the_environment(
    said: Callable[..., str], changes: dict[str, Any], reason: str
) -> None:
    altered(first_run(), "valid_loss", 0, 0.125)
    environment(**changes)
    assert f"likely reason: {reason}" in said(1) or f"comparable between machines: {changes.get('reason')}" in said(1)


def test_other_source_code_and_unknown_environments_are_named_as_reasons(said: Callable[..., str]) -> None:
    altered(first_run(), "valid_loss", 0, 0.125)
    for path in records.paths(PROVENANCE):
        write_sealed(path, records.read(path) | {"source": "5" * 16})
    assert "trained by other source code of the same trainer version" in said(1)
    shutil.rmtree(PROVENANCE)
    assert "likely reason: unknown, as no record in results/provenance names" in said(1)


@pytest.mark.parametrize("changes", [{"arithmetic": 2}, {"trainer_version": 3}])
def test_digests_of_another_version_are_not_compared(said: Callable[..., str], changes: dict[str, int]) -> None:
    edit(**changes)
    out = said(1)
    assert "docs/results/quick.json was written with arithmetic" in out
    assert "so every run is another" in out
    assert "differ," not in out


def test_a_missing_and_a_damaged_run_are_named(said: Callable[..., str]) -> None:
    one, two, *_ = run_record.run_folders(RUNS)
    shutil.rmtree(one)
    (two / "history.json").write_text("{}")
    out = said(1)
    assert f"2 runs are missing or damaged, first: run {one.name} is missing: there is no {one}/run.json" in out
    assert "snakemake --config tier=quick trains it" in out


def test_runs_of_edited_parameters_are_named(said: Callable[..., str]) -> None:
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("seed: [0, 1]", "seed: [1, 2]"))
    out = said(1)
    assert "2 runs of tier quick are not among the published ones, first" in out
    assert "2 published runs are not in tier quick, first" in out
    assert "the parameters or the declared data were edited since" in out


def test_a_table_of_equal_runs_made_by_other_code_is_named(said: Callable[..., str]) -> None:
    (identity,) = TABLES.glob("identity-*.json")
    table = pq.read_table(TABLES / "summary.parquet")
    store_tables.write_table(table.slice(0, 1), TABLES, "summary")
    record = read_json(identity)
    conclude(identity, {"tables_id": record["tables_id"]}, [(TABLES / name).resolve() for name in record["files"]])
    assert "tables summary in results/tables differ; every run is equal" in said(1)


def test_an_altered_table_is_refused(said: Callable[..., str]) -> None:
    path = TABLES / "history.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert "results/tables/history.parquet: it was altered" in said(2)


@pytest.mark.parametrize("harm", ["flipped", "cut", "no JSON", "another form", "missing"])
def test_digests_that_cannot_be_read_are_refused_with_their_place(said: Callable[..., str], harm: str) -> None:
    path = published.path("quick")
    content = path.read_bytes()
    if harm == "missing":
        path.unlink()
    elif harm == "another form":
        edit(tables=["a list"])
    else:
        texts = {"flipped": content.replace(b"train", b"tra1n"), "cut": content[:300], "no JSON": b"\0"}
        path.write_bytes(texts[harm])
    out = said(2)
    assert out.startswith("bnbench verify: docs/results/quick.json: ")
    assert "bnbench verify --write publishes the results that are here" in out


def test_a_processor_that_gives_the_same_results_is_added_and_replaces_those_of_others() -> None:
    before = published.read("quick")
    environment(processor="another processor")
    assert main(["verify", "--write"]) == 0
    after = published.read("quick")
    assert after.processors == sorted([*before.processors, "another processor"])
    assert after.model_copy(update={"processors": before.processors}) == before
    edit(tables=dict.fromkeys(before.tables, "0" * 64))
    assert main(["verify", "--write"]) == 0
    assert published.read("quick").processors == ["another processor"]


def test_results_that_are_not_comparable_are_not_published(said: Callable[..., str]) -> None:
    kept = published.path("quick").read_bytes()
    environment(comparable=False, reason="trained on a GPU")
    assert "is not comparable with other machines' (trained on a GPU)" in said(2, "--write")
    shutil.rmtree(PROVENANCE)
    assert "no record names its environment" in said(2, "--write")
    assert published.path("quick").read_bytes() == kept


def test_digests_are_small_and_sorted_with_a_line_per_run() -> None:
    lines = published.path("quick").read_text().splitlines()
    for folder in run_record.run_folders(RUNS):
        (line,) = (line for line in lines if folder.name in line)
        found = measurements.measurements(run_record.load(folder))
        assert len(line) <= 50 + measurements.MARK * len(found)
        assert line.startswith(f'    "{folder.name}": "{measurements.digest(found)} ')
    assert list(read_json(published.path("quick"))["runs"]) == [folder.name for folder in run_record.run_folders(RUNS)]
