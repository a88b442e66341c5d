"""Prune knows every file that the program writes and removes nothing that is requested or in use by a process."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bnbench.cli import main
from bnbench.core import locks, paths
from bnbench.core.files import write_json
from tests.support.little import ROOT
from tests.support.miniature import EDITS
from tests.support.parameters import toy

PARAMS = Path("params.yaml")
GONE = "0123456789abcdef"  # an id that no study requests
HOLD = """
import pathlib, sys
from bnbench.core import locks
with locks.all_of([locks.of(pathlib.Path(sys.argv[1]))]):
    print("held", flush=True)
    sys.stdin.read()
"""


def without_a_seed() -> list[Path]:
    """Remove one seed from the parameters and return the folders of the runs that are now orphans."""
    runs = {path for path in Path("results/runs").glob("[!.]*") if '"seed": 1' in (path / "run.json").read_text()}
    PARAMS.write_text(PARAMS.read_text().replace("seed: [0, 1]", "seed: [0]"))
    return sorted(runs)


def pruned(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(["prune", *words]) == 0
    return capsys.readouterr().out


@pytest.mark.usefixtures("project")
def test_a_run_that_a_process_has_the_lock_of_is_left_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    held, free = without_a_seed()
    command = [sys.executable, "-c", HOLD, str(held)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        told = pruned(capsys, "--delete")
        assert f"left: {held}, for another process works on it" in told
        assert held.is_dir()
        assert not free.exists()
        holder.communicate()
    assert "left: " not in pruned(capsys, "--delete")
    assert not held.exists()


@pytest.mark.usefixtures("project")
def test_a_run_that_is_being_renamed_into_place_is_no_orphan(capsys: pytest.CaptureFixture[str]) -> None:
    run = sorted(Path("results/runs").glob("[!.]*"))[0]
    written = run.rename(run.with_name(f".{run.name}.abcdefgh"))
    command = [sys.executable, "-c", HOLD, str(run)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        assert "0 orphaned runs; 0 files" in pruned(capsys, "--delete")
        assert written.is_dir()
        assert main(["doctor"]) == 0
        holder.communicate()
    assert f"{written}\n0 orphaned runs; 1 files" in pruned(capsys)  # now it is what a killed process left


@pytest.mark.parametrize("name", [".hidden", ".DS_Store", "notes.txt", "0123456789ABCDEF", f".{GONE}.tmp12345", "old"])
@pytest.mark.usefixtures("project")
def test_what_has_no_runs_name_is_no_run(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = pruned(capsys)
    write_json(Path("results/runs") / name / "run.json", {})
    assert "0 orphaned runs" in pruned(capsys)
    assert before.splitlines()[-2:] == pruned(capsys).splitlines()[-2:] or name.startswith(f".{GONE}")
    assert main(["plan"]) == 0
    assert "orphaned" not in capsys.readouterr().out


# file that the program writes -> its content; no study requests any of them
RECORD = f'{{"runs": ["{GONE}"]}}'
WRITTEN = {
    f"data/augmented/digits/moved-{GONE}/manifest.json": "{}",
    f"data/prepared/other-{GONE}/manifest.json": "{}",
    f"data/raw/other-{GONE}/a.gz": "",
    f"data/raw/other-{GONE}.done": "",
    f"results/runs/{GONE}/run.json": "{}",
    f"results/timings/{GONE}.json": RECORD,
    f"results/provenance/{GONE}.json": RECORD,
    f".bnbench/checkpoints/{GONE}.checkpoint": "",
    f".bnbench/jobs/{GONE}.json": f"[{RECORD}]",
    f".bnbench/jobs/{GONE}.done": "",
    f".bnbench/plans/{GONE}.json": "{}",
    f".bnbench/collected/{GONE}": "",
    ".bnbench/stages/1.jsonl": "",
    f"logs/train/{GONE}.log": "",
    f"logs/prepare/other-{GONE}.log": "",
    f"logs/augment/digits/moved-{GONE}.log": "",
    f"logs/download/other-{GONE}.log": "",
}


def write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


@pytest.mark.usefixtures("project")
def test_all_that_nobody_asks_for_is_listed_and_removed_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    before = {path for path in Path().rglob("*") if path.is_file()}
    for path, text in WRITTEN.items():
        write(path, text)
    listed = pruned(capsys).splitlines()
    assert len([line for line in listed if GONE in line or "jsonl" in line]) == len(WRITTEN)
    pruned(capsys, "--delete")
    after = {path for path in Path().rglob("*") if path.is_file() and path.name != locks.NAME}
    assert after == {path for path in before if path.name != locks.NAME}
    assert "0 orphaned runs; 0 files and folders" in pruned(capsys)


@pytest.mark.usefixtures("project")
def test_an_augmentation_that_is_given_up_leaves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    from bnbench.plan.plan import Plan

    plain = PARAMS.read_text()
    moved = "augmentations: {moved: {copies: 2, seed: 0, shift: 0.1, rotate: 10, flip: false}}"
    text = plain.replace("augmentations: {}", moved).replace(
        "batch_size: 100}", "batch_size: 100, augmentation: moved}"
    )
    PARAMS.write_text(text)
    prepared = next(Path("data/prepared").glob("digits-*"))
    ((folder, _),) = Plan(PARAMS).augmented.values()
    assert main(["augment", "digits", "moved", "--data", str(prepared), "--out", folder]) == 0
    assert folder not in pruned(capsys)
    PARAMS.write_text(plain)
    assert folder in pruned(capsys, "--delete").splitlines()
    assert not Path(folder).exists()


@pytest.mark.parametrize("place", [".bnbench/plans", "data/prepared", "results/tables", "results/timings"])
@pytest.mark.usefixtures("project")
def test_what_a_killed_process_left_half_written_is_listed(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(place)
    folder.mkdir(parents=True, exist_ok=True)
    folder, file = folder / ".some.abcdefgh", folder / ".other.json.abcdefgh"
    folder.mkdir()
    file.touch()
    assert str(file) not in pruned(capsys)  # it may be in use
    os.utime(file, (time.time() - 1e6, time.time() - 1e6))
    listed = pruned(capsys, "--delete").splitlines()
    assert {str(folder), str(file)} <= set(listed)
    assert not file.exists()
    assert not folder.exists()


def test_make_clean_removes_every_output_and_nothing_else(tmp_path: Path) -> None:
    toy(tmp_path, *EDITS)
    (tmp_path / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    (tmp_path / "src").symlink_to(ROOT / "src")
    dear = [tmp_path / name for name in ("results/README.md", "reports/README.md", "results/notes.txt")]
    for path in dear:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    for output in paths.OUTPUTS:
        path = tmp_path / str(output.pattern).replace("*", "x")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    subprocess.run(["make", "clean", f"PYTHON={sys.executable}"], cwd=tmp_path, check=True, capture_output=True)
    assert {path for path in tmp_path.rglob("*") if path.is_file() and "src" not in path.parts} == {
        *dear, tmp_path / "Makefile", tmp_path / "params.yaml",
    }  # fmt: skip
