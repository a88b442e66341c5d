"""Kinds of claims: what each makes of the values of its arms. A kind is a model of the schema and an entry here.

Effects are positive where they speak for the statement, in the unit of the quantity or, of ratios, in decades.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np

from bnbench.claims.judge import EVERYWHERE, Effects, Evidence, Limits, equivalent, every, greater, nothing
from bnbench.claims.measured import Tables, Values, values
from bnbench.claims.statistics import Sample, test_set_noise
from bnbench.params.claims import selection
from bnbench.params.claims.schema import Contrast, Level, Range
from bnbench.params.claims.selection import Features
from bnbench.params.fields import Tier

Cells = dict[str, Effects]
Judge = Callable[[Contrast, Cells, Limits], Evidence]


def minus(one: Effects, other: Effects) -> Effects:
    """Return the differences per seed; where both may be infinite nothing is known of one."""
    with np.errstate(invalid="ignore"):
        low, high = one.low - other.high, one.high - other.low
    return Effects(np.where(np.isnan(low), -np.inf, low), np.where(np.isnan(high), np.inf, high))


def _greater(first: str, second: str) -> Judge:
    """Return the judge of a kind that says that one arm is above another."""

    def judge(contrast: Contrast, cells: Cells, limits: Limits) -> Evidence:
        return greater(minus(cells[first], cells[second]), contrast.smallest, limits=limits)

    return judge


def _equivalence(contrast: Contrast, cells: Cells, limits: Limits) -> Evidence:
    return equivalent(minus(cells["one"], cells["other"]), contrast.smallest, limits)


def _not_worse(contrast: Contrast, cells: Cells, limits: Limits) -> Evidence:
    return greater(minus(cells["one"], cells["other"]), contrast.smallest, -contrast.smallest, limits)


def _level(contrast: Contrast, cells: Cells, limits: Limits) -> Evidence:
    assert isinstance(contrast, Level)
    value = np.full(len(cells[""].low), math.log10(contrast.value) if contrast.log else contrast.value)
    stated = Effects(value, value)
    effects = minus(cells[""], stated) if contrast.side == "at_least" else minus(stated, cells[""])
    return greater(effects, contrast.smallest, -contrast.smallest, limits)


def _interaction(contrast: Contrast, cells: Cells, limits: Limits) -> Evidence:
    gains, than = (minus(cells[f"more, {side}"], cells[f"less, {side}"]) for side in ("gains", "than"))
    return greater(minus(gains, than), contrast.smallest, limits=limits)


def _order(contrast: Contrast, cells: Cells, limits: Limits) -> Evidence:
    return every([
        greater(minus(one, other), contrast.smallest, limits=limits) for one, other in pairwise(cells.values())
    ])  # fmt: skip


JUDGES: dict[str, Judge] = {
    "difference": _greater("more", "less"),
    "equivalence": _equivalence,
    "not_worse": _not_worse,
    "level": _level,
    "faster": _greater("slow", "fast"),
    "range": _greater("wide", "narrow"),
    "interaction": _interaction,
    "order": _order,
}


def judged(
    contrast: Contrast, runs: Mapping[str, Features], tables: Tables, tier: Tier
) -> tuple[Evidence, list[Values]]:
    """Return the evidence of a contrast, which has to hold in each of its strata, and the values that it compares.

    Args:
        contrast: what is compared.
        runs: the runs of its study.
        tables: the result tables.
        tier: the tier of the runs.
    """
    parts: list[Evidence] = []
    found: list[Values] = []
    for _, stratum in selection.strata(contrast, runs):
        if len(selection.seeds(contrast, stratum)) == 0:
            return nothing("no seed has runs in every arm"), found
        measured = values(contrast, stratum, tables, tier)
        evidence = JUDGES[contrast.kind](contrast, measured.cells, _limits(contrast, stratum))
        parts.append(
            replace(evidence, unit=unit(contrast), smallest=contrast.smallest, noise=_noise(contrast, measured, tables))
        )
        found.append(measured)
    return (parts[0] if len(parts) == 1 else every(parts)), found


def unit(contrast: Contrast) -> str:
    """Return what an effect of a contrast is a difference of."""
    return "decades" if contrast.log or contrast.reach is not None or isinstance(contrast, Range) else contrast.y or ""


def _limits(contrast: Contrast, runs: Mapping[str, Features]) -> Limits:
    """Return the least and the greatest effect that is possible."""
    if isinstance(contrast, Range):
        grid = [run[contrast.x] for run in runs.values()]
        decades = math.log10(max(grid) / min(grid))
        return -decades, decades
    least, most = contrast.limits
    if contrast.log or math.isinf(most - least):
        return EVERYWHERE
    if isinstance(contrast, Level):
        ends = (least - contrast.value, most - contrast.value)
        return ends if contrast.side == "at_least" else (-ends[1], -ends[0])
    width = (most - least) * (2 if len(selection.cells(contrast)) == 4 and len(contrast.arms) == 4 else 1)
    return -width, width


def _noise(contrast: Contrast, measured: Values, tables: Tables) -> float:
    """Return the noise of the test set in the effect; NaN where it is no accuracy on all test images."""
    test = contrast.y == "test_accuracy" or (contrast.probe is not None and contrast.y == "accuracy")
    images = min((tables.test_images.get(run_id, 0) for run_id in measured.runs), default=0)
    means = [Sample.of(cell.low).mean for cell in measured.cells.values()]
    if not test or contrast.reach is not None or contrast.log or not images or not np.isfinite(means).all():
        return math.nan
    return test_set_noise(means, images)
