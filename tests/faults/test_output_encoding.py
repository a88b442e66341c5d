"""Every command escapes characters that its output cannot encode, on standard output and on standard error."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bnbench.plan.plan import Plan
from tests.support.parameters import toy

TITLE = "Größe \u2192 \u5b66\u4e60\u7387 \U0001f600"
ASCII = {
    "PYTHONIOENCODING": {"PYTHONIOENCODING": "ascii"},
    "LC_ALL": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


def said(folder: Path, variables: dict[str, str], *words: str) -> tuple[int, str]:
    """Return the exit code and output of the installed script; the output must be ASCII."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("bnbench")), *words],
        cwd=folder, env={**os.environ, **variables}, capture_output=True, check=False, timeout=120,
    )  # fmt: skip
    told = (done.stdout + done.stderr).decode("ascii")
    assert "Traceback" not in told, told
    return done.returncode, told


@pytest.mark.parametrize("variables", ASCII.values(), ids=ASCII)
def test_a_title_that_cannot_be_shown_is_escaped(tmp_path: Path, variables: dict[str, str]) -> None:
    toy(tmp_path, ("title: A study", f"title: {TITLE}"), ("about: toy", f"about: {TITLE}"))
    code, told = said(tmp_path, variables, "plan")
    assert code == 0
    assert "Tier quick: Gr\\xf6\\xdfe \\u2192" in told


@pytest.mark.parametrize("variables", ASCII.values(), ids=ASCII)
def test_a_message_with_what_cannot_be_shown_is_escaped(tmp_path: Path, variables: dict[str, str]) -> None:
    toy(tmp_path, ("title: A study", f"title: {TITLE}"), ("work: E", "work: \u00e9"))
    code, told = said(tmp_path, variables, "status")
    assert code == 2
    assert "got '\\xe9'" in told


@pytest.mark.parametrize("variables", ASCII.values(), ids=ASCII)
def test_every_command_that_prints_what_the_file_says_escapes_it(tmp_path: Path, variables: dict[str, str]) -> None:
    toy(tmp_path, ("title: A study", f"title: {TITLE}"), ("title: Digits", f"title: {TITLE}"))
    assert said(tmp_path, variables, "status")[0] == 0
    assert said(tmp_path, variables, "prepare", "digits", "--out", "\u00e9")[0] == 0
    assert said(tmp_path, variables, "prune")[0] == 0
    assert said(tmp_path, variables, "doctor")[0] in (0, 1)
    name = next(iter(Plan(tmp_path / "params.yaml", root=tmp_path).runs))
    code, told = said(tmp_path, variables, "explain", name)
    assert code == 0
    assert "requested by study S (Gr\\xf6\\xdfe" in told
