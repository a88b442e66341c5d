"""The table of what was measured, as Markdown and as plain values."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from benchmarks.arithmetic import Measured, difference, spread, whole

BASE = ("plain torch", "one process per run")  # ratios are to the first of these that was measured


def markdown(results: dict[str, Any], cpu: str, workers: int) -> str:
    """A heading and a table for each grid."""
    lines = [f"# Whole grids, from cold processes to the last record: {cpu}, {workers} cores", ""]
    for name, grid in results.items():
        rounds = len(grid["rounds"])
        lines += [f"## {name}: {grid['title']}", "", f"Median of {rounds} rounds (smallest-largest).", ""]
        lines += [
            "| program | runs timed | seconds for all | times as fast as the first | test accuracy against its | |"
        ]
        lines += ["| --- | ---: | ---: | ---: | ---: | --- |"]
        lines += [f"| {' | '.join(row)} |" for row in rows(grid, workers)]
        lines += [""]
    return "\n".join(lines)


def rows(grid: dict[str, Any], workers: int) -> Iterator[list[str]]:
    """The cells of each program."""
    base = next((name for name in BASE if name in grid["keys"]), None)
    for name, keys in grid["keys"].items():
        outcomes: list[Measured] = [done[name] for done in grid["rounds"]]
        seconds = [whole(outcome, keys, workers) for outcome in outcomes]
        ratios = ratio(grid, name, base, workers)
        timed = f"{len(outcomes[0].seconds) or len(keys)} of {len(keys)}"
        accuracy = agreement(grid["rounds"][-1], name, base)
        cells = [spread(seconds, "{:.1f}"), f"{spread(ratios, '{:.2f}')}" if ratios else ""]
        yield [name, timed, *cells, accuracy, outcomes[-1].note]


def ratio(grid: dict[str, Any], name: str, base: str | None, workers: int) -> list[float]:
    """How many times as fast as the base a program was in each round, on the runs that it takes."""
    if base is None:
        return []
    keys = grid["keys"][name]
    return [whole(done[base], keys, workers) / whole(done[name], keys, workers) for done in grid["rounds"]]


def agreement(done: dict[str, Measured], name: str, base: str | None) -> str:
    """The difference in mean test accuracy on the runs that both were timed on, and how large it may be by chance."""
    found = None if base in (None, name) else difference(done[name].accuracy, done[str(base)].accuracy)
    return f"{found[1]:+.4f} (n = {found[0]}, at most {found[2]:.4f})" if found else ""


def plain(results: dict[str, Any]) -> dict[str, Any]:
    """All that was measured, as JSON."""
    return {
        name: {
            "title": grid["title"],
            "keys": grid["keys"],
            "rounds": [{row: dataclasses.asdict(m) for row, m in done.items()} for done in grid["rounds"]],
        }
        for name, grid in results.items()
    }


def restored(grids: dict[str, Any]) -> dict[str, Any]:
    """What `plain` was made of."""
    return {
        name: {**grid, "rounds": [{row: Measured(**m) for row, m in done.items()} for done in grid["rounds"]]}
        for name, grid in grids.items()
    }
