"""Signals that ask a command to stop: recorded as soon as it starts, acted upon where nothing is lost.

Training only records them: it saves and stops after its current block of steps. All other work is interrupted at once
by an exception. A second Ctrl-C ends the process without delay; written files are complete at any moment.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator

from bnbench.core.errors import Interrupted, UserError

# the terminal was closed, Ctrl-C, a request to stop, a cluster's warning before the time limit
SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
SHOW_CURSOR = "\x1b[?25h"  # a progress bar hides it

_received: list[int] = []
_raising = False  # whether the next signal raises an exception


def listen() -> None:
    """Record signals from now on. A signal that the process inherited as ignored (by `nohup`, say) stays ignored."""
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _record)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def asked() -> bool:
    """Return whether a signal has asked this process to stop."""
    return bool(_received)


def check() -> None:
    """Stop here if a signal was received.

    Raises:
        Interrupted: a signal was received.
    """
    if _received:
        name = signal.Signals(_received[0]).name
        raise Interrupted(f"stopped by {name}; finished work is saved, and the same command resumes from there")


def _record(number: int, _frame: object) -> None:
    """Handle a signal. It takes no lock, as a second signal may arrive meanwhile."""
    global _raising
    if number == signal.SIGINT and number in _received:
        if sys.stderr.isatty():
            os.write(sys.stderr.fileno(), SHOW_CURSOR.encode())
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    _received.append(number)
    if _raising:
        _raising = False  # only once, so that clean-up on the way out is not interrupted
        raise KeyboardInterrupt


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Let a signal interrupt the block at once, also one received before.

    Raises:
        Interrupted: a signal was received.
    """
    global _raising
    before, _raising = _raising, True
    try:
        check()
        yield
    except (Exception, KeyboardInterrupt) as error:  # a library may have turned it into another error
        if not _received or isinstance(error, UserError):
            raise
        check()
    finally:
        _raising = before and not _received


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Only record signals during the block, where an exception might leave a lock held for ever."""
    global _raising
    before, _raising = _raising, False
    try:
        yield
    finally:
        _raising = before and not _received


@contextlib.contextmanager
def blocked() -> Iterator[None]:
    """Block signals during the block. Processes that it starts block them too, until they call `listen`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
