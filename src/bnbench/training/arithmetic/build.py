"""The shared library of the C files in this folder: compiled at the first start into the user's cache.

Its name holds the digest of its sources and its own: a truncated or altered file is never loaded, because that would
kill the process without a message, or make it loop forever.
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
from bnbench.plan.cost import cpu

SOURCES = [Path(__file__).with_name(name) for name in ("kernels.c", "optimizers.c", "products.c", "program.c")]
HEADER = Path(__file__).with_name("program.h")
FLAGS = ("-O3", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
COMPILERS = ("cc", "gcc", "clang")
SECONDS = 60.0  # the compiler takes five
TRIAL = "import ctypes, sys; library = ctypes.CDLL(sys.argv[1]); library.moments, library.adam, library.replay"


def shared_object() -> Path:
    """Return the path of the library for these sources and this machine; compile it if there is no intact one.

    Raises:
        OSError: there is no compiler, it hangs or produces no usable library, or the cache cannot be written.
        subprocess.CalledProcessError: the compiler fails.
    """
    made_from = digest([source.read_text() for source in (HEADER, *SOURCES)], FLAGS, cpu(), platform.machine())
    folder = cache_folder()
    for path in sorted(folder.glob(f"kernels-{made_from}-*.so")):
        if path.is_file() and path.name == _name(made_from, path):
            return path
    compiler = next((found for known in COMPILERS if (found := shutil.which(known))), None)
    if compiler is None:
        raise FileNotFoundError(f"no C compiler is installed ({', '.join(COMPILERS)})")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".kernels.") as temporary:
        new = Path(temporary) / "new.so"
        _run("the C compiler", compiler, *FLAGS, *map(str, SOURCES), "-o", str(new), "-lm")
        try:
            _run("the compiled library", sys.executable, "-c", TRIAL, str(new))
        except subprocess.CalledProcessError:
            raise OSError(f"{compiler} produces a library that cannot be loaded") from None
        path = folder / _name(made_from, new)
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder; move it away")
        return new.replace(path)


def _name(made_from: str, library: Path) -> str:
    return f"kernels-{made_from}-{hashlib.sha256(library.read_bytes()).hexdigest()[:32]}.so"


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
