"""The shared libraries of the C files in this folder, one per instruction set, compiled into the user's cache.

A library's name holds the digest of its sources and its own: a truncated or altered file is never loaded, because that
would kill the process without a message, or make it loop forever.
"""

import hashlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from bnbench.core.atomic import cache_folder
from bnbench.core.files import digest

FOLDER = Path(__file__).parent
SOURCES = sorted(FOLDER.glob("*.c"))
HEADERS = sorted(FOLDER.glob("*.h"))
# no contraction of a * b + c and no reordering of sums: the sources state each fma and each order
FLAGS = ("-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
# instruction set -> flags of the compiler, and the processor's flags that it needs
SETS = {
    "avx512": (("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"), ("avx512bw", "avx512dq", "avx512vl")),
    "avx2": (("-mavx2", "-mfma"), ("avx2", "fma")),
    "plain": ((), ()),
}
COMPILERS = ("cc", "gcc", "clang")
SECONDS = 120.0  # the compiler takes ten
TRIAL = "import ctypes, sys; ctypes.CDLL(sys.argv[1]).replay"


def shared_object(instructions: str) -> Path:
    """Return the path of the library for an instruction set; compile it if there is no intact one.

    Raises:
        OSError: there is no compiler, it hangs or produces no usable library, or the cache cannot be written.
        subprocess.CalledProcessError: the compiler fails.
    """
    flags = (*FLAGS, *SETS[instructions][0])
    made_from = digest([source.read_text() for source in (*HEADERS, *SOURCES)], flags, platform.machine())
    stem, folder = f"arithmetic-{instructions}-{made_from}", cache_folder()
    for path in sorted(folder.glob(f"{stem}-*.so")):
        if path.is_file() and path.name == _name(stem, path):
            return path
    compiler = next((found for known in COMPILERS if (found := shutil.which(known))), None)
    if compiler is None:
        raise FileNotFoundError(f"no C compiler is installed ({', '.join(COMPILERS)})")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".arithmetic.") as temporary:
        new = Path(temporary) / "new.so"
        _run("the C compiler", compiler, *flags, *map(str, SOURCES), "-o", str(new), "-lm")
        try:
            _run("the compiled library", sys.executable, "-c", TRIAL, str(new))
        except subprocess.CalledProcessError:
            raise OSError(f"{compiler} produces a library that cannot be loaded") from None
        path = folder / _name(stem, new)
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder; move it away")
        return new.replace(path)


def _name(stem: str, library: Path) -> str:
    return f"{stem}-{hashlib.sha256(library.read_bytes()).hexdigest()[:32]}.so"


def _run(what: str, *command: str) -> None:
    """Run a program and its children, and kill them after `SECONDS`."""
    none, pipe = subprocess.DEVNULL, subprocess.PIPE
    with subprocess.Popen(command, stdin=none, stdout=pipe, stderr=pipe, start_new_session=True) as process:
        try:
            out, errors = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # a compiler starts other programs
            raise OSError(f"{what} did not finish within {SECONDS:.0f} s ({command[0]})") from None
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, out, errors)
