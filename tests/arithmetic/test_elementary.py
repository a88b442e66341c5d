"""Elementary functions on floats of every exponent: within their bound of float64, the same bytes in every build."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.support.builds import Array, blank, everywhere

# 1.05 million floats, evenly spread over all bit patterns: every exponent, both signs, subnormals, NaN
PATTERNS: Array = np.arange(0, 2**32, 4093, dtype=np.uint64).astype(np.uint32).view(np.float32)
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0, -0.0, 1e-45, -1e-45, 1e-39, 3e38, -3e38], np.float32)
# a million more where the function is neither 0 nor 1
NEAR: Array = np.linspace(-105, 90, 1_000_001).astype(np.float32)


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


# function -> in float64, and the largest error in units in the last place of a normal result
FUNCTIONS: dict[str, tuple[Callable[[Any], Any], float]] = {
    "exp": (np.exp, 1.1),
    "log": (np.log, 0.8),
    "tanh": (np.tanh, 1.4),
    "sigmoid": (_sigmoid, 2.5),
}
LEAST = np.float32(2.0**-126)  # least normal number


def places(got: Array, exact: Any) -> Any:
    """Return the errors in units in the last place of fp32; results beyond the largest float are compared with it."""
    largest = float(np.finfo(np.float32).max)
    near = np.abs(exact).clip(LEAST, 2.0**127).astype(np.float32)
    return np.abs(got.astype(float).clip(-largest, largest) - exact.clip(-largest, largest)) / np.spacing(near)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_within_their_bound(name: str) -> None:
    function, bound = FUNCTIONS[name]
    x = np.concatenate([PATTERNS, NEAR, NEAR / 1000])
    got = everywhere(name, [len(x)], [x, blank(len(x))])[1]
    with np.errstate(all="ignore"):
        exact = function(x.astype(float))
    assert np.array_equal(np.isnan(got), np.isnan(exact))
    number = ~np.isnan(exact)
    errors = places(got[number], exact[number])
    normal = np.abs(exact[number]) >= LEAST
    print(
        f"{name}: {errors[normal].max():.2f} units in the last place, {errors[~normal].max(initial=0):.2f} below 2^-126"
    )
    assert errors[normal].max() <= bound
    # a subnormal result is rounded once more; those of the logistic function end at 2^-128
    assert errors[~normal].max(initial=0) <= (2**-128 / 2**-149 if name == "sigmoid" else 1.1)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_special_values(name: str) -> None:
    got = everywhere(name, [len(SPECIAL)], [SPECIAL, blank(len(SPECIAL))])[1]
    with np.errstate(all="ignore"):
        exact = FUNCTIONS[name][0](SPECIAL.astype(float)).astype(np.float32)
    assert np.array_equal(np.isnan(got), np.isnan(exact))
    assert np.array_equal(np.isinf(got), np.isinf(exact))
    assert np.array_equal(np.signbit(got[1:]), np.signbit(exact[1:])) or name == "log"  # log of 0 below: NaN's sign


ELEMENTWISE: dict[str, tuple[int, Callable[..., Any]]] = {
    "relu": (1, lambda x: np.where(x < 0, np.float32(0), x)),
    "relu_back": (2, lambda dy, y: np.where(y > 0, dy, np.float32(0))),
    "leaky": (1, lambda x: np.where(x > 0, x, x * np.float32(0.1))),
    "leaky_back": (2, lambda dy, x: np.where(x > 0, dy, dy * np.float32(0.1))),
    "sigmoid_back": (2, lambda dy, y: dy * y * (1 - y)),
    "tanh_back": (2, lambda dy, y: dy * (1 - y * y)),
    "multiply": (2, lambda x, y: x * y),
    "add": (2, lambda x, y: x + y),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("count", [1, 15, 16, 17, 1000])
def test_elementwise_operations_are_numpys_bit_for_bit(name: str, count: int) -> None:
    inputs, exact = ELEMENTWISE[name]
    dice = np.random.RandomState(count)
    x = [
        np.where(dice.rand(count) < 0.1, dice.choice(SPECIAL, count), dice.randn(count)).astype(np.float32)
        for _ in "12"
    ]
    got = everywhere(name, [count], [*x[:inputs], blank(count)], [0.1])[-1]
    with np.errstate(all="ignore"):
        assert np.array_equal(got, exact(*x[:inputs]), equal_nan=True)
