"""Processes of this machine that work in a project's folder."""

import contextlib
from pathlib import Path

import psutil


def running(program: str, root: Path) -> list[int]:
    """Return the ids of the processes that run a program of this name with the folder as working directory."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            names = [Path(part).name for part in process.cmdline()[:3]]
            if program in names and Path(process.cwd()) == root.resolve():
                found.append(process.pid)
    return found
