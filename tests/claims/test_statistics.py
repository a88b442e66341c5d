"""Statistics of effects per seed, compared with SciPy's and with definitions."""

import math

import numpy as np
import pytest
from scipy import optimize, stats

from bnbench.claims import statistics
from bnbench.claims.statistics import Sample


def test_interval_and_p_value_are_scipys_of_a_paired_test() -> None:
    one, other = np.random.default_rng(1).normal(size=(2, 7))
    expected = stats.ttest_rel(one, other)
    effects = one - other
    low, high = expected.confidence_interval(0.95)
    assert statistics.interval(Sample.of(effects)) == pytest.approx((low, high))
    assert statistics.above(effects, 0) == pytest.approx(stats.ttest_rel(one, other, alternative="greater").pvalue)
    assert statistics.below(effects, 0.1) == pytest.approx(stats.ttest_1samp(effects, 0.1, alternative="less").pvalue)


def test_sign_flips_are_scipys_permutations() -> None:
    effects = np.random.default_rng(2).normal(0.3, 1, 8)
    expected = stats.permutation_test(
        (effects, np.zeros(8)),
        lambda a, b: (a - b).mean(),
        permutation_type="samples",
        alternative="greater",
        n_resamples=1_000_000,  # more than there are: all
    )
    assert statistics.sign_flips(effects) == pytest.approx(expected.pvalue)


def test_of_many_pairs_random_sign_flips_come_close_to_the_t_test() -> None:
    effects = np.random.default_rng(3).normal(0.3, 1, 30)
    assert statistics.sign_flips(effects) == pytest.approx(statistics.above(effects, 0), abs=0.01)


def test_holm_rejects_as_step_by_step() -> None:
    assert statistics.holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@pytest.mark.parametrize("effects", [[0.1, 0.1, 0.1], [math.inf, 0.2, 0.1], [0.3, 0.3 + 1e-17, 0.3]])
def test_without_a_spread_or_with_an_unbounded_effect_the_sign_test_judges(effects: list[float]) -> None:
    assert statistics.above(np.array(effects), 0) == pytest.approx(stats.binomtest(3, 3, alternative="greater").pvalue)


def test_a_tie_is_no_sign() -> None:
    assert statistics.above(np.array([0.1 + 0.2, 0.3]), 0.3) == 1
    assert statistics.above(np.zeros(4), 0) == 1


def test_a_single_seed_shows_nothing() -> None:
    assert statistics.above(np.array([0.5]), 0) == 1
    assert math.isnan(statistics.interval(Sample.of(np.array([0.5])))[0])


@pytest.mark.parametrize("n", [2, 3, 5, 10, 50])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 15])
def test_the_detectable_effect_has_the_power_that_the_noncentral_t_distribution_gives(n: int, alpha: float) -> None:
    threshold = stats.t.ppf(1 - alpha, n - 1)
    expected = optimize.brentq(lambda shift: stats.nct.sf(threshold, n - 1, shift) - 0.8, 0, 500)
    assert float(statistics.noncentrality(n, alpha)) == pytest.approx(expected, rel=1e-4)
    sample = Sample(0.0, 0.01, n)
    assert statistics.power(statistics.detectable(sample, alpha), 0.01, n, alpha) == pytest.approx(0.8, abs=1e-4)


def test_so_many_seeds_as_are_named_decide_as_often_as_wanted_and_one_less_does_not() -> None:
    n = statistics.seeds_needed(0.008, Sample(0.008, 0.01, 5), 0.05)
    assert n is not None
    assert statistics.power(0.008, 0.01, n, 0.05) >= 0.8 > statistics.power(0.008, 0.01, n - 1, 0.05)


def test_equal_effects_need_so_many_seeds_as_the_sign_test() -> None:
    n = statistics.seeds_needed(0.1, Sample(0.1, 0.0, 3), 0.05 / 8)
    assert n is not None
    assert 0.5**n < 0.05 / 8 <= 0.5 ** (n - 1)


def test_the_noise_of_a_test_set_is_that_of_binomial_counts() -> None:
    dice = np.random.default_rng(4)
    one, other = (dice.binomial(360, share, 20_000) / 360 for share in (0.97, 0.95))
    assert statistics.test_set_noise([0.97, 0.95], 360) == pytest.approx(float((one - other).std()), rel=0.03)
