"""Means, deviations, logarithms and quantiles: against fractions, SciPy and the definition of the distribution."""

import math
import random
from fractions import Fraction

import pytest
from scipy import stats

from bnbench.arithmetic import exact


def test_a_mean_is_the_exact_sum_rounded_once_in_any_order() -> None:
    dice = random.Random(0)
    for count in (1, 2, 3, 10, 1000):
        values = [dice.gauss(0, 1) * 10.0 ** dice.randint(-15, 15) for _ in range(count)]
        mean = float(sum(map(Fraction, values), Fraction())) / count
        assert exact.mean(values) == mean
        assert exact.mean(sorted(values)) == mean


def test_a_deviation_is_that_of_the_statistics_module_and_the_same_in_any_order() -> None:
    dice = random.Random(1)
    values = [0.97 + dice.gauss(0, 0.01) for _ in range(20)]
    centre = Fraction(exact.mean(values))
    square = sum(((Fraction(value) - centre) ** 2 for value in values), Fraction()) / 19
    assert exact.deviation(values) == pytest.approx(math.sqrt(square), rel=1e-15)
    assert exact.deviation(values[::-1]) == exact.deviation(values)
    assert exact.deviation([0.9, 0.9, 0.9]) == 0


def test_what_has_no_mean_or_deviation_gives_nan() -> None:
    assert math.isnan(exact.mean([]))
    assert math.isnan(exact.mean([math.inf, -math.inf]))
    assert math.isnan(exact.mean([1e308, 1e308]))
    assert math.isnan(exact.mean([1.0, math.nan]))
    assert exact.mean([1.0, math.inf]) == math.inf
    assert math.isnan(exact.deviation([1.0]))
    assert math.isnan(exact.deviation([1.0, math.inf]))


@pytest.mark.parametrize("number", [1, 2, 3, 10, 26, 100, 1000])
def test_a_logarithm_is_within_one_place_of_the_systems(number: int) -> None:
    assert abs(exact.log(number) - math.log(number)) <= math.ulp(math.log(number))


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 9, 19, 20, 99, 1999])
def test_a_quantile_leaves_the_stated_probability_outside(freedom: int) -> None:
    for confidence in (0.5, 0.95, 0.999):
        t = exact.t_quantile(confidence, freedom)
        assert t == pytest.approx(stats.t.ppf((1 + confidence) / 2, freedom), rel=1e-12)


def test_quantiles_of_one_and_two_degrees_of_freedom_are_their_closed_forms() -> None:
    assert exact.t_quantile(0.5, 1) == 1  # tan(pi / 4)
    p = Fraction(19, 20)
    assert exact.t_quantile(0.95, 2) == pytest.approx(float(p) * math.sqrt(2 / float(1 - p * p)), rel=1e-15)
