"""One unreadable file ends no command in a traceback and hides no other fault."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bnbench.core.errors import UserError
from bnbench.core.files import read_json, write_json
from bnbench.manage import doctor
from bnbench.manage.doctor import examine
from bnbench.manage.findings import Finding
from bnbench.plan.plan import Plan
from tests.faults.derived import HARMS, IDENTITIES, PARAMS, asked, plan_file, told

COMMANDS = ("doctor", "plan", "status", "prune", "explain")


def nested(path: Path) -> None:
    path.write_text("[" * 900 + "]" * 900)


def huge(path: Path) -> None:
    os.truncate(path, 2**40)  # sparse: takes no space on the disk


def a_folder(path: Path) -> None:
    path.unlink()
    (path / "inside").mkdir(parents=True)


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("a file")


UNREADABLE: dict[str, Callable[[Path], object]] = {
    **HARMS,
    "a folder": a_folder,
    "a pipe": a_pipe,
    "no text": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "nested": nested,
    "huge": huge,
    "a list": lambda path: path.write_text("[]"),
    "an object without keys": lambda path: path.write_text("{}"),
    "a number": lambda path: path.write_text("1e999"),
}
JSON = {
    "wall times": "results/timings/*.json",
    "provenance": "results/provenance/*.json",
    "plans": ".bnbench/plans/*.json",
    **IDENTITIES,
}


def first(pattern: str) -> Path:
    return sorted(Path().glob(pattern))[0]


def run_id() -> str:
    return min(Plan(PARAMS).runs)


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("harm", UNREADABLE)
@pytest.mark.parametrize("kind", JSON)
def test_an_own_file_that_cannot_be_read_is_named_and_stops_nothing(kind: str, harm: str) -> None:
    plan_file()
    path = first(JSON[kind])
    UNREADABLE[harm](path)
    if harm != "deleted":
        assert any(str(path) in finding.what and not finding.note for finding in examine())
    for command in COMMANDS:
        code, said = told(command, *([run_id()] if command == "explain" else []))
        assert code == (1 if command == "doctor" and harm != "deleted" else code), said
        assert code in (0, 1), said
    assert read_nowhere(path)
    if kind in IDENTITIES and harm not in ("a folder",):
        assert kind in asked()


def read_nowhere(path: Path) -> bool:
    """Return whether the JSON reader accepts the file, or refuses it in a message with its path."""
    try:
        read_json(path)
    except UserError as error:
        return str(path) in str(error)
    return True


# unexpected files and folders
STRAY: dict[str, Callable[[], object]] = {
    "a file in the store": lambda: Path("results/runs/.DS_Store").write_bytes(b"\0\1"),
    "a visible file in the store": lambda: Path("results/runs/notes.txt").write_text("mine"),
    "a folder in the store": lambda: Path("results/runs/mine").mkdir(),
    "a hidden run": lambda: shutil.copytree(first("results/runs/[!.]*"), "results/runs/.copy"),
    "a run of another name": lambda: shutil.copytree(first("results/runs/[!.]*"), "results/runs/copy of a run"),
    "a folder among wall times": lambda: Path("results/timings/x.json").mkdir(),
    "a hidden file among provenance": lambda: Path("results/provenance/._x.json").write_bytes(b"\0\5\x16"),
    "a file for the wall times": lambda: a_file(Path("results/timings")),
    "a file for the provenance": lambda: a_file(Path("results/provenance")),
    "a file in the data": lambda: Path("data/prepared/.DS_Store").write_bytes(b"\0\1"),
    "DVC's lock emptied": lambda: Path("dvc.lock").write_text(""),
    "DVC's lock of other shape": lambda: Path("dvc.lock").write_text("stages: [1, 2]"),
    "DVC's lock without text": lambda: Path("dvc.lock").write_bytes(b"\xff\xfe"),
    "DVC's lock a folder": lambda: Path("dvc.lock").mkdir(),
    "a folder in DVC's cache": lambda: Path(f".dvc/cache/files/md5/ab/{'c' * 30}").mkdir(parents=True),
}


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("name", STRAY)
def test_what_does_not_belong_there_stops_no_command_and_hides_nothing(name: str) -> None:
    before = Plan(PARAMS).stored
    STRAY[name]()
    Path("results/tables/runs.csv").write_text("altered")
    assert any("runs.csv was altered" in finding.what for finding in examine())
    for command in COMMANDS:
        code, said = told(command, *([run_id()] if command == "explain" else []))
        assert code == (1 if command == "doctor" else 0), said
    assert Plan(PARAMS).stored == before
    assert "0 orphaned runs" in told("prune")[1]


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("harm", ["cut", "a folder", "a pipe", "nested"])
def test_results_with_a_damaged_record_are_archived_without_it(harm: str, tmp_path: Path) -> None:
    path = first("results/provenance/*.json")
    UNREADABLE[harm](path)
    code, said = told("archive", "--out", tmp_path / "crate")
    assert code == 0, said
    assert not (tmp_path / "crate" / "provenance" / path.name).exists()


@pytest.mark.usefixtures("project")
def test_altered_results_are_not_archived(tmp_path: Path) -> None:
    Path("results/tables/runs.csv").write_text("altered")
    code, said = told("archive", "--out", tmp_path / "crate")
    assert code == 2
    assert "results/tables/runs.csv was altered" in said
    assert "run snakemake" in said


@pytest.mark.usefixtures("project")
def test_a_check_that_fails_is_a_finding_and_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_root: Path) -> Iterator[Finding]:
        yield Finding("seen before", "nothing")
        raise RuntimeError("no such thing")

    Path("results/tables/runs.csv").write_text("altered")
    monkeypatch.setattr(doctor, "CHECKS", (broken, *doctor.CHECKS))
    whats = [finding.what for finding in examine()]
    assert whats[0] == "seen before"
    assert "check broken failed: RuntimeError: no such thing" in whats[1]
    assert any("runs.csv was altered" in what for what in whats[2:])


@pytest.mark.usefixtures("project")
def test_a_damaged_wall_time_or_origin_is_told_with_a_remedy_that_costs_no_result() -> None:
    for kind, lost in (("wall times", "only an estimate"), ("provenance", "only the provenance")):
        path = first(JSON[kind])
        HARMS["cut"](path)
        (finding,) = (finding for finding in examine() if str(path) in finding.what)
        assert f"delete it: {lost}" in finding.remedy
        path.unlink()
    assert not [finding for finding in examine() if not finding.note]


@pytest.mark.usefixtures("project")
def test_records_of_earlier_versions_without_a_digest_are_read() -> None:
    for kind in ("wall times", "provenance"):
        path = first(JSON[kind])
        record = {key: value for key, value in read_json(path).items() if key not in ("digest", "environment")}
        write_json(path, record)
    assert not [finding for finding in examine() if not finding.note]


@pytest.mark.slow
def test_the_installed_commands_end_without_a_traceback(project: Path) -> None:
    plan_file()
    for pattern in JSON.values():
        HARMS["cut"](first(pattern))
    nested(first("results/provenance/*.json"))
    Path("results/runs/.DS_Store").write_bytes(b"\0")
    Path("dvc.lock").write_bytes(b"\xff")
    programs = Path(sys.executable).parent
    commands = [[str(programs / "bnbench"), command] for command in COMMANDS[:-1]]
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    for command in [*commands, [str(programs / "snakemake"), "--cores", "1"], [str(programs / "snakemake"), "-n"]]:
        done = subprocess.run(
            command, cwd=project, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False,
            timeout=300,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert "Traceback" not in said, said
        assert done.returncode == (1 if command[1:] == ["doctor"] else 0), said
    assert asked() == set()
