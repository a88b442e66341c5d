"""The shared library of the C files here: compiled at the first start, kept in the user's cache, checked at each.

Its name tells what it was made from, and its own digest: a file that was cut or changed is never loaded, for it would
end the process without a word, or let it run for ever.
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

SOURCES = [Path(__file__).with_name(name) for name in ("kernels.c", "optimizers.c", "products.c", "tape.c")]
HEADER = Path(__file__).with_name("tape.h")
FLAGS = ("-O3", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
COMPILERS = ("cc", "gcc", "clang")
SECONDS = 60.0  # for a compiler that takes five
TRIAL = "import ctypes, sys; library = ctypes.CDLL(sys.argv[1]); library.moments, library.adam, library.replay"


def shared_object() -> Path:
    """The shared library of this source for this machine, made if there is none that is whole.

    Raises:
        OSError: no compiler, one that does not end or makes no library, or a folder that cannot be written.
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
    with tempfile.TemporaryDirectory(dir=folder, prefix=".kernels.") as place:
        new = Path(place) / "new.so"
        _run("the C compiler", compiler, *FLAGS, *map(str, SOURCES), "-o", str(new), "-lm")
        try:
            _run("what it made", sys.executable, "-c", TRIAL, str(new))
        except subprocess.CalledProcessError:
            raise OSError(f"{compiler} makes a library that cannot be loaded") from None
        path = folder / _name(made_from, new)
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder; move it away")
        return new.replace(path)


def _name(made_from: str, library: Path) -> str:
    return f"kernels-{made_from}-{hashlib.sha256(library.read_bytes()).hexdigest()[:32]}.so"


def _run(who: str, *command: str) -> None:
    none, pipe = subprocess.DEVNULL, subprocess.PIPE
    with subprocess.Popen(command, stdin=none, stdout=pipe, stderr=pipe, start_new_session=True) as process:
        try:
            out, told = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # a compiler is several programs
            raise OSError(f"{who} does not end within {SECONDS:.0f} s ({command[0]})") from None
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, out, told)
