"""Processes that work for this one: told to stop when it is, and gone when it is, however it ended."""

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

SHARED = Path("/dev/shm")  # where Linux keeps the locks of queues between processes
LOOK_SECONDS = 0.5  # between two looks whether to end
_busy = False  # in a worker: a task is being done


@contextlib.contextmanager
def working(
    count: int,
    context: BaseContext,
    function: Callable[..., Result],
    tasks: Sequence[tuple[Any, ...]],
    begin: Callable[[], None] | None = None,
) -> Iterator[list[Future[Result]]]:
    """Do tasks on processes of their own, and yield their futures, in order.

    Where the block ends early, by a signal or an error, the processes are told to stop, and waited for: each ends its
    present task, at once if the task heeds `signals`, and begins no other.

    Args:
        count: how many processes.
        context: how they are started.
        function: what to do, with the arguments that a task consists of.
        tasks: one after the other.
        begin: sets a process up.

    Raises:
        Interrupted: a signal came.
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
                child.terminate()  # which it notes
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def as_they_end(futures: Iterable[Future[Result]]) -> Iterator[Future[Result]]:
    """Yield futures in the order in which they end.

    Raises:
        Interrupted: a signal came.
    """
    left = set(futures)
    while left:
        over, left = wait(left, LOOK_SECONDS, FIRST_COMPLETED)
        signals.check()
        yield from over


def _begin(parent: int, begin: Callable[[], None] | None) -> None:
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    signals.listen()
    if begin:
        begin()


def _end_with(parent: int) -> None:
    """End this process when its parent has ended, or when it was told to and has nothing to do any more.

    It cannot wait to hear of either from the queue of tasks, which stays open, or locked by a process that was killed.
    """
    looks = 0
    while os.getppid() == parent and looks < 2:  # two: the result of its last task is on its way
        time.sleep(LOOK_SECONDS)
        looks = 0 if _busy or not signals.asked() else looks + 1
    os._exit(Interrupted.code)


def _do(function: Callable[..., Result], *arguments: Any) -> Result:
    global _busy
    _busy = True
    try:
        signals.check()
        return function(*arguments)
    finally:
        _busy = False
