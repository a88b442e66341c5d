"""Verdicts of single claims and of a whole work."""

import math

import numpy as np
import pytest

from bnbench.claims.judge import Effects, Evidence, equivalent, every, greater, verdicts

MATTERS = 0.01


def drawn(mean: float, deviation: float = 0.005, n: int = 10) -> Effects:
    """Return effects of exactly this mean and standard deviation."""
    values = np.random.default_rng(n).normal(size=n)
    values = mean + deviation * (values - values.mean()) / values.std(ddof=1)
    return Effects(values, values)


def word(evidence: Evidence) -> str:
    return verdicts([evidence])[0].word


def test_an_effect_is_reproduced_one_too_small_to_matter_contradicted_and_a_wide_one_undecided() -> None:
    assert word(greater(drawn(0.03), MATTERS)) == "reproduced"
    assert word(greater(drawn(-0.03), MATTERS)) == "contradicted"
    assert word(greater(drawn(0.0, 0.002), MATTERS)) == "contradicted"
    assert word(greater(drawn(0.005, 0.001), MATTERS)) == "contradicted"
    assert word(greater(drawn(0.03, 0.2), MATTERS)) == "undecided"


def test_no_marked_difference_is_shown_within_the_margin_and_refuted_beyond_it() -> None:
    assert word(equivalent(drawn(0.0, 0.002), MATTERS)) == "reproduced"
    assert word(equivalent(drawn(0.03, 0.002), MATTERS)) == "contradicted"
    assert word(equivalent(drawn(-0.03, 0.002), MATTERS)) == "contradicted"
    assert word(equivalent(drawn(0.0, 0.05, 5), MATTERS)) == "undecided"


def test_an_interval_stays_within_what_is_possible() -> None:
    found = greater(drawn(0.03, 0.9, 3), MATTERS, limits=(-1.0, 1.0))
    assert (found.low, found.high) == (-1.0, 1.0)


def test_a_claim_among_many_needs_a_smaller_p_value_than_alone() -> None:
    open_ = [greater(drawn(0.005, 0.05), MATTERS)] * 14
    strong = greater(drawn(0.02, 0.02), MATTERS)
    assert word(strong) == "reproduced"
    alone, among = verdicts([strong])[0], verdicts([strong, *open_])[0]
    assert among.p == pytest.approx(15 * alone.p)
    assert among.word == "undecided"


def test_a_censored_effect_counts_for_neither_side_beyond_what_is_known() -> None:
    low = np.full(10, 0.05)
    assert word(greater(Effects(low, np.full(10, math.inf)), MATTERS)) == "reproduced"
    unknown = Effects(np.full(10, -math.inf), np.full(10, math.inf))
    found = greater(unknown, MATTERS)
    assert word(found) == "undecided"
    assert "a run failed" in found.reason


def test_several_statements_hold_together_only_if_each_does() -> None:
    good, bad, open_ = (greater(drawn(mean, sd), MATTERS) for mean, sd in ((0.03, 0.005), (-0.03, 0.005), (0.01, 0.1)))
    assert word(every([good, good])) == "reproduced"
    assert word(every([good, bad])) == "contradicted"
    assert word(every([good, open_])) == "undecided"
    assert every([good, bad]).effect == pytest.approx(-0.03)


def test_an_undecided_claim_says_how_many_seeds_would_decide() -> None:
    (found,) = verdicts([greater(drawn(0.006, 0.01, 5), MATTERS)])
    assert found.word == "undecided"
    assert found.seeds is not None
    assert found.seeds > 5


@pytest.mark.parametrize("effects", [[0.02], [0.02, 0.02, 0.02]])
def test_one_seed_or_no_spread_says_so(effects: list[float]) -> None:
    found = greater(Effects(np.array(effects), np.array(effects)), MATTERS)
    assert word(found) == "undecided"
    assert found.reason
