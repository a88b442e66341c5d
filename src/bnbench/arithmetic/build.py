"""The shared libraries of the C files in this folder, one per instruction set, compiled into the user's cache.

All give the same bytes, so that nodes of different kinds may share a cache: each takes the set of its processor
(`library.instructions`). A library's name holds the digest of its sources, flags and system, and its own: one of
another version is not found, and a truncated or altered one is never loaded, because that would kill the process
without a message, or make it loop forever.

`python -m bnbench.arithmetic.build` compiles all of them (`make setup`); one that is missing is compiled at first use.
"""

import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from bnbench.core.atomic import cache_folder
from bnbench.core.errors import SystemFault
from bnbench.core.files import digest

FOLDER = Path(__file__).parent
SOURCES = sorted(FOLDER.glob("*.c"))
HEADERS = sorted(FOLDER.glob("*.h"))
# no contraction of a * b + c and no reordering of sums: the sources state each fma and each order
FLAGS = ("-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
X86 = platform.machine() in ("x86_64", "AMD64")
# instruction set -> flags of the compiler, and the processor's flags that it needs; the best one first
SETS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "avx512": (
        ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"),
        ("avx512f", "avx512bw", "avx512dq", "avx512vl", "fma"),
    ),
    "avx2": (("-mavx2", "-mfma"), ("avx2", "fma")),
    "plain": ((), ()),
}
SETS = {name: flags for name, flags in SETS.items() if name == "plain" or X86}
Command = tuple[str, ...]
COMPILERS = ("cc", "gcc", "clang", "ziglang")  # the last is a Python package
SECONDS = 120.0  # the compiler takes 5 to 15
TRIAL = "import ctypes, sys; ctypes.CDLL(sys.argv[1]).replay"


def compilers() -> list[Command]:
    """Return the commands of the compilers to try, in order: that of the variable CC alone, if it is set.

    Raises:
        OSError: CC has an unclosed quotation mark.
    """
    if given := os.environ.get("CC", "").strip():
        try:
            return [tuple(shlex.split(given))]
        except ValueError as error:
            raise OSError(f"the variable CC is not a command: {error}") from None
    return [command for name in COMPILERS if (command := installed(name))]


def installed(name: str) -> Command:
    """Return the command of a compiler of `COMPILERS`, empty if it is not installed."""
    if name == "ziglang":
        # without a processor named it compiles for the one at hand, and other nodes could not run that
        return (sys.executable, "-m", name, "cc", "-mcpu=baseline") if importlib.util.find_spec(name) else ()
    path = shutil.which(name)
    return (path,) if path else ()


def shared_object(instructions: str, by: Command | None = None) -> Path:
    """Return the path of the library for an instruction set; compile it if there is no intact one.

    Processes may compile at the same time: each does so in a folder of its own and moves a complete file into place.

    Args:
        instructions: a name of `SETS`.
        by: the compiler, to have its own library; by default any compiler's is taken.

    Raises:
        OSError: no compiler is installed, none of them produces a usable library (one may fail, or hang for
            `SECONDS`), or the cache cannot be written.
    """
    flags = (*FLAGS, *SETS[instructions][0])
    system = (platform.system(), platform.machine(), *platform.libc_ver(), *(by or ()))
    made_from = digest([source.read_text() for source in (*HEADERS, *SOURCES)], flags, system)
    stem, folder = f"arithmetic-{instructions}-{made_from}", _folder()
    for path in sorted(folder.glob(f"{stem}-*.so")):
        if path.is_file() and path.name == _name(stem, path):
            return path
    commands = [by] if by else compilers()
    if not commands:
        raise OSError(f"no C compiler is installed ({', '.join(COMPILERS)})")
    folder.mkdir(parents=True, exist_ok=True)
    reasons = []
    for command in commands:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".arithmetic.") as temporary:
            new = Path(temporary) / "new.so"
            try:
                _compile(command, flags, new)
            except OSError as error:
                reasons.append(str(error))
                continue
            path = folder / _name(stem, new)
            if path.is_dir():
                raise IsADirectoryError(f"{path} is a folder; move it away")
            return new.replace(path)
    raise OSError("; ".join(dict.fromkeys(reasons)))


def _folder() -> Path:
    try:
        return cache_folder()
    except SystemFault as error:
        raise OSError(str(error)) from None


def _compile(command: Command, flags: Command, to: Path) -> None:
    _run(f"the C compiler {command[0]}", *command, *flags, *map(str, SOURCES), "-o", str(to), "-lm")
    try:
        _run("the compiled library", sys.executable, "-c", TRIAL, str(to))
    except OSError:
        raise OSError(f"{command[0]} produces a library that cannot be loaded") from None


def _name(stem: str, library: Path) -> str:
    return f"{stem}-{hashlib.sha256(library.read_bytes()).hexdigest()[:32]}.so"


def _run(what: str, *command: str) -> None:
    """Run a program and its children, and kill them after `SECONDS`."""
    none, pipe = subprocess.DEVNULL, subprocess.PIPE
    if not shutil.which(command[0]):
        raise OSError(f"{what} is not installed")
    with subprocess.Popen(command, stdin=none, stdout=none, stderr=pipe, start_new_session=True) as process:
        try:
            errors = process.communicate(timeout=SECONDS)[1]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # a compiler starts other programs
            raise OSError(f"{what} did not finish within {SECONDS:.0f} s") from None
    if process.returncode:
        raise OSError(f"{what} fails: {errors.decode(errors='replace').strip()[-200:]}")


def main() -> None:
    """Compile the libraries of all instruction sets of this architecture, or say why there will be none."""
    try:
        for name in SETS:
            shared_object(name)
    except OSError as error:
        sys.exit(f"without a working C compiler, results are not comparable with other machines': {error}")


if __name__ == "__main__":
    main()
