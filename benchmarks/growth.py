"""Timing of grid a for one epoch against the number of runs and workers, with a table and a figure.

make growth ARGS="--runs 1 4 16 64 256 --rows bnbench JAX"
"""

import argparse
import copy
import re
import sys
from typing import Any

import pandas as pd
import seaborn as sns

from benchmarks.arithmetic import seconds_of_all
from benchmarks.compare import RESULTS
from benchmarks.grids import Grid, evenly, key, processor
from benchmarks.rows import ROWS
from bnbench.core.atomic import write_bytes
from bnbench.core.files import write_json

RATES = 4  # learning rates of a grid; the rest of the runs are seeds


def main() -> None:
    """Time each program with each number of runs and workers; write table and figure."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument(
        "--runs", type=int, nargs="+", default=[1, 4, 16, 64, 256], help="numbers of runs (%(default)s)"
    )
    options.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="numbers of workers (%(default)s)")
    options.add_argument("--rows", nargs="+", choices=list(ROWS), default=["plain torch", "JAX", "bnbench"])
    options.add_argument("--rounds", type=int, default=1, help="rounds, each with all in turn (%(default)s)")
    options.add_argument(
        "--subset", type=int, default=4, help="runs to time of a process per run; 0: all (%(default)s)"
    )
    arguments = options.parse_args()
    grown(1).prepare()
    points = [
        point(name, grown(runs), workers, arguments.subset)
        for _ in range(arguments.rounds)
        for runs in arguments.runs
        for workers in arguments.workers
        for name in arguments.rows
    ]
    write(pd.DataFrame(points))


def grown(runs: int) -> Grid:
    """Return grid a with this number of runs, of one epoch each."""
    fragment: dict[str, Any] = copy.deepcopy(Grid.read("a").fragment)
    study = fragment["studies"]["a"]
    study["base"]["epochs"] = 1
    axes = study["grid"]["product"]
    axes["learning_rate"] = axes["learning_rate"][:RATES]
    axes["seed"] = list(range(-(-runs // RATES)))
    if runs < RATES:
        axes["learning_rate"] = axes["learning_rate"][:runs]
    return Grid(f"growth-{runs}", fragment)


def point(name: str, grid: Grid, workers: int, subset: int) -> dict[str, Any]:
    """Measure one program on a grid with a number of workers; return a row of the table."""
    ids, row = list(grid.runs), ROWS[name]
    measured = row.measure(grid, evenly(ids, subset) if row.alone else ids, workers)
    seconds = seconds_of_all(measured, [key(run.model_dump()) for run in grid.runs.values()], workers)
    print(f"{len(ids)} runs, {workers} workers, {name}: {seconds:.1f} s", file=sys.stderr, flush=True)
    return {"program": name, "runs": len(ids), "workers": workers, "seconds": seconds}


def write(points: pd.DataFrame) -> None:
    """Write table and figure to files named after the processor."""
    stem = re.sub(r"\W+", "-", processor()).strip("-") + "-growth"
    table = points.pivot_table("seconds", ["program", "workers"], "runs", aggfunc="median").round(1)
    rows = [[*map(str, index), *map(str, row)] for index, row in zip(table.index, table.to_numpy(), strict=True)]
    head = ["program", "workers", *(f"{runs} runs" for runs in table.columns)]
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    title = f"Seconds of grid a for one epoch: {processor()}"
    write_bytes(RESULTS / f"{stem}.md", f"# {title}\n\n{text}\n\n![]({stem}.svg)\n".encode())
    write_json(RESULTS / f"{stem}.json", points.to_dict("records"))
    grid = sns.relplot(
        points, x="runs", y="seconds", hue="program", style="workers", kind="line", markers=True, errorbar=("pi", 100)
    )
    runs = sorted(points["runs"].unique())
    grid.set(xscale="log", yscale="log", xlabel="runs", ylabel="wall time (s)", xticks=runs, xticklabels=runs)
    grid.ax.minorticks_off()
    grid.figure.savefig(RESULTS / f"{stem}.svg")
    print(text)


if __name__ == "__main__":
    main()
