"""Products and convolutions are chains of fma, the same bytes in every build, within their bound of float64."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

from tests.support.builds import Array, blank, everywhere

UNIT = 2.0**-24  # largest relative error of one rounding
TINY = 2.0**-149  # of a rounding to a subnormal number
ROWS, WIDTHS, SIDES = st.integers(1, 70), st.integers(1, 130), st.integers(1, 9)
# no deadline: the first example may build the library
drawn = settings(max_examples=25, deadline=None, derandomize=True)


def numbers(*shape: int, seed: int = 0) -> Array:
    """Return numbers of different sizes and signs."""
    dice = np.random.RandomState(seed)
    return (dice.randn(*shape) * 2.0 ** dice.randint(-8, 8, shape)).astype(np.float32)


def check_chain(got: Array, terms: Any, size: Any, length: int) -> None:
    """Check sums against float64: a chain of `length` roundings errs by at most that many UNIT of the terms' sizes."""
    assert (np.abs(got - terms) <= length * (UNIT * size + TINY)).all()


@drawn
@given(ROWS, WIDTHS, WIDTHS, st.booleans(), st.booleans(), st.booleans())
def test_products_of_all_transpositions(m: int, n: int, k: int, turn_a: bool, turn_b: bool, add: bool) -> None:
    a, b, c = numbers(m, k, seed=1), numbers(k, n, seed=2), numbers(m, n, seed=3)
    stored = [a.T if turn_a else a, b.T if turn_b else b]
    sizes = [turn_a, turn_b, m, n, k, stored[0].shape[1], stored[1].shape[1], n]
    got = everywhere("product", sizes, [*stored, c if add else blank(m, n)], [float(add)], work=64 * (k + 1))[2]
    A, B, C = a.astype(float), b.astype(float), c.astype(float) * add
    check_chain(got, A @ B + C, np.abs(A) @ np.abs(B) + np.abs(C), k + 1)


def test_a_product_is_one_chain_of_fma_over_the_inner_axis_ascending() -> None:
    rows, inner, columns = 5, 40, 3
    a, b = numbers(rows, inner, seed=1), numbers(inner, columns, seed=2)
    got = everywhere(
        "product", [0, 0, rows, columns, inner, inner, columns, columns], [a, b, blank(5, 3)], [0], 64 * 41
    )
    expected = np.zeros((rows, columns), np.float32)
    for k in range(inner):  # the exact product and sum in extended precision, rounded once
        expected = (np.outer(a[:, k].astype(np.longdouble), b[k].astype(np.longdouble)) + expected).astype(np.float32)
    assert np.array_equal(got[2], expected)


@drawn
@given(ROWS, WIDTHS, WIDTHS)
def test_linear_layers_begin_with_the_bias(rows: int, inputs: int, units: int) -> None:
    x, w, bias = numbers(rows, inputs, seed=1), numbers(inputs, units, seed=2), numbers(units, seed=3)
    got = everywhere("linear", [rows, units, inputs], [x, w, bias, blank(rows, units)], work=64 * (inputs + 1))[3]
    X, W, b = x.astype(float), w.astype(float), bias.astype(float)
    check_chain(got, X @ W + b, np.abs(X) @ np.abs(W) + np.abs(b), inputs + 1)


def padded(x: Array, side: int) -> Array:
    b = side // 2
    n, h, w, c = x.shape
    (_, got) = everywhere("pad", [n, h, w, c, b], [x, blank(n, h + 2 * b, w + 2 * b, c)])
    assert np.array_equal(got, np.pad(x, ((0, 0), (b, b), (b, b), (0, 0))))
    return got


def windows(x: Any, side: int) -> Any:
    """Return the window of each output position, N H W C S S, in float64."""
    return sliding_window_view(x.astype(float), (side, side), (1, 2))


def convolved(x: Array, w: Array) -> tuple[Array, Any, Any]:
    """Return the convolution of images with filters_SSCO; and in float64, it and the sizes of its terms."""
    (n, h, width, c), (side, _, _, out) = x.shape, w.shape
    sizes, work = [n, h, width, c, side, out], 64 * (side * side * c + 1)
    bordered = padded(x, side)
    y = everywhere("conv", sizes, [bordered, w, blank(n, h, width, out)], [0], work)[2]
    by = "nhwcij,ijco->nhwo"
    exact = np.einsum(by, windows(bordered, side), w.astype(float))
    return y, exact, np.einsum(by, np.abs(windows(bordered, side)), np.abs(w.astype(float)))


CONV = (st.integers(1, 4), SIDES, SIDES, st.integers(1, 19), st.sampled_from([1, 3, 5]), st.integers(1, 40))


@drawn
@given(*CONV)
def test_convolutions_and_the_gradient_of_their_input(n: int, h: int, w: int, c: int, side: int, out: int) -> None:
    x, filters, dy = numbers(n, h, w, c, seed=1), numbers(side, side, c, out, seed=2), numbers(n, h, w, out, seed=3)
    y, exact, size = convolved(x, filters)
    check_chain(y, exact, size, side * side * c)
    (_, turned) = everywhere("turn", [side, c, out], [filters, blank(side, side, out, c)])
    assert np.array_equal(turned, filters[::-1, ::-1].swapaxes(2, 3))
    dx, _, size = convolved(dy, turned)
    exact = np.zeros((n, h + 2 * (side // 2), w + 2 * (side // 2), c))
    for i, j in np.ndindex(side, side):  # each output's gradient goes to what it was computed from
        exact[:, i : i + h, j : j + w] += dy.astype(float) @ filters[i, j].T.astype(float)
    check_chain(dx, exact[:, side // 2 :][:, :h, side // 2 :][:, :, :w], size, side * side * out)


@drawn
@given(*CONV)
def test_gradients_of_filters(n: int, h: int, w: int, c: int, side: int, out: int) -> None:
    x, dy = padded(numbers(n, h, w, c, seed=1), side), numbers(n, h, w, out, seed=3)
    work = 64 * (n * h * w + 1) + 2 * n * h
    got = everywhere("conv_weights", [n, h, w, c, side, out], [x, dy, blank(side, side, c, out)], work=work)[2]
    by = "nhwcij,nhwo->ijco"
    of_x, of_y = windows(x, side), dy.astype(float)
    check_chain(got, np.einsum(by, of_x, of_y), np.einsum(by, np.abs(of_x), np.abs(of_y)), n * h * w)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e-45, -0.0])
def test_special_values_stay_in_their_row_and_column(value: float) -> None:
    a, b = numbers(9, 20, seed=1), numbers(20, 33, seed=2)
    a[4, 7] = value
    got = everywhere("product", [0, 0, 9, 33, 20, 20, 33, 33], [a, b, blank(9, 33)], [0], 64 * 21)[2]
    with np.errstate(all="ignore"):
        exact = a.astype(float) @ b.astype(float)
    assert np.array_equal(np.isfinite(got), np.isfinite(exact))
    assert np.array_equal(got[4], exact[4], equal_nan=True) or np.isfinite(value)
