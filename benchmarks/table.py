"""Measurements as a Markdown table and as JSON."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from benchmarks.arithmetic import Measured, difference, seconds_of_all, spread

BASE = ("plain torch", "one process per run")  # speeds are relative to the first of these that was measured


def markdown(results: dict[str, Any], cpu: str, workers: int) -> str:
    """Return a heading and a table for each grid, as Markdown."""
    lines = [f"# Complete grids, from cold processes to the last record: {cpu}, {workers} cores", ""]
    for name, grid in results.items():
        rounds = len(grid["rounds"])
        lines += [f"## {name}: {grid['title']}", "", f"Median of {rounds} rounds (minimum-maximum).", ""]
        lines += ["| program | runs timed | seconds for all | relative speed | difference in test accuracy | |"]
        lines += ["| --- | ---: | ---: | ---: | ---: | --- |"]
        lines += [f"| {' | '.join(row)} |" for row in rows(grid, workers)]
        lines += [""]
    return "\n".join(lines)


def rows(grid: dict[str, Any], workers: int) -> Iterator[list[str]]:
    """Yield the cells of each program. Speed and accuracy are relative to the first row."""
    base = next((name for name in BASE if name in grid["keys"]), None)
    for name, keys in grid["keys"].items():
        outcomes: list[Measured] = [done[name] for done in grid["rounds"]]
        seconds = [seconds_of_all(outcome, keys, workers) for outcome in outcomes]
        ratios = ratio(grid, name, base, workers)
        timed = f"{len(outcomes[0].seconds) or len(keys)} of {len(keys)}"
        accuracy = agreement(grid["rounds"][-1], name, base)
        cells = [spread(seconds, "{:.1f}"), f"{spread(ratios, '{:.2f}')}" if ratios else ""]
        yield [name, timed, *cells, accuracy, outcomes[-1].note]


def ratio(grid: dict[str, Any], name: str, base: str | None, workers: int) -> list[float]:
    """Return the speed of a program relative to the base in each round, on the runs that it trains."""
    if base is None:
        return []
    keys = grid["keys"][name]
    return [
        seconds_of_all(done[base], keys, workers) / seconds_of_all(done[name], keys, workers) for done in grid["rounds"]
    ]


def agreement(done: dict[str, Measured], name: str, base: str | None) -> str:
    """Format the difference of mean test accuracies on the runs that both were timed on, and its bound by chance."""
    found = None if base in (None, name) else difference(done[name].accuracy, done[str(base)].accuracy)
    return f"{found[1]:+.4f} (n = {found[0]}, at most {found[2]:.4f})" if found else ""


def plain(results: dict[str, Any]) -> dict[str, Any]:
    """Return all measurements as JSON values."""
    return {
        name: {
            "title": grid["title"],
            "keys": grid["keys"],
            "rounds": [{row: dataclasses.asdict(m) for row, m in done.items()} for done in grid["rounds"]],
        }
        for name, grid in results.items()
    }


def restored(grids: dict[str, Any]) -> dict[str, Any]:
    """Return the measurements of values that `plain` returned."""
    return {
        name: {**grid, "rounds": [{row: Measured(**m) for row, m in done.items()} for done in grid["rounds"]]}
        for name, grid in grids.items()
    }
