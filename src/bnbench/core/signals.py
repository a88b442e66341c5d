"""Signals that ask a command to end: noted from its first moment on, acted upon where nothing is lost by it.

A training only notes them: it saves and ends after its present block of steps. Elsewhere they end the work at once, by
an exception. A second Ctrl-C ends the process without delay; what is written is whole at any moment.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator

from bnbench.core.errors import Interrupted, UserError

# the terminal was closed, Ctrl-C, the end is asked for, a cluster's warning before its time limit
SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
SHOW_CURSOR = "\x1b[?25h"  # a progress bar hides it

_noted: list[int] = []
_raising = False  # the next signal raises


def listen() -> None:
    """Note the signals from now on. One that this process was started to ignore (by `nohup`, say) stays ignored."""
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _note)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def asked() -> bool:
    """Whether a signal has asked this process to end."""
    return bool(_noted)


def check() -> None:
    """Go no further if a signal came.

    Raises:
        Interrupted: one did.
    """
    if _noted:
        name = signal.Signals(_noted[0]).name
        raise Interrupted(f"stopped by {name}; what is finished is kept, and the same command goes on from there")


def _note(number: int, _frame: object) -> None:
    """Note a signal. No lock may be in the way: a second signal may come in the midst."""
    global _raising
    if number == signal.SIGINT and number in _noted:
        if sys.stderr.isatty():
            os.write(sys.stderr.fileno(), SHOW_CURSOR.encode())
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    _noted.append(number)
    if _raising:
        _raising = False  # once: what is tidied up on the way out is not disturbed
        raise KeyboardInterrupt


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Let a signal end the block at once, also one that came before.

    Raises:
        Interrupted: a signal came.
    """
    global _raising
    before, _raising = _raising, True
    try:
        check()
        yield
    except (Exception, KeyboardInterrupt) as error:  # a library may have made another error of it
        if not _noted or isinstance(error, UserError):
            raise
        check()
    finally:
        _raising = before and not _noted


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Only note signals during the block, where an exception might leave a lock taken for ever."""
    global _raising
    before, _raising = _raising, False
    try:
        yield
    finally:
        _raising = before and not _noted


@contextlib.contextmanager
def blocked() -> Iterator[None]:
    """Hold signals back during the block. Processes that it starts hold them back too, until they `listen`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
