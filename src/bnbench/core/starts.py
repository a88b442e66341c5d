"""Who starts here. Each Snakemake of a folder holds a lock while it lives, which tells whether its own lock is stale.

Snakemake's own lock is files that stay when it is killed. Each start notes which of them are its own, on which machine.
They are removed if no start lives and all of them are of starts of this machine: those whose death its locks tell, or
whose machine was started anew since. Two starts at a time pass from here to Snakemake's lock one after the other.
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

PASSING = "the beginning of another start in this folder"
FIRST, SPAN = 1 << 61, 1 << 32  # the places of starts that live, beyond those of `locks.of`
# What a killed Snakemake leaves that the next one stumbles over: copies of outputs, which it cannot replace; marks of
# incomplete outputs, for which 9.27 runs that job alone and ends as if all were done, where later rules take the output
# as `ancient`. No output of a rule here is ever incomplete: it is renamed to its place, or beside it lies an identity.
LEFTOVERS = ("backups", "incomplete")
UNLOCK = "if none runs here any more: snakemake --unlock"

_gate = contextlib.ExitStack()  # held from `enter` to `entered`
_own = secrets.randbelow(SPAN)


def enter(root: Path) -> None:
    """Note that this process starts in `root`, and remove what a dead start left of Snakemake's lock.

    Raises:
        UserError: Snakemake's lock cannot be read.
        SystemFault: there can be no locks.
    """
    notes = _notes(root)
    _gate.enter_context(locks.first_of([locks.of(notes, PASSING)]))
    alive, files, starts = working(root), _files(root), _read(notes)
    if files and alive is None and unproven(root) is None:
        for path in files:
            path.unlink(missing_ok=True)
        files = {}
        _tell("removed the lock of a Snakemake of this machine that was killed")
    if not files and alive is None:
        for name in LEFTOVERS:
            shutil.rmtree(root / ".snakemake" / name, ignore_errors=True)
    for path in files:
        _check(path)
    if files:
        told = f"another one works here, {locks.named(alive)}: wait for its end" if alive else unproven(root)
        _tell(f"if this start is refused: {told}")
    locks.keep(locks.Lock(notes.with_name(locks.NAME), FIRST + _own, "this start"))
    write_json(notes, [*(starts if files or alive is not None else []), {"own": _own, **_here(), "locks": {}}])


def entered(root: Path) -> None:
    """Note which files are Snakemake's lock of this process, now that it has it, and let the next start begin."""
    notes = _notes(root)
    starts = _read(notes)
    others = {name: time for start in starts for name, time in start["locks"].items()}
    own = {path.name: time for path, time in _files(root).items() if others.get(path.name) != time}
    write_json(notes, [{**start, "locks": own} if start["own"] == _own else start for start in starts])
    _gate.close()


def working(root: Path) -> int | None:
    """A start that lives in `root`, by the number of its process, 0 if that cannot be seen; None if there is none."""
    return locks.holder(locks.Lock(_notes(root).with_name(locks.NAME), FIRST, "starts", SPAN))


def unproven(root: Path) -> str | None:
    """Why Snakemake's lock may be of one that lives, though no start does that could be seen; None if it is not."""
    starts, here = _read(_notes(root)), _here()
    for path, time in _files(root).items():
        owner = next((start for start in starts if start["locks"].get(path.name) == time), None)
        if owner is None:
            return f"{path} is of a Snakemake that is not known; {UNLOCK}"
        same = here["boot"] and owner["boot"] == here["boot"]
        again = here["machine"] and all(owner[key] == here[key] for key in ("host", "machine"))
        if not same and not again:
            return f"{path} is of process {owner['process']} on {owner['host']}, another machine than this; {UNLOCK}"
    return None


def _notes(root: Path) -> Path:
    return root / ".bnbench" / "starts.json"


def _here() -> dict[str, Any]:
    machine, boot = map(_text, (Path("/etc/machine-id"), Path("/proc/sys/kernel/random/boot_id")))
    return {"host": socket.gethostname(), "machine": machine, "boot": boot, "process": os.getpid()}


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text().strip()
    return ""


def _files(root: Path) -> dict[Path, int]:
    """The files of Snakemake's lock, and when they were written."""
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
    """The starts that are noted; none if the notes are damaged."""
    keys = {"own": int, "host": str, "machine": str, "boot": str, "process": int, "locks": dict}
    try:
        starts = read_json(notes)
        good = all(isinstance(start[key], kind) for start in starts for key, kind in keys.items())
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return list(starts) if good else []


def _tell(line: str) -> None:
    print(f"snakemake: {line}", file=sys.stderr, flush=True)
