"""Means, deviations and logarithms of Python numbers, and quantiles of Student's t, the same bits on every machine.

`math.fsum` rounds the exact sum once, whatever the order; `decimal` defines its logarithm as correctly rounded; mpmath
computes with whole numbers. NumPy and pandas promise no order of summation, and SciPy's quantile depends on the
mathematical library of the system. For small tables; `sums` is for arrays.
"""

import math
from collections.abc import Sequence
from decimal import Decimal
from functools import cache

import mpmath

DIGITS = 30  # of a quantile before it is rounded to float64, which has 16


def total(values: Sequence[float]) -> float:
    """Return the exact sum, rounded once; NaN if it has infinities of both signs or is beyond the largest number."""
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):
        return math.nan


def mean(values: Sequence[float]) -> float:
    """Return the mean; NaN of no values."""
    return total(values) / len(values) if values else math.nan


def deviation(values: Sequence[float]) -> float:
    """Return the sample standard deviation, with n - 1; NaN of fewer than two values."""
    if len(values) < 2:
        return math.nan
    centre = mean(values)
    differences = [value - centre for value in values]
    return math.sqrt(total([difference * difference for difference in differences]) / (len(values) - 1))


def log(number: int) -> float:
    """Return the natural logarithm of a positive whole number, rounded to float64 from 28 correct digits."""
    return float(Decimal(number).ln())


@cache
def t_quantile(confidence: float, freedom: int) -> float:
    """Return the half width, in standard errors, of the central interval of Student's t with this probability.

    1 - confidence = I(freedom / (freedom + t^2); freedom / 2, 1/2), the regularised incomplete beta function
    (Abramowitz and Stegun 26.5.27), solved for t.

    Args:
        confidence: 0.95, for example.
        freedom: degrees of freedom, 1 or more.
    """
    with mpmath.workdps(DIGITS):
        outside = 1 - mpmath.mpf(str(confidence))

        def excess(t: mpmath.mpf) -> mpmath.mpf:
            return (
                mpmath.betainc(mpmath.mpf(freedom) / 2, 0.5, 0, freedom / (freedom + t * t), regularized=True) - outside
            )

        above = mpmath.mpf(2)
        while excess(above) > 0:
            above *= 2
        return float(mpmath.findroot(excess, (mpmath.mpf(0), above), solver="anderson"))
