"""bnbench as a process that must fail: its command line, a mirror, a small disk, a private mount."""

import hashlib
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bnbench.core import locks
from tests.support.parameters import toy
from tests.support.web import CONTENT

PROGRAM = str(Path(sys.executable).with_name("bnbench"))  # the installed script, as users start it
SECONDS = 5.0  # limit of processor time for reporting a mistake without network access


def bnbench(*words: object, folder: Path, prefix: tuple[str, ...] = (), limit: int | None = None) -> str:
    """Run a command that must fail and return its exit code and output; `limit`: maximum size of a file in bytes."""

    def limited() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [*prefix, PROGRAM, *map(str, words)]
    environment = {key: value for key, value in os.environ.items() if key != "BNBENCH_MIRROR"}
    done = subprocess.run(
        command, cwd=folder, env={**environment, "NO_PROXY": "127.0.0.1"}, preexec_fn=limited,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    told = done.stdout + done.stderr
    assert "Traceback" not in told
    assert told.count(f"bnbench {words[0]}: ") == 1, told
    return f"{done.returncode}: {told[told.index(f'bnbench {words[0]}: ') :]}"


def spent() -> float:
    """Return the processor time of all finished child processes in seconds (independent of the machine's load)."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def with_mirror(folder: Path, mirror: str) -> None:
    """Write the toy parameter file with a data set that is one file of `mirror`."""
    declared = f"mirrors: ['{mirror}']\n    files: {{a.gz: 'sha256:{hashlib.sha256(CONTENT).hexdigest()}'}}"
    toy(folder, ("format: digits", "format: folders"), ("    classes: 10", f"    {declared}\n    classes: 10"))


def namespace(*mount: str) -> tuple[str, ...]:
    """Return a command prefix that runs in a private mount namespace; skip the test where that is not permitted."""
    prefix = ("unshare", "--map-root-user", "--mount", "sh", "-c")
    script = f'mount {" ".join(mount)} && "$@"; code=$?; ls -AR {mount[-1]} > listing; exit $code'
    if not shutil.which("unshare") or subprocess.run([*prefix, f"mount {' '.join(mount)}"], check=False).returncode:
        pytest.skip("no mounts may be made here")
    return (*prefix, script, "sh")


def no_temporaries(listing: list[str]) -> None:
    names = [name.rsplit("/", 1)[-1] for name in listing]
    assert not [name for name in names if name.startswith(".") and name != locks.NAME]
    assert not [name for name in names if name.startswith("identity-")]
