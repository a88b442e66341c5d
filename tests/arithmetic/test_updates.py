"""Updates of weights: a few roundings from float64, the same bytes in every build; powers by multiplication alone."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnbench.arithmetic import updates
from tests.arithmetic.test_products import UNIT, drawn, numbers
from tests.support.builds import everywhere

COUNTS = st.integers(1, 100)
RATE = np.array([0.03], np.float32)


@drawn
@given(COUNTS, st.sampled_from([0.0, 0.9]))
def test_sgd_with_and_without_momentum(count: int, momentum: float) -> None:
    w, g, v = (numbers(count, seed=i) for i in range(3))
    new_w, _, new_v, _ = everywhere("sgd", [count], [w, g, v, RATE], [momentum])
    keep, rate = float(np.float32(momentum)), float(RATE[0])
    exact = v.astype(float) * keep + g
    size = np.abs(v.astype(float) * keep) + np.abs(g)
    assert (np.abs(new_w - (w - rate * exact)) <= 3 * UNIT * (np.abs(w) + rate * size)).all()
    if momentum:
        assert (np.abs(new_v - exact) <= UNIT * np.abs(exact) * 1.01).all()
    else:
        assert np.array_equal(new_v, v)


@drawn
@given(COUNTS)
def test_weight_decay(count: int) -> None:
    w, g = numbers(count, seed=1), numbers(count, seed=2)
    decay = 5e-4
    exact = w.astype(float) * float(np.float32(decay)) + g
    got = everywhere("decay", [count], [w, g], [decay])[1]
    assert (np.abs(got - exact) <= 1.01 * UNIT * np.abs(exact)).all()


@drawn
@given(COUNTS, st.integers(1, 2000))
def test_adam_with_bias_correction(count: int, step: int) -> None:
    beta1, beta2, epsilon, rate = 0.9, 0.999, 1e-8, 0.01
    w, g, m = (numbers(count, seed=i) for i in range(3))
    v = numbers(count, seed=3) ** 2
    first, second = (1 - updates.power(beta, step) for beta in (beta1, beta2))
    by = [np.array([rate / first], np.float32), np.array([second], np.float32)]
    got = everywhere("adam", [count], [w, g, m, v, *by], [beta1, 1 - beta1, beta2, 1 - beta2, epsilon])
    new_m = beta1 * m.astype(float) + (1 - beta1) * g
    size = beta1 * np.abs(m.astype(float)) + (1 - beta1) * np.abs(g)
    new_v = beta2 * v.astype(float) + (1 - beta2) * g.astype(float) ** 2
    root = np.sqrt(new_v / (1 - beta2**step)) + epsilon
    assert (np.abs(got[2] - new_m) <= 4 * UNIT * size).all()
    assert (np.abs(got[3] - new_v) <= 4 * UNIT * new_v).all()
    bound = 12 * UNIT * (rate / (1 - beta1**step) * size / root) + 2 * UNIT * np.abs(w)
    assert (np.abs(got[0] - (w - rate / (1 - beta1**step) * new_m / root)) <= bound).all()


@pytest.mark.parametrize("base", [0.9, 0.999, 0.5, 0.0, 1.0])
def test_powers_are_within_n_roundings_of_the_exact_ones(base: float) -> None:
    for n in [*range(40), 1000, 4096]:
        exact = Fraction(base) ** n
        assert abs(Fraction(updates.power(base, n)) - exact) <= n * Fraction(1, 2**53) * exact + Fraction(1, 2**1074)
