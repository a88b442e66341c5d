"""Simulation of verdicts on made-up works with known effects: rates of false verdicts and of found effects.

    python -m tests.claims.simulation        prints the table of docs/statistics.md

Each repetition draws a work of `CLAIMS` claims of one kind, with effects per seed that are normal around a true mean.
"""

import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from bnbench.claims import statistics
from bnbench.claims.judge import ALPHA, Effects, Evidence, equivalent, every, greater, verdicts

REPETITIONS = 400  # works, and single claims, for each rate
SEEDS = (3, 5, 10)
CLAIMS = 8
SPREAD = 0.01  # standard deviation of the effects between seeds
MATTERS = 0.01
IMAGES = 360  # of the test set to whose counts accuracies are rounded, where they are
LARGE = 2 * MATTERS
Draw = Callable[[np.random.Generator, float, int], Evidence]


def normal(dice: np.random.Generator, mean: float, n: int) -> Effects:
    """Return effects of n seeds."""
    values = dice.normal(mean, SPREAD, n)
    return Effects(values, values)


def _difference(dice: np.random.Generator, mean: float, n: int) -> Evidence:
    return greater(normal(dice, mean, n), MATTERS)


def _rounded(dice: np.random.Generator, mean: float, n: int) -> Evidence:
    values = np.round(dice.normal(mean, SPREAD, n) * IMAGES) / IMAGES
    return greater(Effects(values, values), MATTERS)


def _shared(dice: np.random.Generator, mean: float, n: int) -> Evidence:
    """Return the evidence of arms whose seeds share a part ten times as large as what differs: pairing removes it."""
    shared = dice.normal(0, 10 * SPREAD, n)
    one, other = (shared + dice.normal(part, SPREAD / math.sqrt(2), n) for part in (mean, 0.0))
    return greater(Effects(one - other, one - other), MATTERS)


def _not_worse(dice: np.random.Generator, mean: float, n: int) -> Evidence:
    return greater(normal(dice, mean - MATTERS, n), MATTERS, -MATTERS)


def _equivalence(dice: np.random.Generator, mean: float, n: int) -> Evidence:
    """Return the evidence of equivalence within twice the spread: not true at the margin, true without a difference."""
    margin = 2 * SPREAD
    return equivalent(normal(dice, margin if mean == 0 else 0.0, n), margin)


def _censored(dice: np.random.Generator, mean: float, n: int) -> Evidence:
    """Return the evidence of effects of which a tenth is known only to be at least 1 spread smaller than it is."""
    values, cut = dice.normal(mean, SPREAD, n), dice.random(n) < 0.1
    return greater(Effects(np.where(cut, values - SPREAD, values), np.where(cut, np.inf, values)), MATTERS)


def _every(dice: np.random.Generator, mean: float, n: int) -> Evidence:
    return every([_difference(dice, mean, n), _difference(dice, 10 * MATTERS, n)])


KINDS: dict[str, Draw] = {
    "difference, level, faster, range, interaction": _difference,
    "the same, of accuracies of 360 images": _rounded,
    "the same, seeds share a large part": _shared,
    "the same, a tenth of the runs censored": _censored,
    "not_worse": _not_worse,
    "equivalence": _equivalence,
    "every, order: one of two parts in doubt": _every,
}


@dataclass(frozen=True)
class Rates:
    """Rates over the repetitions.

    Attributes:
        kind: the kind of claims.
        n: number of seeds.
        reproduced: share of works without an effect of which any claim is reproduced: false.
        contradicted: share of works with effects that just matter of which any claim is contradicted: false.
        found: share of single claims with an effect of twice what matters that are reproduced.
        power: the share that the noncentral t distribution states; NaN: none is stated.
    """

    kind: str
    n: int
    reproduced: float
    contradicted: float
    found: float
    power: float


def rates(kind: str, n: int) -> Rates:
    """Return the rates of one kind of claims with n seeds."""
    dice = np.random.default_rng([zlib.crc32(kind.encode()), n])

    def works(mean: float, claims: int = CLAIMS) -> list[list[str]]:
        return [
            [verdict.word for verdict in verdicts([KINDS[kind](dice, mean, n) for _ in range(claims)])]
            for _ in range(REPETITIONS)
        ]

    none, small, large = works(0.0), works(MATTERS), works(LARGE, claims=1)
    return Rates(
        kind,
        n,
        float(np.mean(["reproduced" in work for work in none])),
        float(np.mean(["contradicted" in work for work in small])),
        float(np.mean(["reproduced" in work for work in large])),
        statistics.power(LARGE, SPREAD, n, ALPHA) if KINDS[kind] in STATED else math.nan,
    )


STATED = (_difference, _rounded, _shared)


def table() -> Iterator[str]:
    """Yield the lines of the table."""
    yield "| kind | seeds | falsely reproduced | falsely contradicted | effect found | stated |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for kind in KINDS:
        for n in SEEDS:
            found = rates(kind, n)
            numbers = [found.reproduced, found.contradicted, found.found]
            stated = "" if math.isnan(found.power) else f"{100 * found.power:.1f} %"
            yield f"| {kind} | {n} | {' | '.join(f'{100 * share:.1f} %' for share in numbers)} | {stated} |"


if __name__ == "__main__":
    print("\n".join(table()))
