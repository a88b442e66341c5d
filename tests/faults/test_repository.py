"""The recorded commit is that of the repository that tracks the project; git's refusals are recorded and reported."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bnbench.core.git import revision
from bnbench.manage import doctor, explain

GIT = shutil.which("git") or "git"


def git(folder: Path, *arguments: str) -> str:
    name = ["-c", "user.name=a", "-c", "user.email=a@b"]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    return subprocess.run(
        [GIT, *name, *arguments], cwd=folder, env=kept, capture_output=True, text=True, check=True
    ).stdout.strip()


def asked(folder: Path) -> dict[str, Any] | None:
    revision.cache_clear()
    return revision(folder)


def project(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "src").mkdir()
    (folder / "src" / "train.py").write_text("1\n")
    (folder / "params.yaml").write_text("a: 1\n")
    return folder


def repository(folder: Path, *names: str) -> str:
    """Create a repository that tracks these files and return its commit."""
    git(folder, "init", "-q")
    git(folder, "add", "-f", *names)
    git(folder, "commit", "-q", "-m", "one")
    return git(folder, "rev-parse", "HEAD")


def test_a_repository_above_that_does_not_track_the_project_is_none(tmp_path: Path) -> None:
    here = project(tmp_path / "work" / "bench")
    (tmp_path / ".profile").write_text("x\n")
    (tmp_path / ".gitignore").write_text("*\n")
    repository(tmp_path, ".profile", ".gitignore")
    (here / "src" / "train.py").write_text("2\n")
    assert asked(here) is None


def test_a_repository_above_that_tracks_the_project_counts(tmp_path: Path) -> None:
    here = project(tmp_path / "work" / "bench")
    commit = repository(tmp_path, "work")
    assert asked(here) == {"commit": commit, "clean": True, "changed": []}
    (here / "src" / "train.py").write_text("2\n")
    (here / "params.yaml").rename(here / "src" / "a ä name")
    changed = [f"work/bench/{name}" for name in ("params.yaml", "src/a ä name", "src/train.py")]
    assert asked(here) == {"commit": commit, "clean": False, "changed": changed}


@pytest.mark.parametrize("name", ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"])
def test_variables_that_name_another_repository_do_not_mislead(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, other = project(tmp_path / "here"), project(tmp_path / "other")
    commit = repository(here, "params.yaml", "src")
    (other / "more").write_text("x\n")
    repository(other, "more", "params.yaml", "src")
    place = {
        "GIT_DIR": ".git",
        "GIT_WORK_TREE": ".",
        "GIT_INDEX_FILE": ".git/index",
        "GIT_OBJECT_DIRECTORY": ".git/objects",
    }
    monkeypatch.setenv(name, str(other / place[name]))
    assert asked(here) == {"commit": commit, "clean": True, "changed": []}
    (here / "params.yaml").write_text("a: 2\n")
    assert asked(here) == {"commit": commit, "clean": False, "changed": ["params.yaml"]}


def test_gits_own_refusal_is_kept_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.getuid():
        pytest.skip("only root can give a folder to somebody else")
    here = project(tmp_path / "here")
    repository(here, "params.yaml", "src")
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in (here, here / ".git"):
        os.chown(path, 12345, 12345)
    assert asked(here) == {"refused": "detected dubious ownership in repository"}
    (found,) = doctor.git(here)
    assert "detected dubious ownership" in str(found)
    assert not found.note
    told = explain.commit({"refused": "detected dubious ownership in repository"})
    assert told == "at an unknown commit: git refused to read the repository: detected dubious ownership in repository"


def test_without_git_a_repository_is_not_called_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = project(tmp_path / "here")
    assert asked(here) is None
    repository(here, "params.yaml", "src")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert asked(here) == {"refused": "git is not installed"}
    assert asked(project(tmp_path / "elsewhere")) is None


def test_a_repository_without_a_commit_is_none_yet(tmp_path: Path) -> None:
    here = project(tmp_path / "here")
    git(here, "init", "-q")
    git(here, "add", "-A")
    assert asked(here) is None
