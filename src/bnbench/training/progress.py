"""Progress of a training job with rate and time left: a live bar on a terminal, else a line every 15 s."""

import ctypes
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

LINE_SECONDS = 15.0  # between two lines where the output is no terminal

if TYPE_CHECKING:
    Counts = ctypes.Array[ctypes.c_double]
else:
    Counts = ctypes.Array  # of each pack in turn: work done in estimated seconds, images trained on


class Progress:
    """Display of a job's progress while a `with` block runs, and its log file.

    Args:
        title: what is in progress.
        total: estimated seconds of the job.
        counts: work done so far, updated by the workers.
        log: the log file.
    """

    def __init__(self, title: str, total: float, counts: Counts, log: Path | None) -> None:
        self.title, self.total, self.counts = title, total or 1.0, counts
        self.console = Console(file=sys.stderr, highlight=False, markup=False)
        self.started = time.monotonic()
        if log:
            log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log.open("w", buffering=1) if log else None
        self.finished = threading.Event()
        self.thread = threading.Thread(target=self._live if self.console.is_terminal else self._lines, daemon=True)

    def __enter__(self) -> "Progress":
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.finished.set()
        self.thread.join()
        if self.log:
            self.log.close()

    def log_line(self, line: str) -> None:
        """Write a line to the log."""
        if self.log:
            self.log.write(line + "\n")

    def show(self, line: str) -> None:
        """Print a line, and write it to the log."""
        self.console.print(line, soft_wrap=True)
        self.log_line(line)

    def _rate(self) -> str:
        return f"{sum(self.counts[1::2]) / (time.monotonic() - self.started):,.0f} images/s"

    def _live(self) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]}"),
        )
        with Bar(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=self.console) as bar:
            task = bar.add_task(self.title, total=self.total, rate="")
            while not self.finished.wait(0.2):
                bar.update(task, completed=sum(self.counts[::2]), rate=self._rate())
            bar.update(task, completed=sum(self.counts[::2]), rate=self._rate())

    def _lines(self) -> None:
        while not self.finished.wait(LINE_SECONDS):
            share = min(1.0, sum(self.counts[::2]) / self.total)
            elapsed = time.monotonic() - self.started
            left = f"{elapsed / share - elapsed:.0f} s left" if share > 0.01 else "time left unknown"
            self.console.print(f"{self.title}: {share:.0%} after {elapsed:.0f} s, {self._rate()}, {left}")
