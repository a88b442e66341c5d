"""Verdicts: what the effects of finished runs say of a published statement.

Each claim is two one-sided hypotheses about the mean effect, each tested at level alpha after Holm's correction over
the claims of its work:

- *reproduced*: the hypothesis that the statement is false is rejected;
- *contradicted*: the hypothesis that it is true, with an effect that matters, is rejected;
- *undecided*: neither is.

So a false verdict of either kind has probability alpha at most in a whole work, however many claims it makes. Where
both hypotheses are rejected (there is an effect, but certainly a smaller one than matters) the claim is contradicted.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from bnbench.claims import statistics
from bnbench.claims.statistics import Floats, Sample

ALPHA = 0.05
Word = Literal["reproduced", "contradicted", "undecided"]
Limits = tuple[float, float]
EVERYWHERE: Limits = (-math.inf, math.inf)


class Effects(NamedTuple):
    """Effects per seed, each known to lie between `low` and `high`; equal unless a run failed or is censored."""

    low: Floats
    high: Floats

    @property
    def known(self) -> bool:
        """Return whether each effect is a finite number."""
        return bool((self.low == self.high).all() and np.isfinite(self.low).all())


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The evidence of the runs for one claim, before the correction for the other claims of its work.

    Attributes:
        effect: the mean effect.
        low: lower end of its confidence interval.
        high: upper end.
        n: number of seeds.
        p_false: p value of the hypothesis that the statement is false.
        p_true: p value of the hypothesis that it is true, with an effect that matters.
        p_permutation: p value of the permutation test of the first hypothesis.
        distances: how far the mean effect lies on the deciding side of both bounds; negative: on the other side.
        sample: the effects' mean and spread; None: they are not numbers.
        reason: why there is little or no evidence.
        unit: what the effect is a difference of.
        smallest: the smallest effect that matters.
        noise: standard deviation that the finite test set gives to the effect; NaN: it is no accuracy on test images.
    """

    effect: float
    low: float
    high: float
    n: int
    p_false: float
    p_true: float
    p_permutation: float = math.nan
    distances: tuple[float, float] = (math.nan, math.nan)
    sample: Sample | None = None
    reason: str = ""
    unit: str = ""
    smallest: float = math.nan
    noise: float = math.nan


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A claim's verdict with its evidence.

    Attributes:
        word: the verdict.
        evidence: what it is based on.
        p: the corrected p value of the verdict; of the smaller one while undecided.
        detectable: the smallest effect that these seeds find with probability 0.8.
        seeds: how many seeds would decide, if the effect is as measured.
    """

    word: Word
    evidence: Evidence
    p: float
    detectable: float
    seeds: int | None


def nothing(reason: str, n: int = 0) -> Evidence:
    """Return no evidence, and the reason."""
    return Evidence(effect=math.nan, low=math.nan, high=math.nan, n=n, p_false=1.0, p_true=1.0, reason=reason)


def greater(effects: Effects, smallest: float, bound: float = 0.0, limits: Limits = EVERYWHERE) -> Evidence:
    """Return the evidence that the mean effect is above `bound`; one below `bound + smallest` does not matter."""
    p_false = statistics.above(effects.low, bound)
    p_true = statistics.below(effects.high, bound + smallest)
    mean = Sample.of(effects.low).mean
    return _evidence(effects, (p_false, p_true), (mean - bound, bound + smallest - mean), limits=limits, bound=bound)


def equivalent(effects: Effects, margin: float, limits: Limits = EVERYWHERE) -> Evidence:
    """Return the evidence that the mean effect is within `margin` of 0, by two one-sided tests.

    Schuirmann, "A comparison of the two one-sided tests procedure and the power approach", 1987. Its interval is the
    90 % one, which lies within the margins if both tests reject at 5 %.
    """
    inside = max(statistics.above(effects.low, -margin), statistics.below(effects.high, margin))
    outside = 2 * min(statistics.above(effects.low, margin), statistics.below(effects.high, -margin))
    distance = margin - abs(Sample.of(effects.low).mean)
    found = _evidence(effects, (inside, min(outside, 1.0)), (distance, -distance), level=0.9, limits=limits)
    flips = max(statistics.sign_flips(effects.low + margin), statistics.sign_flips(margin - effects.high))
    return Evidence(**(vars(found) | {"p_permutation": flips}))


def _evidence(
    effects: Effects,
    p_values: tuple[float, float],
    distances: tuple[float, float],
    *,
    level: float = 0.95,
    limits: Limits = EVERYWHERE,
    bound: float = 0.0,
) -> Evidence:
    sample = Sample.of(effects.low)
    low, high = statistics.interval(sample, level) if effects.known else (math.nan, math.nan)
    if not math.isnan(low):
        low, high = max(low, limits[0]), min(high, limits[1])
    return Evidence(
        effect=sample.mean if effects.known else math.nan,
        low=low,
        high=high,
        n=sample.n,
        p_false=p_values[0],
        p_true=p_values[1],
        p_permutation=statistics.sign_flips(effects.low - bound),
        distances=distances if effects.known else (math.nan, math.nan),
        sample=sample if effects.known else None,
        reason=_reason(effects, sample),
    )


def _reason(effects: Effects, sample: Sample) -> str:
    """Return why effects are judged by their signs alone; nothing if the t test applies."""
    if sample.n < 2:
        return "a single seed, so the spread is unknown"
    if not effects.known:
        return "a run failed or did not reach the value, so only the signs of the effects are compared"
    if not sample.estimable:
        return "all seeds give the same effect, so only the signs of the effects are compared"
    return ""


def every(parts: Sequence[Evidence]) -> Evidence:
    """Return the evidence that several statements hold together: an intersection-union test.

    All have to be shown, so the largest p value counts and needs no correction (Berger, "Multiparameter hypothesis
    testing and acceptance sampling", 1982). One that is refuted is enough for the contrary, so those are corrected.
    Effect and interval are those of the part that decides.
    """
    if not parts:
        return nothing("nothing to compare")
    refuted = statistics.holm(np.array([part.p_true for part in parts]))
    weakest = max(parts, key=lambda part: part.p_false)
    deciding = parts[int(refuted.argmin())] if refuted.min() < weakest.p_false else weakest
    reasons = "; ".join(dict.fromkeys(part.reason for part in parts if part.reason))
    changes = {"p_false": weakest.p_false, "p_true": float(refuted.min()), "reason": reasons}
    return Evidence(**(vars(deciding) | changes | {"n": min(part.n for part in parts)}))


def verdicts(work: Sequence[Evidence], alpha: float = ALPHA) -> list[Verdict]:
    """Return the verdicts on the claims of one work, in their order."""
    p_false, p_true = (statistics.holm(np.array([getattr(one, p) for one in work])) for p in ("p_false", "p_true"))
    share = alpha / max(len(work), 1)  # Holm's first step: what the smallest p value has to be below
    return [
        _verdict(evidence, pair, alpha, share)
        for evidence, pair in zip(work, zip(p_false.tolist(), p_true.tolist(), strict=True), strict=True)
    ]


def _verdict(evidence: Evidence, p_values: tuple[float, float], alpha: float, share: float) -> Verdict:
    p_false, p_true = p_values
    word: Word = "contradicted" if p_true < alpha else "reproduced" if p_false < alpha else "undecided"
    p = {"contradicted": p_true, "reproduced": p_false, "undecided": min(p_values)}[word]
    sample, seeds = evidence.sample, None
    if sample is not None and word == "undecided":
        seeds = statistics.seeds_needed(max(evidence.distances), sample, share)
    least = statistics.detectable(sample, share) if sample is not None else math.nan
    return Verdict(word=word, evidence=evidence, p=p, detectable=least, seeds=seeds)
