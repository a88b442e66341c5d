"""Commands in sessions of their own, as in a terminal: send signals to one process or to all, list the survivors."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)  # requests to stop
PATIENCE = 60.0  # seconds until a test gives up; the awaited events take two on an idle machine


def until(true: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.01)


@contextmanager
def started(
    command: list[str], folder: Path, environment: Mapping[str, str] | None = None, ignore: tuple[int, ...] = ()
) -> Iterator[subprocess.Popen[str]]:
    """Start a command in a new session, as in a terminal; kill its remaining processes at the end of the block."""

    def dispositions() -> None:
        for number in SIGNALS:  # the parent of the tests may ignore some
            signal.signal(number, signal.SIG_IGN if number in ignore else signal.SIG_DFL)

    with (folder / "told").open("w") as told:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, start_new_session=True, text=True, preexec_fn=dispositions,
            stdin=subprocess.DEVNULL, stdout=told, stderr=told,
        )  # fmt: skip
    try:
        yield process
    finally:
        for left in members(process):
            left.kill()
        process.wait()


def members(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """Return the running processes of a command's session, including orphaned ones."""
    found = []
    for other in psutil.process_iter():
        try:
            if os.getsid(other.pid) == process.pid and other.status() != psutil.STATUS_ZOMBIE:
                found.append(other)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def words(process: psutil.Process) -> list[str]:
    """Return the command line of a process; empty if it ends meanwhile."""
    with suppress(psutil.NoSuchProcess):  # a zombie is one too
        return list(process.cmdline())
    return []


def ended(process: "subprocess.Popen[str]", seconds: float = PATIENCE) -> int:
    """Wait until no process of the session is left and return the exit code of the first one."""
    end = time.monotonic() + seconds
    while process.poll() is None or members(process):
        left = [(one.pid, one.ppid(), words(one)) for one in members(process) if time.monotonic() > end]
        assert not left, f"still there after {seconds:.0f} s: {left}"
        time.sleep(0.01)
    return int(process.returncode)


def told(folder: Path) -> str:
    """Return the output of the command that was last started in a folder."""
    return (folder / "told").read_text()


def children(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """Return the running direct children of a command."""
    try:
        return [child for child in psutil.Process(process.pid).children() if child.status() != psutil.STATUS_ZOMBIE]
    except psutil.NoSuchProcess:
        return []


def catches(pid: int, number: int) -> bool:
    """Return whether a process has installed a handler for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def loads(pid: int, library: str) -> bool:
    """Return whether a process has loaded a library."""
    return library in Path(f"/proc/{pid}/maps").read_text()
