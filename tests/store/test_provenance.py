"""Provenance: records of packs, and the source folders of each stage in dvc.yaml and in its identity."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from bnbench.core import yaml_reader
from bnbench.core.files import checksum, read_json
from bnbench.core.git import revision
from bnbench.plan import cost
from bnbench.plan.identity import SOURCES
from bnbench.store import records
from tests.support.little import ROOT

# stage -> its entry modules
ENTRIES = {
    "data": "data.download, bnbench.data.prepare, bnbench.data.augment",
    "train": "training.job",
    "tables": "tables.collect",
    "figures": "figures.draw",
    "report": "report.render",
}
NO_RESULT = {"core"}  # affects no result


@pytest.mark.parametrize("stage", ENTRIES)
def test_the_identity_of_a_stage_covers_each_folder_whose_code_it_loads(stage: str) -> None:
    code = f"import sys, bnbench.{ENTRIES[stage]}; print(*(m for m in sys.modules if m.startswith('bnbench.')))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = {name.split(".")[1] for name in printed.split()}
    assert loaded - NO_RESULT <= set(SOURCES[stage])


@pytest.mark.parametrize("stage", ["data", "train", "tables", "report"])
def test_a_stage_of_dvc_depends_on_the_folders_of_its_identity(stage: str) -> None:
    listed = yaml_reader.read(ROOT / "dvc.yaml").values["stages"][stage]["deps"]
    folders = {path.removeprefix("src/bnbench/") for path in listed if path.startswith("src/")}
    drawn = SOURCES["figures"] if stage == "report" else ()
    assert folders == {*SOURCES[stage], *drawn}
    assert all((ROOT / "src" / "bnbench" / folder).is_dir() for folder in folders)


def test_each_run_has_a_record_of_its_data_and_libraries(project: Path) -> None:
    for folder in (project / "results" / "runs").glob("[!.]*"):
        (record,) = records.of_run(project / "results" / "provenance", folder.name)
        stored = read_json(folder / "run.json")
        assert record["data"]["fingerprint"] == stored["data"]
        assert record["libraries"]["torch"] == version("torch")
        assert record["environment"]["processor"] == cost.cpu()
        assert record["environment"]["device"] == "cpu"
        prepared = project / "data" / "prepared" / f"digits-{stored['data']}"
        sums = {path.name: checksum(path, "sha256") for path in prepared.glob("*.npy")}
        assert record["data"]["sha256"] == sums
        assert record["git"] is None


def test_a_repository_is_clean_until_what_decides_is_changed(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        name = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(
            ["git", *name, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

    def recorded() -> object:
        revision.cache_clear()
        return revision(tmp_path)

    assert recorded() is None
    git("init")
    (tmp_path / "params.yaml").write_text("a: 1\n")
    git("add", "-A")
    git("commit", "-m", "one")
    commit = git("rev-parse", "HEAD").strip()
    (tmp_path / "dvc.lock").write_text("changes while it works\n")
    assert recorded() == {"commit": commit, "clean": True, "changed": []}
    (tmp_path / "params.yaml").write_text("a: 2\n")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "new.py").touch()
    assert recorded() == {"commit": commit, "clean": False, "changed": ["params.yaml", "src/"]}
