"""Another parameter file than params.yaml: every process uses the file that the plan was made from, or refuses."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bnbench.claims.table import judge
from bnbench.core.errors import UserError
from bnbench.core.files import digest, read_json, write_json
from bnbench.data.augment import augment
from bnbench.data.manifest import read_manifest, seal
from bnbench.data.prepare import prepare
from bnbench.data.prepared import Prepared
from bnbench.manage import explain
from bnbench.manage.doctor import run_store
from bnbench.params.dataset_schema import Augmentation
from bnbench.params.resolve import dataset
from bnbench.plan.identity import TRAINER_VERSION
from bnbench.plan.packs import write_packs
from bnbench.plan.plan import Plan
from bnbench.tables.collect import collect
from bnbench.training.job import train_job
from bnbench.training.worker import Workspace
from tests.support.little import ROOT
from tests.support.miniature import EDITS, SHOWN
from tests.support.parameters import toy
from tests.support.shell import bnbench
from tests.support.store import rewrite

SPLIT = "split: {valid: 240, test: 360, seed: 0}"
AUGMENTED = (
    ("augmentations: {}", "augmentations: {turned: {rotate: 9, shift: 0, flip: false, copies: 2, seed: 0}}"),
    ("        norm: [none, batch]", "        norm: [none, batch]\n        augmentation: [none, turned]"),
)
PARAMS, MINE = Path("params.yaml"), Path("my own $HOME.yaml")  # a name that a shell must not interpret


def other_split(folder: Path) -> Path:
    """Write a second parameter file to `folder` with another seed of the data split."""
    text = (folder / PARAMS).read_text()
    assert text.count(SPLIT) == 1
    (folder / MINE).write_text(text.replace(SPLIT, SPLIT.replace("seed: 0", "seed: 7")))
    return folder / MINE


def console(name: str, *words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command by its installed script, as a user does."""
    script = Path(sys.executable).with_name(name)
    path = f"{script.parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [str(script), *words], cwd=folder, env={**os.environ, "PATH": path},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


@pytest.mark.slow
def test_snakemake_with_another_file_gives_the_results_of_that_file(tmp_path: Path) -> None:
    named, plain = tmp_path / "named", tmp_path / "plain"
    for folder in (named, plain):
        folder.mkdir()
        shutil.copytree(ROOT / "workflow", folder / "workflow")
        toy(folder, *EDITS, *AUGMENTED)
        other_split(folder)
    (plain / MINE).replace(plain / PARAMS)
    done = console("snakemake", "tables", "--cores", "2", "--config", f"params={MINE}", folder=named)
    assert done.returncode == 0, done.stdout + done.stderr
    assert console("snakemake", "tables", "--cores", "2", folder=plain).returncode == 0
    tables = sorted(path.relative_to(plain) for path in (plain / "results" / "tables").glob("*.csv"))
    tables = [path for path in tables if not path.name.startswith("timings")]
    assert tables
    for path in (*tables, *map(Path, SHOWN[:1])):
        assert (named / path).read_bytes() == (plain / path).read_bytes(), path


def test_a_folder_named_after_another_definition_is_not_filled(tmp_path: Path) -> None:
    toy(tmp_path)
    mine = Plan(other_split(tmp_path), root=tmp_path).keys["digits"]
    out = f"data/digits-{mine}"
    told = bnbench("prepare", "digits", "--out", out, folder=tmp_path)
    assert told.startswith(f"2: bnbench prepare: {out} is named after key {mine}, but datasets.digits has key ")
    assert "name that parameter file with --params" in told
    assert not (tmp_path / "data").exists()
    assert console("bnbench", "prepare", "digits", "--params", str(MINE), "--out", out, folder=tmp_path).returncode == 0


def test_a_download_folder_named_after_other_files_is_not_filled(tmp_path: Path) -> None:
    toy(tmp_path, ("format: digits", f"format: folders\n    files: {{a.zip: 'md5:{'0' * 32}'}}"))
    told = bnbench("download", "digits", "--out", f"digits-{'f' * 16}", folder=tmp_path)
    assert "is named after key ffffffffffffffff, but datasets.digits.files has key " in told
    assert not list(tmp_path.glob("digits-*"))


def test_an_augmentation_goes_into_no_folder_named_after_another(tmp_path: Path) -> None:
    definition = Augmentation(rotate=9.0, shift=0.0, flip=False, copies=2, seed=0)
    digits = dataset(toy(tmp_path), "digits")
    prepare("digits", digits, None, tmp_path / "digits")
    with pytest.raises(UserError, match="is named after key ffffffffffffffff"):
        augment(digits, definition, tmp_path / "digits", tmp_path / f"turned-{'f' * 16}")
    assert not list(tmp_path.glob("turned-*"))


def wrong_split(project: Path) -> tuple[Path, str]:
    """Change the data that a stored run states, so that its id is wrong; return its folder and its correct id."""
    folder = sorted((project / "results" / "runs").glob("[!.]*"))[0]
    config = read_json(folder / "run.json")["config"]
    rewrite(folder, data="f" * 16)
    return folder, digest(config, "f" * 16, TRAINER_VERSION)


def test_a_run_on_other_data_is_in_no_table(project: Path) -> None:
    folder, right = wrong_split(project)
    with pytest.raises(UserError, match=f"run {folder.name} .* are those of run {right}, so it was trained with other"):
        collect(Plan(PARAMS).record(), Path("results/runs"), Path("results/tables"), judge)


def test_a_run_on_other_data_is_a_finding_of_the_doctor(project: Path) -> None:
    folder, right = wrong_split(project)
    (finding,) = (found for found in run_store(project) if not found.note)
    assert folder.name in finding.what
    assert right in finding.what
    assert "only that run is trained again" in finding.remedy


def test_a_whole_run_under_another_name_is_to_be_renamed_not_deleted(project: Path) -> None:
    folder = sorted((project / "results" / "runs").glob("[!.]*"))[0]
    folder.rename(folder.with_name("f" * 16))
    (finding,) = (found for found in run_store(project) if not found.note)
    assert f"holds the intact run {folder.name} under another run's name" in finding.what
    assert finding.remedy.startswith(f"Rename the folder to {folder}")


def test_training_refuses_data_that_its_runs_were_not_planned_for(project: Path) -> None:
    data = next(project.glob("data/prepared/digits-*"))
    manifest = read_manifest(data)
    shutil.rmtree(project / "results" / "runs")
    other = data.rename(project / "data" / "elsewhere")  # a name without a digest
    write_json(other / "manifest.json", seal({**manifest, "fingerprint": "f" * 16}))
    plan = Plan(PARAMS)
    write_packs(Path(".bnbench/job.json"), [pack.model_copy(update={"data": str(other)}) for pack in plan.packs])
    with pytest.raises(UserError, match="its id is not the hash of its settings and of the data"):
        train_job(Path(".bnbench/job.json"), Workspace(Path("results/runs"), Path("t"), Path(".bnbench")), workers=1)
    assert not list(project.glob("results/runs/[!.]*"))


def test_an_augmentation_of_other_data_is_not_trained_on(tmp_path: Path) -> None:
    definition = Augmentation(rotate=9.0, shift=0.0, flip=False, copies=2, seed=0)
    toy(tmp_path)
    for name, path in (("a", tmp_path / PARAMS), ("b", other_split(tmp_path))):
        prepare("digits", dataset(path, "digits"), None, tmp_path / name)
    augment(dataset(tmp_path / PARAMS, "digits"), definition, tmp_path / "a", tmp_path / "turned")
    with pytest.raises(UserError, match="augments data with fingerprint"):
        Prepared.read(tmp_path / "b", tmp_path / "turned")


def test_the_commands_that_an_explanation_prints_name_the_file(project: Path) -> None:
    shutil.copy(PARAMS, MINE)
    name = sorted((project / "results" / "runs").glob("[!.]*"))[0].name
    told = "\n".join(explain.lines(explain.find(MINE, name)))
    assert f"snakemake trained --config tier=quick 'params={MINE}'" in told
    assert f"bnbench explain {name} --check --params '{MINE}'" in told


def test_an_archive_holds_the_file_that_its_results_were_planned_from(project: Path) -> None:
    pytest.importorskip("rocrate")
    shutil.copy(PARAMS, MINE)
    PARAMS.write_text(PARAMS.read_text().replace(SPLIT, SPLIT.replace("seed: 0", "seed: 7")))
    done = console("bnbench", "archive", "--params", str(MINE), "--out", "crate", folder=project)
    assert done.returncode == 0, done.stderr
    assert (project / "crate" / "params.yaml").read_bytes() == MINE.read_bytes()
