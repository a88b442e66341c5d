"""Libraries are compiled by any compiler that works, verified before loading, and shared by processes and nodes.

The sources are replaced by a small one, so that compiling takes no time.
"""

import ctypes
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bnbench.arithmetic import build, library
from bnbench.arithmetic.build import SETS, shared_object

LITTLE = "void replay(void) {}\nint built_by(void) { return 1; }\n"
LOOP = b"\xeb\xfe"  # a jump to itself (endless loop)


@pytest.fixture(autouse=True)
def _little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile a small source into an empty cache."""
    (tmp_path / "little.c").write_text(LITTLE)
    monkeypatch.setattr(build, "SOURCES", [tmp_path / "little.c"])
    monkeypatch.setattr(build, "HEADERS", [])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CC", raising=False)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder that is the only one in PATH; the Python package `ziglang` is not installed."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    return tmp_path / "bin"


def program(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def reason() -> str:
    """Return what training says of this machine, computed anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "library", library.library.__wrapped__)
        return library.lacking.__wrapped__()


def left(folder: Path) -> list[Path]:
    return [path for path in (folder / "cache" / "bnbench").iterdir() if path.suffix != ".so"]


def test_a_library_is_compiled_once(tmp_path: Path) -> None:
    path = shared_object("plain")
    about = path.stat()
    assert shared_object("plain") == path
    assert path.stat().st_mtime_ns == about.st_mtime_ns
    assert left(tmp_path) == []


def _changed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 8 : len(content) // 2] = LOOP * ((len(content) // 2 - len(content) // 8) // 2)
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut": lambda path: os.truncate(path, path.stat().st_size // 3),
    "emptied": lambda path: os.truncate(path, 0),
    "changed": _changed,
    "replaced": lambda path: path.write_text("no library"),
    "removed": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_library_is_compiled_anew(damage: Callable[[Path], object]) -> None:
    path = shared_object("plain")
    damage(path)
    ctypes.CDLL(str(shared_object("plain"))).replay()


def test_a_library_of_another_version_is_not_used(tmp_path: Path) -> None:
    old = shared_object("plain")
    (tmp_path / "little.c").write_text(LITTLE.replace("1", "2"))
    new = shared_object("plain")
    assert new != old
    assert ctypes.CDLL(str(new)).built_by() == 2


def test_each_instruction_set_has_a_library_of_its_own_so_that_nodes_of_all_kinds_may_share_a_cache() -> None:
    assert len({shared_object(name) for name in SETS}) == len(SETS)


def test_processes_may_compile_at_the_same_time(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from bnbench.arithmetic import build\n"
        "build.SOURCES, build.HEADERS = [Path(sys.argv[1])], []; print(build.shared_object('plain'))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "little.c")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    for process in processes:
        path = Path(process.communicate()[0].strip())
        assert process.returncode == 0
        ctypes.CDLL(str(path)).replay()
    assert left(tmp_path) == []


def test_without_a_compiler_the_reason_names_those_that_would_do(programs: Path) -> None:
    assert not list(programs.iterdir())
    assert reason() == "no C compiler is installed (cc, gcc, clang, ziglang)"


def test_a_compiler_that_fails_is_quoted(programs: Path) -> None:
    program(programs, "cc", "echo no space in here >&2; exit 1")
    assert reason() == f"the C compiler {programs}/cc fails: no space in here"


def test_the_next_compiler_is_used_where_one_fails(programs: Path) -> None:
    found = subprocess.run(["/bin/sh", "-c", "PATH=/usr/local/bin:/usr/bin:/bin command -v cc"], stdout=-1, text=True)
    program(programs, "cc", "exit 1")
    program(programs, "gcc", f'PATH=/usr/local/bin:/usr/bin:/bin exec {found.stdout.strip()} "$@"')
    ctypes.CDLL(str(shared_object("plain"))).replay()


def test_what_a_compiler_produces_is_loaded_before_it_is_kept(tmp_path: Path, programs: Path) -> None:
    program(programs, "cc", 'for name; do case $name in *.so) echo junk > "$name";; esac; done')
    assert reason() == f"{programs}/cc produces a library that cannot be loaded"
    assert not list((tmp_path / "cache" / "bnbench").iterdir())


def test_a_compiler_that_never_ends_is_stopped_with_all_its_programs(
    tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(programs, "cc", f"/bin/sleep 600 &\necho $! > {tmp_path}/child\nwait")
    monkeypatch.setattr(build, "SECONDS", 1.0)
    assert reason() == f"the C compiler {programs}/cc did not finish within 1 s"
    state = Path(f"/proc/{(tmp_path / 'child').read_text().strip()}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"
    assert not list((tmp_path / "cache" / "bnbench").iterdir())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("nothing", "the C compiler nothing is not installed"),
        ("'cc", "the variable CC is not a command: No closing quotation"),
    ],
)
def test_the_variable_cc_names_the_only_compiler(given: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", given)
    assert reason() == expected


def test_the_variable_cc_may_have_arguments(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = program(programs, "other", 'echo "$1" >&2; exit 1')
    monkeypatch.setenv("CC", f"{other} --first")
    assert reason() == f"the C compiler {other} fails: --first"


def test_the_compiler_of_the_python_package_is_the_last_and_told_to_compile_for_any_processor(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "ziglang")
    program(programs, "clang", "exit 1")
    python = (sys.executable, "-m", "ziglang", "cc", "-mcpu=baseline")
    assert build.compilers() == [(f"{programs}/clang",), python]


def test_a_cache_that_cannot_be_written_is_the_reason(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "bnbench").write_text("a file where a folder should be")
    assert "cache/bnbench" in reason()


def test_set_up_compiles_all_sets_or_says_why_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build.main()
    assert len(list((tmp_path / "cache" / "bnbench").glob("*.so"))) == len(SETS)
    monkeypatch.setenv("CC", "nothing")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    with pytest.raises(SystemExit, match=r"not comparable .* the C compiler nothing is not installed"):
        build.main()
