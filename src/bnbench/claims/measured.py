"""Values that a claim compares: one per arm and seed, from the tables of runs, history and probes.

A run that failed is not left out: its accuracy counts as 0 and its loss as infinite, it reaches no value, and any other
quantity of it is unknown, which speaks neither for nor against a claim. So an arm gains nothing by runs that diverge.
"""

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bnbench.claims.judge import Effects
from bnbench.claims.reductions import REDUCE
from bnbench.params.claims import selection
from bnbench.params.claims.schema import Contrast, Range
from bnbench.params.claims.selection import BySeed, Features
from bnbench.params.fields import CLASSES, Tier
from bnbench.tables.confusion import class_rows
from bnbench.tables.probes import picked

Bounds = tuple[float, float]
UNKNOWN: Bounds = (-math.inf, math.inf)


class Tables:
    """The result tables as claims read them.

    Args:
        runs: a row per run, or per run and study.
        history: a row per run and evaluation.
        probes: a row per run and measured number.
        confusion: a row per run, part, true and predicted class.
    """

    def __init__(
        self, runs: pd.DataFrame, history: pd.DataFrame, probes: pd.DataFrame, confusion: pd.DataFrame
    ) -> None:
        rows = runs.drop_duplicates("run_id").set_index("run_id", drop=False)
        self.runs: dict[str, Mapping[Any, Any]] = {str(run): row for run, row in rows.to_dict("index").items()}
        self._probes = probes
        self._confusion = confusion
        self._by_run = {str(run): rows for run, rows in history.groupby("run_id", sort=False)}

    def failed(self, run_id: str) -> bool:
        """Return whether a run did not end well."""
        return bool(self.runs[run_id]["status"] != "ok")

    def history(self, run_id: str) -> pd.DataFrame:
        """Return a run's evaluations; none if it failed before the first one."""
        return self._by_run.get(run_id, pd.DataFrame(columns=["step", "epoch"]))

    def probe(self, name: str, pick: dict[str, Any], run_ids: list[str]) -> dict[str, pd.DataFrame]:
        """Return the picked rows of a probe for each of the runs that has any."""
        rows = self._classes if name == CLASSES else self._probes
        found = picked(rows[rows["run_id"].isin(run_ids)], name, pick)
        return {str(run): rows for run, rows in found.groupby("run_id", sort=False)}

    @cached_property
    def _classes(self) -> pd.DataFrame:
        return class_rows(self._confusion)

    @cached_property
    def test_images(self) -> dict[str, int]:
        """Number of test images of each run."""
        test = self._confusion[self._confusion["part"] == "test"]
        return {str(run): int(count) for run, count in test.groupby("run_id")["images"].sum().items()}


class Values(NamedTuple):
    """Values of each cell of a contrast by its name, for the seeds that all of them have; and the runs behind them."""

    cells: dict[str, Effects]
    runs: list[str]


def values(contrast: Contrast, runs: Mapping[str, Features], tables: Tables, tier: Tier) -> Values:
    """Return the values of each cell, in the order of the seeds that all cells have in common.

    Args:
        contrast: what is compared.
        runs: the runs of one stratum of the contrast.
        tables: the result tables.
        tier: the tier, which decides the value to be reached.
    """
    seeds = sorted(selection.seeds(contrast, runs))
    cells, used = {}, []
    for name, filters in selection.cells(contrast).items():
        found = {seed: ids for seed, ids in selection.by_seed(runs, *filters).items() if seed in seeds}
        pick = contrast.pick.model_dump(exclude_unset=True)
        for arm in filters:
            pick |= arm.pick.model_dump(exclude_unset=True) if arm.pick else {}
        bounds = _of_seeds(contrast, (pick, tier), found, tables)
        low, high = zip(*(bounds[seed] for seed in seeds), strict=True)
        cells[name] = Effects(np.array(low), np.array(high))
        used += [run_id for ids in found.values() for run_id in ids]
    return Values(cells, list(dict.fromkeys(used)))


def _of_seeds(contrast: Contrast, how: tuple[dict[str, Any], Tier], ids: BySeed, tables: Tables) -> dict[int, Bounds]:
    """Return the bounds of the value of each seed, on the contrast's scale."""
    pick, tier = how
    if isinstance(contrast, Range):
        return {seed: (found, found) for seed in ids for found in [_range(contrast, ids[seed], tables)]}
    if contrast.reach is not None:
        target = contrast.target(tier)
        assert target is not None, "the parameter file's check asks for one"
        return {seed: _reached(contrast, target, run_id, tables) for seed, (run_id, *_) in ids.items()}
    every = [run_id for listed in ids.values() for run_id in listed]
    rows = tables.probe(contrast.probe, pick, every) if contrast.probe else {}
    return {seed: _scaled(contrast, _value(contrast, listed, rows, tables)) for seed, listed in ids.items()}


def _scaled(contrast: Contrast, bounds: Bounds) -> Bounds:
    """Return bounds on the scale of the contrast: as they are, or their decimal logarithm."""
    if not contrast.log:
        return bounds
    low, high = (math.log10(value) if value > 0 else -math.inf for value in bounds)
    return low, high


def _value(contrast: Contrast, ids: list[str], rows: dict[str, pd.DataFrame], tables: Tables) -> Bounds:
    """Return the value of one seed's runs, which are one unless `across` joins several."""
    parts = []
    for run_id in ids:
        if tables.failed(run_id):
            if (worst := _worst(contrast)) is None:
                return UNKNOWN
            parts.append(pd.DataFrame({"value": [worst]}))
        elif contrast.probe:
            parts.append(rows.get(run_id, pd.DataFrame({"value": []})))
        elif contrast.during:
            parts.append(tables.history(run_id).rename(columns={str(contrast.y): "value"}))
        elif contrast.reduce is None:
            return _exactly([tables.runs[run_id][str(contrast.y)]])
        else:
            parts.append(pd.DataFrame({"value": [tables.runs[run_id][str(contrast.y)]]}))
    found = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
    if contrast.reduce is None:
        return _exactly(found["value"].tolist())
    known = found[found["value"].notna()].assign(**dict.fromkeys({"step", "layer", "item"} - set(found), np.nan))
    return _exactly([REDUCE[contrast.reduce](known)] if len(known) else [])


def _exactly(numbers: list[float]) -> Bounds:
    """Return the bounds of a known number; nothing is known if it is missing, or if there are several."""
    if len(numbers) != 1 or numbers[0] is None or math.isnan(numbers[0]):
        return UNKNOWN
    return float(numbers[0]), float(numbers[0])


def _worst(contrast: Contrast) -> float | None:
    """Return what a failed run counts as: accuracy 0, an infinite loss; None: no value is the worst one."""
    name = (contrast.y or "").lower()
    return 0.0 if name.endswith("accuracy") else math.inf if name.endswith("loss") else None


def _reached(contrast: Contrast, target: float, run_id: str, tables: Tables) -> Bounds:
    """Return the decimal logarithm of the steps (or epochs) until y is first as good as `target`.

    A run that ended before is censored: it took longer than it was trained. A failed run never reaches it.
    """
    if tables.failed(run_id):
        return math.inf, math.inf
    rows, y = tables.history(run_id).sort_values("step"), str(contrast.y)
    good = rows[y] <= target if y.endswith("loss") else rows[y] >= target
    times = rows[contrast.count][good.to_numpy(bool)]
    if len(times):
        return (math.log10(times.iloc[0]),) * 2
    return math.log10(rows[contrast.count].iloc[-1]), math.inf


def _range(contrast: Range, ids: list[str], tables: Tables) -> float:
    """Return the width of one seed's usable range in decades, or the logarithm of its highest value.

    Usable are the values next to the best one at which the run ended well and y is at most `within` below the best.
    Where no run ended well the width is 0, and there is no highest value: minus infinity.
    """
    y, sign = str(contrast.y), -1 if str(contrast.y).endswith("loss") else 1
    points = sorted((tables.runs[run_id][contrast.x], run_id) for run_id in ids)
    scores = [-math.inf if tables.failed(run_id) else sign * float(tables.runs[run_id][y]) for _, run_id in points]
    best = max(range(len(scores)), key=lambda i: scores[i])  # the first of equals
    if scores[best] == -math.inf:
        return 0.0 if contrast.end == "width" else -math.inf
    usable = [score >= scores[best] - contrast.within - 1e-9 for score in scores]
    first = last = best
    while first and usable[first - 1]:
        first -= 1
    while last < len(points) - 1 and usable[last + 1]:
        last += 1
    highest = math.log10(points[last][0])
    return highest - math.log10(points[first][0]) if contrast.end == "width" else highest
