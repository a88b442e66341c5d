"""Worker processes that stop when their parent is asked to stop, and exit when it ends, however it ends."""

import contextlib
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any, TypeVar

from bnbench.core import signals
from bnbench.core.atomic import explained
from bnbench.core.errors import Interrupted

Result = TypeVar("Result")

SHARED = Path("/dev/shm")  # where Linux has the semaphores of queues between processes
POLL_SECONDS = 0.5  # between two checks whether to exit
_busy = False  # in a worker: whether it executes a task


@contextlib.contextmanager
def working(
    count: int,
    context: BaseContext,
    function: Callable[..., Result],
    tasks: Sequence[tuple[Any, ...]],
    begin: Callable[[], None] | None = None,
) -> Iterator[list[Future[Result]]]:
    """Execute tasks in worker processes, and yield their futures, in order.

    If the block is left early, by a signal or an error, the workers get SIGTERM and are waited for: each finishes its
    current task, at once if that checks `signals`, and starts no other.

    Args:
        count: the number of workers.
        context: the start method of `multiprocessing`.
        function: called once per task.
        tasks: the arguments of each call.
        begin: called once in each worker, before its first task.

    Raises:
        Interrupted: a signal was received.
    """
    signals.check()
    with explained(SHARED):
        pool = ProcessPoolExecutor(count, context, _begin, (os.getpid(), begin))
    with signals.held():
        try:
            with signals.blocked():
                futures = [pool.submit(_do, function, *task) for task in tasks]
            yield futures
        except BaseException:
            for child in multiprocessing.active_children():
                child.terminate()  # a signal that it records
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def as_they_end(futures: Iterable[Future[Result]]) -> Iterator[Future[Result]]:
    """Yield futures in the order in which they finish.

    Raises:
        Interrupted: a signal was received.
    """
    pending = set(futures)
    while pending:
        finished, pending = wait(pending, POLL_SECONDS, FIRST_COMPLETED)
        signals.check()
        yield from finished


def _begin(parent: int, begin: Callable[[], None] | None) -> None:
    threading.Thread(target=_exit_with, args=(parent,), daemon=True).start()
    signals.listen()
    if begin:
        begin()


def _exit_with(parent: int) -> None:
    """Exit when the parent process has ended, or when this one was asked to stop and is idle.

    The queue of tasks reports neither: it stays open, or locked by a process that was killed.
    """
    idle = 0
    while os.getppid() == parent and idle < 2:  # two polls, so that the result of its last task has been sent
        time.sleep(POLL_SECONDS)
        idle = 0 if _busy or not signals.asked() else idle + 1
    os._exit(Interrupted.code)


def _do(function: Callable[..., Result], *arguments: Any) -> Result:
    global _busy
    _busy = True
    try:
        signals.check()
        return function(*arguments)
    finally:
        _busy = False
