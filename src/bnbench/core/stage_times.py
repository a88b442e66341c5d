"""How long the stages of one start took, and what Snakemake and the starts of processes took beside them.

Each command of a start appends a line to the file that an environment variable names; the start tells at its end.
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
def noted(stage: str) -> Iterator[None]:
    """Note when a stage began and ended, if a start asks for it."""
    begun, notes = time.time(), os.environ.get(NOTES)
    try:
        yield
    finally:
        if notes and Path(notes).parent.is_dir():  # not on a node that does not see it
            line = orjson.dumps([stage, begun, time.time()]) + b"\n"
            # a full disk is told where results are written; one write, which other processes cannot split
            with contextlib.suppress(OSError), Path(notes).open("ab", buffering=0) as file:
                file.write(line)


def summary(notes: Path, begun: float, ended: float) -> str:
    """`69 s: train 41 s, figures 12 s; 7 s (10 %) Snakemake and the starts of processes`.

    Args:
        notes: the stages' file; of stages at the same time each counts in full.
        begun: when the start began, in seconds.
        ended: and ended.
    """
    lines = notes.read_bytes().splitlines() if notes.exists() else []
    spans: list[tuple[str, float, float]] = []
    for line in lines:
        with contextlib.suppress(ValueError):  # half a line, of a full disk
            spans.append(orjson.loads(line))
    seconds: dict[str, float] = defaultdict(float)
    for stage, first, last in spans:
        seconds[stage] += last - first
    busy, until = 0.0, begun
    for _, first, last in sorted(spans, key=lambda span: span[1]):
        busy += max(0.0, last - max(first, until))
        until = max(until, last)
    whole = ended - begun
    rest = f"{whole - busy:.0f} s ({(whole - busy) / whole:.0%}) Snakemake and the starts of processes"
    parts = ", ".join(f"{stage} {taken:.0f} s" for stage, taken in seconds.items())
    return f"{whole:.0f} s: {parts}; {rest}" if parts else f"{whole:.0f} s: {rest}"
