"""A progress bar with rate and time left: live on a terminal, a line now and then elsewhere."""

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

LINE_SECONDS = 15.0  # between two lines where there is no terminal

if TYPE_CHECKING:
    Counts = ctypes.Array[ctypes.c_double]
else:
    Counts = ctypes.Array  # of each pack: work done in estimated seconds, images trained on


class Progress:
    """Shows `counts` on their way to `total` estimated seconds while a block runs; `say` writes to the log."""

    def __init__(self, title: str, total: float, counts: Counts, log: Path | None) -> None:
        self.title, self.total, self.counts = title, total or 1.0, counts
        self.console = Console(file=sys.stderr, highlight=False, markup=False)
        self.begun = time.monotonic()
        if log:
            log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log.open("w", buffering=1) if log else None
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._live if self.console.is_terminal else self._lines, daemon=True)

    def __enter__(self) -> "Progress":
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.over.set()
        self.thread.join()
        if self.log:
            self.log.close()

    def say(self, line: str) -> None:
        """Write a line to the log."""
        if self.log:
            self.log.write(line + "\n")

    def tell(self, line: str) -> None:
        """Show a line, and write it to the log."""
        self.console.print(line, soft_wrap=True)
        self.say(line)

    def _rate(self) -> str:
        return f"{sum(self.counts[1::2]) / (time.monotonic() - self.begun):,.0f} images/s"

    def _live(self) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]}"),
        )
        with Bar(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=self.console) as bar:
            task = bar.add_task(self.title, total=self.total, rate="")
            while not self.over.wait(0.2):
                bar.update(task, completed=sum(self.counts[::2]), rate=self._rate())
            bar.update(task, completed=sum(self.counts[::2]), rate=self._rate())

    def _lines(self) -> None:
        while not self.over.wait(LINE_SECONDS):
            share = min(1.0, sum(self.counts[::2]) / self.total)
            passed = time.monotonic() - self.begun
            left = f"{passed / share - passed:.0f} s left" if share > 0.01 else "time left not known yet"
            self.console.print(f"{self.title}: {share:.0%} after {passed:.0f} s, {self._rate()}, {left}")
