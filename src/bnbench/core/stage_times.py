"""Wall time of each stage of one Snakemake run, and the overhead outside the stages.

Each command that Snakemake starts appends a line to a file, which an environment variable names; a summary is printed
at the end.
"""

import contextlib
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import orjson

NOTES = "BNBENCH_STAGES"


@contextlib.contextmanager
def timed(stage: str) -> Iterator[None]:
    """Record when a stage starts and finishes, if Snakemake runs it."""
    started, notes = time.time(), os.environ.get(NOTES)
    try:
        yield
    finally:
        if notes and Path(notes).parent.is_dir():  # it may not, on a node of a cluster
            line = orjson.dumps([stage, started, time.time()]) + b"\n"
            # one write, which other processes cannot split; a full disk is reported where results are written
            with contextlib.suppress(OSError), Path(notes).open("ab", buffering=0) as file:
                file.write(line)


def summary(notes: Path, started: float, finished: float) -> str:
    """Return a line such as `69 s: train 41 s, figures 12 s; 7 s (10%) Snakemake and the starts of processes`.

    Args:
        notes: the file of the stages' times; each of several stages at the same time counts in full.
        started: when Snakemake started, in seconds since the epoch.
        finished: when it finished.
    """
    lines = notes.read_bytes().splitlines() if notes.exists() else []
    intervals: list[tuple[str, float, float]] = []
    for line in lines:
        with contextlib.suppress(ValueError):  # an incomplete line, from a full disk
            intervals.append(orjson.loads(line))
    seconds: dict[str, float] = defaultdict(float)
    for stage, first, last in intervals:
        seconds[stage] += last - first
    busy, until = 0.0, started
    for _, first, last in sorted(intervals, key=lambda interval: interval[1]):
        busy += max(0.0, last - max(first, until))
        until = max(until, last)
    total = finished - started
    overhead = f"{total - busy:.0f} s ({(total - busy) / total:.0%}) Snakemake and the starts of processes"
    stages = ", ".join(f"{stage} {taken:.0f} s" for stage, taken in seconds.items())
    return f"{total:.0f} s: {stages}; {overhead}" if stages else f"{total:.0f} s: {overhead}"
