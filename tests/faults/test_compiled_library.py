"""The compiled library is verified before loading; a failing compiler costs only speed, and a message says so."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bnbench.training.arithmetic import kernels, torch_loops
from tests.support.little import run
from tests.training import test_job

BNBENCH = Path(sys.executable).with_name("bnbench")
prepared = test_job.prepared  # a fixture
LOOP = b"\xeb\xfe"  # a jump to itself (endless loop)


def _changed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 8 : len(content) // 2] = LOOP * ((len(content) // 2 - len(content) // 8) // 2)
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut": lambda path: os.truncate(path, path.stat().st_size // 3),
    "emptied": lambda path: os.truncate(path, 0),
    "changed": _changed,
    "replaced": lambda path: path.write_text("no library"),
}


def _train(folder: Path, prepared: Path, path: str | None = None) -> str:
    """Train a small job of one run with a separate cache; it must succeed. Return its messages."""
    folder.mkdir(exist_ok=True)
    job = test_job._job(folder, prepared, [run(model="64-20-10", epochs=1)])
    places = ["--out", "runs", "--timings", "timings", "--workers", "1"]
    process = subprocess.Popen(
        [BNBENCH, "train", str(job), *places, "--log", "log"],
        cwd=folder,
        env={**os.environ, "XDG_CACHE_HOME": str(prepared.parent / "cache"), **({"PATH": path} if path else {})},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        told = process.communicate(timeout=60)[1]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.communicate()
        pytest.fail("training never ends")
    assert process.returncode == 0, told
    assert len(list((folder / "runs").glob("*/run.json"))) == 1
    assert (folder / "log").read_text().count("training without compiled loops") == told.count(
        "training without compiled loops"
    )
    return told


@pytest.fixture
def _compiler() -> None:
    made, why = kernels.compiled()
    if made is torch_loops.REFERENCE:
        pytest.skip(why)


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in (folder / "runs").rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.usefixtures("_compiler")
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_library_is_made_anew(damage: Callable[[Path], object], tmp_path: Path, prepared: Path) -> None:
    assert "training without" not in _train(tmp_path / "first", prepared)
    (library,) = (tmp_path / "cache" / "bnbench").glob("*.so")
    whole = library.read_bytes()
    damage(library)
    assert "training without" not in _train(tmp_path / "second", prepared)
    assert library.read_bytes() == whole
    assert _bytes(tmp_path / "first") == _bytes(tmp_path / "second")


@pytest.mark.slow
@pytest.mark.usefixtures("_compiler")
def test_what_a_broken_compiler_made_is_said_once_and_not_kept(tmp_path: Path, prepared: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "cc").write_text(
        '#!/bin/sh\nfor name; do case $name in *.so) echo junk > "$name";; esac; done\n'
    )
    (tmp_path / "bin" / "cc").chmod(0o755)
    told = _train(tmp_path / "first", prepared, str(tmp_path / "bin"))
    assert told.count("training without compiled loops") == 1
    assert "cannot be loaded" in told
    assert "training without" not in _train(tmp_path / "second", prepared)
    assert _bytes(tmp_path / "first") == _bytes(tmp_path / "second")


def test_a_compiler_that_never_ends_is_given_up_with_all_its_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bnbench.training.arithmetic import build

    (tmp_path / "cc").write_text(f"#!/bin/sh\n/bin/sleep 600 &\necho $! > {tmp_path}/child\nwait\n")
    (tmp_path / "cc").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "SECONDS", 1.0)
    made, told = kernels.compiled.__wrapped__()
    assert made is torch_loops.REFERENCE
    assert told == f"the C compiler did not finish within 1 s ({tmp_path}/cc)"
    state = Path(f"/proc/{(tmp_path / 'child').read_text().strip()}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"
    assert not list((tmp_path / "cache" / "bnbench").iterdir())
