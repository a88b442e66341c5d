"""The starts of Snakemake in a project's folder: which of them live, and whether Snakemake's own lock is stale.

Snakemake's lock consists of files that remain when it is killed. So each start holds a lock of ours while it lives, and
records which of Snakemake's lock files are its own, and on which machine. The files are removed if no start lives and
all of them belong to starts on this machine, or on one of this name before it was rebooted. Between this check and
Snakemake's own lock, starts pass one at a time.
"""

import contextlib
import os
import secrets
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

from bnbench.core import locks
from bnbench.core.errors import UserError
from bnbench.core.files import read_json, write_json
from bnbench.core.paths import Project

PASSING = "another start in this folder to begin"
FIRST, COUNT = 1 << 61, 1 << 32  # offsets of the locks of living starts, beyond those of `locks.of`
# Folders that a killed Snakemake leaves and the next one fails at: copies of outputs, which it cannot replace; marks of
# incomplete outputs, for which 9.27 runs that job alone and ends as if all were done, where later rules take the output
# as `ancient`. No output of a rule here is ever incomplete: it is renamed to its path, or has an identity beside it.
LEFTOVERS = ("backups", "incomplete")
UNLOCK = "if none runs here any more: snakemake --unlock"

_gate = contextlib.ExitStack()  # held from `enter` to `entered`
_own = secrets.randbelow(COUNT)


def enter(root: Path) -> None:
    """Record that this process starts in `root`, and remove Snakemake's lock if only dead starts hold it.

    Raises:
        UserError: Snakemake's lock cannot be read.
        SystemFault: the file system has no locks.
    """
    notes = _notes(root)
    _gate.enter_context(locks.first_of([locks.of(notes, PASSING)]))
    alive, files, starts = working(root), _files(root), _read(notes)
    if files and alive is None and unproven(root) is None:
        for path in files:
            path.unlink(missing_ok=True)
        files = {}
        _report("removed the lock of a Snakemake of this machine that was killed")
    if not files and alive is None:
        for name in LEFTOVERS:
            shutil.rmtree(root / ".snakemake" / name, ignore_errors=True)
    for path in files:
        _check(path)
    if files:
        reason = f"another one works here, {locks.describe(alive)}: wait for its end" if alive else unproven(root)
        _report(f"if this start is refused: {reason}")
    locks.acquire(locks.Lock(notes.with_name(locks.NAME), FIRST + _own, "this start"))
    write_json(notes, [*(starts if files or alive is not None else []), {"own": _own, **_here(), "locks": {}}])


def entered(root: Path) -> None:
    """Record which files are this process's lock of Snakemake, now that it holds it, and let the next start pass."""
    notes = _notes(root)
    starts = _read(notes)
    others = {name: time for start in starts for name, time in start["locks"].items()}
    own = {path.name: time for path, time in _files(root).items() if others.get(path.name) != time}
    write_json(notes, [{**start, "locks": own} if start["own"] == _own else start for start in starts])
    _gate.close()


def working(root: Path) -> int | None:
    """Return the process id of a start that lives in `root`; 0 if it is not visible from here, None if none lives."""
    return locks.holder(locks.Lock(_notes(root).with_name(locks.NAME), FIRST, "starts", COUNT))


def unproven(root: Path) -> str | None:
    """Return the reason why Snakemake's lock may be held on another machine; None if its holder is known to be dead."""
    starts, here = _read(_notes(root)), _here()
    for path, time in _files(root).items():
        owner = next((start for start in starts if start["locks"].get(path.name) == time), None)
        if owner is None:
            return f"{path} belongs to an unknown Snakemake; {UNLOCK}"
        running = here["boot"] and owner["boot"] == here["boot"]
        rebooted = here["machine"] and all(owner[key] == here[key] for key in ("host", "machine"))
        if not running and not rebooted:
            return f"{path} belongs to process {owner['process']} on {owner['host']}, another machine; {UNLOCK}"
    return None


def _notes(root: Path) -> Path:
    return Project(root).starts


def _here() -> dict[str, Any]:
    machine, boot = map(_text, (Path("/etc/machine-id"), Path("/proc/sys/kernel/random/boot_id")))
    return {"host": socket.gethostname(), "machine": machine, "boot": boot, "process": os.getpid()}


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text().strip()
    return ""


def _files(root: Path) -> dict[Path, int]:
    """Return the files of Snakemake's lock, and their modification times in ns."""
    found = {}
    for path in sorted((root / ".snakemake" / "locks").glob("*.lock")):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file():
                found[path] = path.stat().st_mtime_ns
    return found


def _check(path: Path) -> None:
    try:
        path.read_text()
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}, a lock of Snakemake, cannot be read ({error}); if none runs here: rm {path}"
        ) from None


def _read(notes: Path) -> list[dict[str, Any]]:
    """Return the recorded starts; none if the record is damaged."""
    keys = {"own": int, "host": str, "machine": str, "boot": str, "process": int, "locks": dict}
    try:
        starts = read_json(notes)
        good = all(isinstance(start[key], kind) for start in starts for key, kind in keys.items())
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return list(starts) if good else []


def _report(line: str) -> None:
    print(f"snakemake: {line}", file=sys.stderr, flush=True)
