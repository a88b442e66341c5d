"""Where runs come from: recorded beside them, the same for the same, and listed whole in dvc.yaml."""

import subprocess
import sys
from pathlib import Path

import pytest

from bnbench.core import yaml_reader
from bnbench.core.files import checksum, read_json
from bnbench.plan import plan
from bnbench.store import provenance
from tests.support.little import ROOT

# stage -> the modules that its work begins in
ENTRIES = {
    "data": ("prepare.py", "download.py"),
    "train": ("train.py",),
    "tables": ("collect.py", *plan.COLLECT),
    "report": ("figures.py", "report.py", *plan.DRAW, *(name for name in plan.REPORT if name.endswith(".py"))),
}
PLUMBING = {"errors.py", "files.py", "identities.py", "locks.py", "names.py", "records.py", "signals.py", "workers.py"}


@pytest.mark.parametrize("stage", ENTRIES)
def test_a_stage_of_dvc_lists_all_code_that_decides_its_result(stage: str) -> None:
    listed = yaml_reader.read(ROOT / "dvc.yaml").values["stages"][stage]["deps"]
    here = {path.removeprefix("src/bnbench/") for path in listed if path.startswith("src/")}
    needed = {module for entry in ENTRIES[stage] for module in provenance.modules(entry)} - PLUMBING
    assert needed <= here, f"add to the deps of {stage} in dvc.yaml: {sorted(needed - here)}"
    assert all((ROOT / path).exists() for path in listed if path.startswith("src/"))


@pytest.mark.parametrize("module", ["train", "collect", "report"])
def test_a_modules_imports_are_those_that_python_loads(module: str) -> None:
    code = f"import sys, bnbench.{module}; print(*(m for m in sys.modules if m.startswith('bnbench.')))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = {name.removeprefix("bnbench.").replace(".", "/") for name in told.split()}
    assert loaded <= {name.removesuffix(".py").removesuffix("/__init__") for name in provenance.modules(f"{module}.py")}


def test_each_run_has_a_record_of_its_data_and_libraries(project: Path) -> None:
    for folder in (project / "results" / "runs").glob("[!.]*"):
        (record,) = provenance.read(project / "results" / "provenance", folder.name)
        stored = read_json(folder / "run.json")
        assert record["data"]["fingerprint"] == stored["data"]
        assert record["libraries"]["torch"] == stored["environment"]["torch"]
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

    def asked() -> object:
        provenance.git.cache_clear()
        return provenance.git(tmp_path)

    assert asked() is None
    git("init")
    (tmp_path / "params.yaml").write_text("a: 1\n")
    git("add", "-A")
    git("commit", "-m", "one")
    commit = git("rev-parse", "HEAD").strip()
    (tmp_path / "dvc.lock").write_text("changes while it works\n")
    assert asked() == {"commit": commit, "clean": True, "changed": []}
    (tmp_path / "params.yaml").write_text("a: 2\n")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "new.py").touch()
    assert asked() == {"commit": commit, "clean": False, "changed": ["params.yaml", "src/"]}
