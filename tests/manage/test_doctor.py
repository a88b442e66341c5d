"""Every fault injected into a project's folder is reported with its remedy; an intact folder has no faults."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import BuiltinImporter
from pathlib import Path

import pytest

from bnbench.cli import main
from bnbench.manage.doctor import examine, slurm
from bnbench.manage.findings import Finding
from bnbench.plan.identity import TRAINER_VERSION
from tests.training.test_run_writer import _held, _holder


def faults(project: Path) -> list[Finding]:
    return [finding for finding in examine(project) if not finding.note]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def dead() -> int:
    """Return the id of a process that has finished."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


# fault, injected into the project or into the folder of a run -> parts of the finding and of the remedy
Fault = Callable[[Path, Path], object]
FAULTS: dict[str, tuple[Fault, str, str]] = {
    "run.json flipped": (lambda _, run: flip(run / "run.json"), "run.json", "only that run is trained again"),
    "history flipped": (lambda _, run: flip(run / "history.json"), "history.json was altered", "Delete the folder"),
    "history.json missing": (lambda _, run: (run / "history.json").unlink(), "there is no", "Delete the folder"),
    "run.json missing": (lambda _, run: (run / "run.json").unlink(), "there is no", "Delete the folder"),
    "run.json empty": (lambda _, run: (run / "run.json").write_bytes(b""), "no JSON", "Delete the folder"),
    "an extra file": (lambda _, run: write(run / "copy.json"), "is not part of the run", "Move it away"),
    "run renamed": (lambda _, run: run.rename(run.with_name("f" * 16)), "holds the intact run", "Rename the folder to"),
    "a run half written": (
        lambda _, run: run.rename(run.with_name(f".{run.name}.abcdefgh")), "is incomplete", "rm -r"
    ),
    "an array flipped": (
        lambda project, _: flip(next(project.glob("data/prepared/*/train_images.npy"))),
        "train_images.npy was altered", "delete the folder",
    ),
    "Snakemake's lock": (
        lambda project, _: write(project / ".snakemake/locks/0.input.lock"), "lock of a killed Snakemake",
        "snakemake --unlock",
    ),
    "DVC's lock damaged": (lambda project, _: write(project / ".dvc/tmp/rwlock", "{"), "is damaged", "rm "),
    "DVC's lock of a finished process": (
        lambda project, _: write(
            project / ".dvc/tmp/rwlock", json.dumps({"write": {"x": {"pid": dead(), "cmd": "dvc repro"}}, "read": {}})
        ),
        "(dvc repro), which is no dvc of this folder", "rm ",
    ),
    "a cached object altered": (
        lambda project, _: write(project / ".dvc/cache/files/md5/ab/cdefabcdefabcdefabcdefabcdefab", "altered"),
        "in DVC's cache is damaged", "dvc commit",
    ),
    "the cache a file": (lambda project, _: write(project / ".dvc/cache"), "cannot be written", "dvc cache dir"),
    "a table missing": (
        lambda project, _: write(
            project / "dvc.lock", "stages: {t: {outs: [{path: results/tables/no.csv, md5: abcdefabcdef}]}}"
        ),
        "no.csv is missing, which dvc.lock names", "dvc pull results/tables/no.csv",
    ),
    "a table altered": (
        lambda project, _: write(
            project / "dvc.lock", "stages: {t: {outs: [{path: results/metrics.json, md5: abcdefabcdef}]}}"
        ),
        "metrics.json does not have the checksum in dvc.lock", "dvc checkout results/metrics.json",
    ),
}  # fmt: skip


@pytest.mark.usefixtures("project")
def test_an_intact_folder_has_no_faults(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.endswith("no faults\n")


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_reported_with_its_remedy(project: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    inject, what, remedy = FAULTS[name]
    inject(project, sorted((project / "results" / "runs").glob("[!.]*"))[0])
    found = faults(project)
    assert len(found) == 1
    assert what in found[0].what
    assert remedy in found[0].remedy
    assert main(["doctor"]) == 1
    assert capsys.readouterr().out.endswith("1 faults\n")


def test_a_run_that_is_being_written_is_not_reported_as_incomplete(project: Path) -> None:
    run = sorted((project / "results" / "runs").glob("[!.]*"))[0]
    run.rename(run.with_name(f".{run.name}.abcdefgh"))
    holder = _holder(project / "results" / "runs", run.name)
    assert _held(holder, 30)
    assert faults(project) == []
    holder.communicate(timeout=30)
    assert len(faults(project)) == 1


def test_a_read_only_cache_is_named(project: Path) -> None:
    if not os.statvfs("/sys").f_flag & os.ST_RDONLY and os.geteuid() == 0:
        pytest.skip("root may write everywhere here")
    write(project / ".dvc/config", "[cache]\n    dir = /sys/cache\n")
    assert "DVC's cache /sys/cache cannot be written" in faults(project)[0].what


def test_slurm_without_its_plugin_is_noted(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "bin" / "sbatch")
    (tmp_path / "bin" / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.setattr("sys.meta_path", [BuiltinImporter])  # no other package is found
    monkeypatch.delitem(sys.modules, "snakemake_executor_plugin_slurm", raising=False)
    (note,) = slurm(project)
    assert "Snakemake's plugin for it" in note.what
    assert note.remedy == "pip install -e '.[slurm]'"
    monkeypatch.setenv("PATH", "/nowhere")
    assert not list(slurm(project))


def test_runs_of_other_trainer_versions_are_noted(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnbench.manage.doctor.TRAINER_VERSION", TRAINER_VERSION + 1)
    (note,) = (str(finding) for finding in examine(project) if "trainer version" in finding.what)
    assert f"4 runs have trainer version {TRAINER_VERSION}" in note
    assert "bnbench prune lists them" in note


def test_runs_of_other_source_are_noted(project: Path) -> None:
    path = next((project / "results" / "provenance").iterdir())
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"source": "0" * 16}))
    notes = [str(finding) for finding in examine(project) if finding.note]
    assert any(f"{len(record['runs'])} runs were trained by different source code" in note for note in notes)
    shutil.rmtree(project / "results" / "provenance")
    assert not any("different source code" in str(finding) for finding in examine(project))
