"""What a start of Snakemake and the commands that it starts have in common: they end with it, however it ends.

The start holds a lock as long as it wants them to work. Each waits for that lock, and stops as by SIGTERM once it has
it. The system drops the lock with the process, also one that was killed; no number of a process is taken for another.
"""

import contextlib
import fcntl
import os
import signal
import threading
from pathlib import Path

from bnbench.core import signals

VARIABLE = "BNBENCH_LIFELINE"
# of Snakemake's own it heeds SIGINT at once, on SIGTERM it lets its jobs go on to their end, by SIGHUP it leaves a lock
HEEDED = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


def lead(path: Path) -> None:
    """Hold the lock `path` until this process ends, or is asked to: then it is let go, and Ctrl-C's exception raised.

    Without a lock, where the file system has none, commands end by the signals that reach them alone.
    """
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab", buffering=0)
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.environ[VARIABLE] = str(path.absolute())

        def let_go(_number: int, _frame: object) -> None:
            if not file.closed:  # once: Snakemake then waits for its jobs, and unlocks
                file.close()
                raise KeyboardInterrupt

        for number in HEEDED:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, let_go)


def follow() -> None:
    """Let this process end when the start that it belongs to has ended, if it belongs to one."""
    if path := os.environ.get(VARIABLE):
        threading.Thread(target=_wait, args=(Path(path),), daemon=True).start()


def _wait(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("rb") as file:  # on another machine it need not be there
        fcntl.lockf(file, fcntl.LOCK_SH)
        if not signals.asked():
            os.kill(os.getpid(), signal.SIGTERM)
