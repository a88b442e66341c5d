"""Stages run by the interpreter that planned, whatever PATH says; commands need no home folder and no user name."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bnbench.core import atomic
from bnbench.core.errors import SystemFault
from tests.support.miniature import miniature

BIN = Path(sys.executable).parent
NOBODY = 12345


def _told(*command: str | Path, folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    assert "Traceback" not in told, told
    return told


@pytest.mark.slow
@pytest.mark.parametrize("other", [False, True], ids=["no bnbench on PATH", "another bnbench first on PATH"])
def test_the_rules_run_the_programs_of_snakemakes_own_interpreter(other: bool, tmp_path: Path) -> None:
    project = miniature(tmp_path / "project")
    (tmp_path / "bin").mkdir()
    if other:
        (tmp_path / "bin" / "bnbench").write_text("#!/bin/sh\necho another program; exit 1\n")
        (tmp_path / "bin" / "bnbench").chmod(0o755)
    variables = {
        "PATH": f"{tmp_path}/bin:/usr/bin:/bin",
        "PYTHONPATH": str(project.folder / "src"),
        "HOME": str(tmp_path),
    }
    told = _told(BIN / "snakemake", "data", "--cores", "1", folder=project.folder, environment=variables)
    assert "another program" not in told
    assert len(list((project.folder / "data" / "prepared").glob("digits-*/manifest.json"))) == 1


@pytest.fixture
def seen_by_all() -> Iterator[Path]:
    """Yield a folder that other users can read; pytest closes its own temporary folders to others at each start."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def _as_nobody() -> tuple[str, ...]:
    """Return a command prefix that runs as a user without a name; skip the test where that is not permitted."""
    if os.getuid() or not shutil.which("setpriv"):
        pytest.skip("only root can be another user")
    prefix = (shutil.which("setpriv") or "", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    if subprocess.run([*prefix, sys.executable, "-c", "import bnbench"], check=False, capture_output=True).returncode:
        pytest.skip("another user cannot read this Python")
    return prefix


@pytest.mark.parametrize(
    "home", [{}, {"HOME": "/"}, {"HOME": "/nowhere"}], ids=["no HOME", "HOME=/", "HOME is missing"]
)
def test_a_user_without_name_or_home_has_a_cache_and_can_plan(home: dict[str, str], seen_by_all: Path) -> None:
    prefix = _as_nobody()
    (seen_by_all / "project").mkdir()
    (seen_by_all / "temporary").mkdir()
    shutil.copy(Path(__file__).parents[2] / "params.yaml", seen_by_all / "project")
    for path in (seen_by_all / "project", seen_by_all / "temporary"):
        os.chown(path, NOBODY, NOBODY)
    variables = {"PATH": "/usr/bin:/bin", "TMPDIR": str(seen_by_all / "temporary"), **home}
    code = "from bnbench.core.atomic import cache_folder; print(cache_folder())"
    told = _told(*prefix, sys.executable, "-c", code, folder=seen_by_all / "project", environment=variables)
    assert told.strip() == str(seen_by_all / "temporary" / f"bnbench-{NOBODY}")
    told = _told(*prefix, BIN / "bnbench", "plan", folder=seen_by_all / "project", environment=variables)
    assert "workers of one thread" in told


def test_a_folder_among_the_temporary_ones_that_others_may_write_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert atomic.private_folder() == tmp_path / f"bnbench-{os.getuid()}"
    atomic.private_folder().chmod(0o777)
    with pytest.raises(SystemFault, match="can be written by others"):
        atomic.private_folder()


@pytest.mark.slow
def test_the_two_variables_that_the_table_of_messages_names_let_snakemake_plan(seen_by_all: Path) -> None:
    prefix = _as_nobody()
    project = miniature(seen_by_all / "project")
    for path in (project.folder, *project.folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    variables = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(project.folder / "src")}
    text = (Path(__file__).parents[2] / "docs" / "messages.md").read_text()
    for name, value in (("HOME", str(project.folder)), ("USER", "me")):
        assert f"export {name}=" in text
        variables[name] = value
    told = _told(*prefix, BIN / "snakemake", "-n", "data", "--cores", "1", folder=project.folder, environment=variables)
    assert "This was a dry-run" in told
