"""Timing of complete grids: bnbench against other programs and against the limit of its matrix products.

    make bench ARGS="--grids a b --rounds 3"

From the start of cold processes until the last one ends, with all records on disk. See benchmarks/README.md.
"""

import argparse
import random
import re
import sys
from itertools import combinations
from typing import Any

from benchmarks import table
from benchmarks.arithmetic import Measured, disagreement
from benchmarks.grids import FOLDER, ROOT, Grid, evenly, key, processor
from benchmarks.rows import ROWS, Row
from bnbench.core.atomic import write_bytes
from bnbench.core.files import read_json, write_json

RESULTS = ROOT / "benchmarks" / "results"
WORKERS = 2
SAMPLE = 30  # runs of the quick tier that are trained in a process each: drawn at random, because they differ a lot
GRIDS = tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def main() -> None:
    """Time the selected rows on the selected grids, print the table, write it to `benchmarks/results/`."""
    arguments = parser().parse_args()
    results: dict[str, Any] = {}
    for name in arguments.grids:
        grid = Grid.read(name)
        grid.prepare()
        rows = {row: ROWS[row] for row in arguments.rows if name in ROWS[row].grids and ROWS[row].able}
        results[name] = measured(grid, rows, arguments.rounds, arguments.subset)
        write(results)
        print(table.markdown({name: results[name]}, processor(), WORKERS), flush=True)
        if found := problems(results[name]["rounds"]):
            sys.exit("\n".join(f"grid {name}: {problem}: these are not the same trainings" for problem in found))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--grids", nargs="+", choices=GRIDS, default=list(GRIDS), help="grids to time (all)")
    options.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), help="programs to time (all)")
    options.add_argument("--rounds", type=int, default=3, help="rounds, each with all programs in turn (%(default)s)")
    options.add_argument(
        "--subset", type=int, default=6, help="runs to time of a program with a process per run; 0: all (%(default)s)"
    )
    return options


def chosen(grid: Grid, row: Row, subset: int) -> list[str]:
    """Return the ids of the runs of a grid that a row is timed on."""
    taken = [run for run, settings in grid.runs.items() if row.takes(settings)]
    if not row.alone:
        return taken
    if grid.name == "d":
        return sorted(random.Random(0).sample(taken, min(SAMPLE, len(taken))))
    return evenly(taken, subset)


def measured(grid: Grid, rows: dict[str, Row], rounds: int, subset: int) -> dict[str, Any]:
    """Measure the rounds of a grid, every row in turn; return title, rounds, and the keys of each row's runs."""
    done: list[dict[str, Measured]] = []
    runs = {name: chosen(grid, row, subset) for name, row in rows.items()}
    for number in range(1, rounds + 1):
        done.append({})
        for name, row in rows.items():
            found = row.measure(grid, runs[name], WORKERS)
            if found.accuracy and len(found.accuracy) != len(runs[name]):
                sys.exit(f"grid {grid.name}: {name}: {len(found.accuracy)} records of {len(runs[name])} runs")
            done[-1][name] = found
            print(f"grid {grid.name}, round {number}: {name}: {found.wall:.1f} s", file=sys.stderr, flush=True)
    keys = {name: [key(run.model_dump()) for run in grid.runs.values() if row.takes(run)] for name, row in rows.items()}
    return {"title": grid.title, "keys": keys, "rounds": done}


def problems(rounds: list[dict[str, Measured]]) -> list[str]:
    """Describe the pairs of rows whose accuracies of the same runs disagree."""
    pairs = [(done, pair) for done in rounds for pair in combinations(done, 2)]
    found = [(pair, disagreement(*(done[name].accuracy for name in pair))) for done, pair in pairs]
    return [f"{' and '.join(pair)}: {problem}" for pair, problem in found if problem]


def write(results: dict[str, Any]) -> None:
    """Write all results to files named after the processor; grids measured earlier keep their results."""
    path = RESULTS / (re.sub(r"\W+", "-", processor()).strip("-") + ".json")
    known = table.restored(read_json(path)["grids"]) if path.exists() else {}
    grids = dict(sorted((known | results).items()))
    for grid in grids.values():  # the file's keys are sorted
        grid["keys"] = {row: grid["keys"][row] for row in ROWS if row in grid["keys"]}
    write_bytes(path.with_suffix(".md"), table.markdown(grids, processor(), WORKERS).encode())
    write_json(path, {"cpu": processor(), "workers": WORKERS, "grids": table.plain(grids)})


if __name__ == "__main__":
    main()
