"""A lifeline between Snakemake and the commands that it starts: they stop when it ends, however it ends.

Snakemake's process holds a lock while its commands shall work. Each of them waits for that lock in a thread, and sends
itself SIGTERM once it gets it. The operating system releases the lock with the process, even one that was killed; no
process id is needed, which could be that of another process by then.
"""

import contextlib
import fcntl
import os
import signal
import threading
from pathlib import Path

from bnbench.core import signals

VARIABLE = "BNBENCH_LIFELINE"
# by itself Snakemake stops at once on SIGINT only: on SIGTERM it waits for its jobs, on SIGHUP it leaves its lock
HEEDED = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


def lead(path: Path) -> None:
    """Hold the lock `path` until this process ends or gets a signal: then release it and raise `KeyboardInterrupt`.

    On a file system without locks, commands stop only by the signals that they get themselves.
    """
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab", buffering=0)
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.environ[VARIABLE] = str(path.absolute())

        def release(_number: int, _frame: object) -> None:
            if not file.closed:  # only once: Snakemake then waits for its jobs, and removes its lock
                file.close()
                raise KeyboardInterrupt

        for number in HEEDED:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, release)


def follow() -> None:
    """Stop this process when the Snakemake that started it has ended, if one did."""
    if path := os.environ.get(VARIABLE):
        threading.Thread(target=_wait, args=(Path(path),), daemon=True).start()


def _wait(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("rb") as file:  # which may not exist on another machine
        fcntl.lockf(file, fcntl.LOCK_SH)
        if not signals.asked():
            os.kill(os.getpid(), signal.SIGTERM)
