"""Intervals, tests and power for effects that are measured once per seed.

An *effect* is one number per seed, as the accuracy with batch norm minus that without, of runs with the same initial
weights and data order. So pairs differ by what is studied alone, and the spread that seeds share cancels.

Means of n effects are judged by Student's t. Where it does not apply, because all effects are equal or one is
unbounded, the exact sign test takes its place. Sums are `math.fsum`: their rounding does not depend on an order.
"""

import math
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]
EXACT = 12  # pairs up to which all signs are tried: 4,096 sums
CHANCE = 0.8  # wanted probability of a decision
MOST_SEEDS = 1000  # beyond which no number of seeds is named
DUST = 1e-9  # relative differences up to this are rounding: ties


def tied(one: float, other: float) -> bool:
    """Return whether two numbers differ by rounding alone."""
    return one == other or math.isclose(one, other, rel_tol=DUST, abs_tol=1e-15)


@dataclass(frozen=True)
class Sample:
    """The mean of n effects, one per seed, and the standard deviation between seeds (0: none, or a single seed)."""

    mean: float
    deviation: float
    n: int

    @classmethod
    def of(cls, effects: Floats) -> "Sample":
        """Return mean, standard deviation (n - 1) and number of effects, of which there is at least one.

        The mean of effects of which one is infinite is infinite; of infinities of both signs it is NaN.
        """
        n = len(effects)
        if not np.isfinite(effects).all():
            return cls(float(np.sum(effects)) if len(set(effects[np.isinf(effects)])) == 1 else math.nan, math.nan, n)
        mean = math.fsum(effects) / n
        mean = 0.0 if abs(mean) <= DUST * float(np.abs(effects).max()) else mean
        if n == 1 or tied(float(effects.min()), float(effects.max())):
            return cls(mean, 0.0, n)
        return cls(mean, math.sqrt(math.fsum((effects - mean) ** 2) / (n - 1)), n)

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return self.deviation / math.sqrt(self.n)

    @property
    def estimable(self) -> bool:
        """Return whether a t interval can be given: at least two finite effects that differ."""
        return self.n > 1 and self.deviation > 0


def interval(sample: Sample, level: float = 0.95) -> tuple[float, float]:
    """Return the two-sided t interval of the mean; NaN where it cannot be estimated."""
    if not sample.estimable:
        return math.nan, math.nan
    half = float(special.stdtrit(sample.n - 1, (1 + level) / 2)) * sample.error
    return sample.mean - half, sample.mean + half


def above(effects: Floats, bound: float) -> float:
    """Return the p value of the hypothesis that effects are at most `bound` (small: they are above it).

    It is that of the t test of the mean; where that is not defined, of the sign test; of a single seed it is 1.
    """
    sample = Sample.of(effects)
    if sample.n < 2:
        return 1.0
    if not sample.estimable:
        return _signs(effects, bound)
    return float(special.stdtr(sample.n - 1, (bound - sample.mean) / sample.error))


def below(effects: Floats, bound: float) -> float:
    """Return the p value of the hypothesis that effects are at least `bound` (small: they are below it)."""
    return above(-effects, -bound)


def _signs(effects: Floats, bound: float) -> float:
    """Return the p value of the sign test: as many effects or more are above `bound` by chance. A tie is not above."""
    more = sum(value > bound and not tied(value, bound) for value in effects.tolist())
    return float(special.bdtrc(more - 1, len(effects), 0.5)) if more else 1.0


def sign_flips(effects: Floats, seed: int = 0) -> float:
    """Return the p value of an exact permutation test: effects are symmetric about 0 (small: their mean is above).

    Without an effect each pair could as well have been the other way round; so all 2^n signs are equally likely. It
    assumes nothing of the distribution, but cannot be below 2^-n. Beyond 12 pairs 20,000 random signs are drawn. NaN
    where an effect is not finite.
    """
    if not np.isfinite(effects).all():
        return math.nan
    signs = _all_signs(len(effects)) if len(effects) <= EXACT else _some_signs(len(effects), seed)
    sums, seen = (signs * effects).sum(1), float(effects.sum())
    reached = sums >= seen - DUST * float(np.abs(effects).sum())  # equal sums may differ by rounding
    return float(reached.mean()) if len(effects) <= EXACT else float((reached.sum() + 1) / (len(signs) + 1))


@cache
def _all_signs(n: int) -> Floats:
    """Return all 2^n combinations of signs, a row each."""
    return np.array(list(product((1.0, -1.0), repeat=n)))


def _some_signs(n: int, seed: int) -> Floats:
    return np.random.default_rng(seed).choice((1.0, -1.0), size=(20_000, n))


def holm(p_values: Floats) -> Floats:
    """Return Holm's adjusted p values: rejecting those below alpha errs in any of them with probability alpha at most.

    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979.
    """
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    adjusted = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1)
    result = np.empty_like(adjusted)
    result[order] = adjusted
    return result


def noncentrality(n: npt.ArrayLike, alpha: float, chance: float = CHANCE) -> Floats:
    """Return the mean, in standard errors, that a one-sided t test of n effects finds with probability `chance`.

    It inverts the noncentral t distribution; n may be an array.
    """
    df = np.asarray(n, np.float64) - 1
    return np.asarray(special.nctdtrinc(df, 1 - chance, special.stdtrit(df, 1 - alpha)), np.float64)


def power(effect: float, deviation: float, n: int, alpha: float) -> float:
    """Return the probability that n seeds show a mean effect to be above 0, if it is `effect`, at level alpha."""
    shift = effect / deviation * math.sqrt(n)
    return 1 - float(special.nctdtr(n - 1, shift, special.stdtrit(n - 1, 1 - alpha)))


def detectable(sample: Sample, alpha: float) -> float:
    """Return the smallest effect that these seeds find with probability `CHANCE`; NaN where none can be stated."""
    return float(noncentrality(sample.n, alpha)) * sample.error if sample.estimable else math.nan


def seeds_needed(distance: float, sample: Sample, alpha: float) -> int | None:
    """Return how many seeds would decide with probability `CHANCE`; None: more than `MOST_SEEDS`, or not known.

    Args:
        distance: between the mean effect and the bound that it is to be shown to lie beyond.
        sample: the effects so far, for the standard deviation.
        alpha: level of the test.
    """
    if sample.n < 2 or not distance > 0:
        return None
    if not sample.estimable:  # the sign test: 2^-n has to be below alpha
        return math.floor(-math.log2(alpha)) + 1
    counts, errors = _counts(alpha)
    enough = errors * sample.deviation <= distance
    return int(counts[enough.argmax()]) if enough.any() else None


@cache
def _counts(alpha: float) -> tuple[npt.NDArray[np.int64], Floats]:
    """Return numbers of seeds, and the mean that each finds, in standard deviations of the effects."""
    counts = np.arange(2, MOST_SEEDS + 1)
    return counts, noncentrality(counts, alpha) / np.sqrt(counts)


def test_set_noise(accuracies: list[float], images: int) -> float:
    """Return the standard deviation that a finite test set gives to the sum or difference of such accuracies.

    It is that of independent binomial counts. Networks tested on the same images err on partly the same ones, so the
    noise of their difference is at most about this.
    """
    return math.sqrt(math.fsum(max(value * (1 - value), 0.0) / images for value in accuracies))
