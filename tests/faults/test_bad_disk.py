"""A full disk or an unwritable folder gives one clear message with the remedy; no partial file, no lost data."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from bnbench.core.files import write_sealed
from bnbench.figures.draw import draw
from bnbench.tables.collect import collect
from bnbench.workflow import Workflow
from tests.support.parameters import toy
from tests.support.shell import SECONDS, bnbench, contents, namespace, no_temporaries, spent, with_mirror
from tests.support.store import as_record, fill_store, make_plan
from tests.support.web import CONTENT


@dataclass(frozen=True)
class Inputs:
    """Inputs of each stage, created once."""

    folder: Path
    job: str
    data: str

    def words(self, stage: str, out: str) -> list[str]:
        """Return the command line of a stage that writes to folder `out`."""
        tables, figures = ("--tables", f"{self.folder}/tables"), ("--figures", f"{self.folder}/reports/figures")
        plan, store = f"{self.folder}/plan.json", ("--store", f"{self.folder}/runs")
        own = ("--timings", f"{out}/timings", "--work", f"{out}/work", "--workers", "1")
        lines = {
            "schema": ["schema", "--out", f"{out}/schema.json"],
            "prepare": ["prepare", "digits", "--out", f"{out}/digits"],
            "download": ["download", "digits", "--params", "mirrored/params.yaml", "--out", f"{out}/raw"],
            "train": ["train", self.job, "--out", f"{out}/runs", *own],
            "checkpoints": ["train", self.job, "--out", f"{out}/runs", *own, "--checkpoint-seconds", "0.001"],
            "collect": ["collect", plan, *store, "--out", f"{out}/tables"],
            "figures": ["figures", plan, *tables, "--out", f"{out}/figures", "--workers", "1"],
            "report": ["report", plan, *tables, *figures, "--out", out],
        }
        return lines[stage]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    folder = tmp_path_factory.mktemp("inputs")
    plan = make_plan({"A1": ({"epochs": 3}, {"norm": ["none", "batch"], "seed": [0, 1, 2]})})
    write_sealed(folder / "plan.json", plan)
    fill_store(plan, folder / "runs")
    collect(as_record(plan), folder / "runs", folder / "tables")
    draw(as_record(plan), folder / "tables", folder / "reports" / "figures", 1)
    flow = Workflow(toy(folder), {}, folder)
    job = flow.trained(None)[0].replace(".done", ".json")
    command = [sys.executable, "-m", "bnbench.cli", "prepare", "digits", "--out", flow.prepared[0]]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
    (folder / "mirrored").mkdir()
    (folder / "mirrored" / "a.gz").write_bytes(CONTENT)
    with_mirror(folder / "mirrored", str(folder / "mirrored"))
    return Inputs(folder, job, flow.prepared[0])


WRITERS = ("prepare", "download", "checkpoints", "collect", "figures", "report")


@pytest.mark.parametrize("stage", ["prepare", "collect", "report"])
def test_a_file_that_may_not_grow_ends_with_the_remedy(inputs: Inputs, tmp_path: Path, stage: str) -> None:
    limit = 20_000 if stage == "report" else 4000  # no file outside `out` exceeds it
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "dear.txt").write_text("dear to somebody")
    before = contents(inputs.folder)
    told = bnbench(*inputs.words(stage, str(tmp_path / "out")), folder=inputs.folder, limit=limit)
    assert told.startswith("4: ")
    assert f"cannot write {tmp_path}/out/" in told
    assert "raise the limit (ulimit -f) and run the same command again" in told
    assert contents(inputs.folder) == before
    written = contents(tmp_path / "out")
    no_temporaries(list(written))
    assert written["dear.txt"] == b"dear to somebody"


@pytest.mark.parametrize("stage", [*WRITERS, "train"])
def test_a_full_disk_ends_with_the_remedy(inputs: Inputs, tmp_path: Path, stage: str) -> None:
    (tmp_path / "small").mkdir()
    size = "12k" if stage in ("train", "collect") else "60k"
    prefix = namespace("-t", "tmpfs", "-o", f"size={size}", "none", str(tmp_path / "small"))
    copy = shutil.copytree(inputs.folder, tmp_path / "inputs")
    told = bnbench(*inputs.words(stage, str(tmp_path / "small")), folder=copy, prefix=prefix)
    assert told.startswith("4: ")
    assert f"cannot write {tmp_path}/small" in told
    assert "no space is left on the disk; free some and run the same command again" in told
    no_temporaries((copy / "listing").read_text().splitlines()[1:])


@pytest.mark.parametrize("stage", ["schema", "prepare", "download", "collect", "figures", "report"])
def test_a_file_where_a_folder_is_needed_ends_with_the_remedy(inputs: Inputs, tmp_path: Path, stage: str) -> None:
    (tmp_path / "results").write_text("dear to somebody")
    begun = spent()
    told = bnbench(*inputs.words(stage, str(tmp_path / "results")), folder=inputs.folder)
    assert spent() - begun < SECONDS
    assert told.startswith("4: ")
    assert "a file lies where a folder is needed; move it away" in told
    assert contents(tmp_path) == {"results": b"dear to somebody"}


@pytest.mark.parametrize("stage", ["prepare", "download", "train", "collect", "report"])
def test_a_read_only_folder_ends_with_the_remedy(inputs: Inputs, tmp_path: Path, stage: str) -> None:
    (tmp_path / "results").mkdir()
    prefix = namespace("-t", "tmpfs", "-o", "ro", "none", str(tmp_path / "results"))
    copy = shutil.copytree(inputs.folder, tmp_path / "inputs")
    told = bnbench(*inputs.words(stage, str(tmp_path / "results")), folder=copy, prefix=prefix)
    assert told.startswith("4: ")
    assert "this file system is read-only; work in a folder that can be written" in told


def test_a_folder_where_a_file_is_needed_ends_with_the_remedy(tmp_path: Path) -> None:
    told = bnbench("schema", "--out", tmp_path, folder=tmp_path)
    assert told.startswith("4: ")
    assert f"cannot write {tmp_path}: a folder lies where a file is needed; move it away" in told
    assert [path.name for path in tmp_path.parent.iterdir() if path.name.startswith(f".{tmp_path.name}")] == []
