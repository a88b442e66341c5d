"""Column sums, pooling and the loss: within their bound of float64, the same bytes in every build."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.arithmetic.test_products import ROWS, SIDES, UNIT, WIDTHS, drawn, numbers
from tests.support.builds import Array, blank, everywhere

BLOCK, LANES = 32, 16


@drawn
@given(st.integers(1, 200), WIDTHS)
def test_column_sums(rows: int, columns: int) -> None:
    x = numbers(rows, columns)
    got = everywhere("column_sums", [rows, columns], [x, blank(columns)])[1]
    chain = min(rows, BLOCK) + -(-rows // BLOCK)
    assert (np.abs(got - x.astype(float).sum(0)) <= chain * UNIT * np.abs(x.astype(float)).sum(0)).all()
    expected = np.zeros(columns, np.float32)
    for first in range(0, rows, BLOCK):
        block = np.zeros(columns, np.float32)
        for row in x[first : first + BLOCK]:
            block += row
        expected += block
    assert np.array_equal(got, expected)


@drawn
@given(st.integers(1, 3), SIDES, SIDES, st.integers(1, 40), st.integers(1, 3))
def test_maxima_and_their_gradient_at_the_first_of_equal_ones(n: int, h: int, w: int, c: int, size: int) -> None:
    h, w = max(h, size), max(w, size)
    rows, columns = h // size, w // size
    x = np.random.RandomState(n).randint(-2, 3, (n, h, w, c)).astype(np.float32)  # many equal ones
    y = everywhere("pool", [n, h, w, c, size], [x, blank(n, rows, columns, c)])[1]
    squares = x[:, : rows * size, : columns * size].reshape(n, rows, size, columns, size, c).swapaxes(2, 3)
    flat = squares.reshape(n, rows, columns, size * size, c)
    assert np.array_equal(y, flat.max(3))
    dy = numbers(*y.shape)
    dx = everywhere("pool_back", [n, h, w, c, size], [dy, x, y, blank(*x.shape)])[3]
    expected = np.zeros_like(x)
    places = np.where(np.arange(size * size)[:, None] == flat.argmax(3)[..., None, :], dy[..., None, :], 0)
    back = places.reshape(n, rows, columns, size, size, c).swapaxes(2, 3)
    expected[:, : rows * size, : columns * size] = back.reshape(n, rows * size, columns * size, c)
    assert np.array_equal(dx, expected)


def test_a_maximum_with_nan_is_nan() -> None:
    x = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    x[0, 0, 1], x[0, 3, 3] = np.nan, np.nan
    y = everywhere("pool", [1, 4, 4, 1, 2], [x, blank(1, 2, 2, 1)])[1]
    assert np.array_equal(y.ravel(), [np.nan, 7, 13, np.nan], equal_nan=True)


def cross_entropy(x: Array, labels: Array, divisor: float) -> tuple[Array, float, float]:
    n, k = x.shape
    got = everywhere("cross_entropy", [n, k], [x, labels, blank(n, k), blank(1), blank(1)], [divisor])
    return got[2], float(got[3][0]), float(got[4][0])


def exact_cross_entropy(x: Array, labels: Any) -> tuple[Any, Any]:
    """Return softmax and losses in float64."""
    with np.errstate(all="ignore"):
        shifted = x.astype(float) - x.max(1, keepdims=True)
        all_of = np.exp(shifted).sum(1, keepdims=True)
        losses = np.log(all_of[:, 0]) - shifted[np.arange(len(x)), labels.astype(int)]
        return np.exp(shifted) / all_of, losses


@drawn
@given(ROWS, st.integers(2, 130), st.floats(0.01, 50))
def test_cross_entropy_and_its_gradient(rows: int, classes: int, size: float) -> None:
    dice = np.random.RandomState(classes)
    x, labels = (dice.randn(rows, classes) * size).astype(np.float32), dice.randint(classes, size=rows)
    gradient, loss, right = cross_entropy(x, labels.astype(np.float32), rows)
    softmax, losses = exact_cross_entropy(x, labels)
    span = float((x.max(1) - x.min(1)).max())
    of_row = 2 * span + 2 * np.log(classes) + classes / LANES + 10  # roundings of a loss
    assert abs(loss - losses.mean()) <= UNIT * (of_row + (rows / LANES + 5) * losses.mean())
    exact = softmax - np.eye(classes)[labels]
    bound = UNIT * (softmax * (span + classes / LANES + 10) + 2 * np.abs(exact) + 2.0**-100)
    assert (np.abs(gradient.astype(float) * rows - exact) <= bound).all()
    assert right == (x.argmax(1) == labels).sum()


@pytest.mark.parametrize(("value", "expected"), [(np.nan, np.nan), (np.inf, np.nan), (-np.inf, None)])
def test_a_loss_of_nan_or_infinite_logits_is_nan_and_minus_infinity_is_a_class_of_no_probability(
    value: float, expected: float | None
) -> None:
    x, labels = numbers(5, 20), np.arange(5, dtype=np.float32)
    x[2, 7] = value
    gradient, loss, _ = cross_entropy(x, labels, 5)
    if expected is None:
        assert loss == pytest.approx(exact_cross_entropy(x, labels)[1].mean(), rel=1e-6)
        assert gradient[2, 7] == 0
    else:
        assert np.isnan(loss)
    assert np.isfinite(np.delete(gradient, 2, 0)).all()
