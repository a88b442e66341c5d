"""Products in tiles and blocks of every kind are the plain chain of fma, in every build."""

import math
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.builds import Array, blank, everywhere

# around the sizes of tiles (6 to 14 rows, 8 to 64 columns), of blocks of the inner axis (384), and of rows to copy for
ROWS = st.one_of(st.integers(1, 30), st.sampled_from([60, 70, 255, 256, 300]))
COLUMNS = st.one_of(st.integers(1, 130), st.sampled_from([8, 16, 24, 64, 65, 72, 80]))
INNER = st.one_of(st.integers(0, 40), st.sampled_from([100, 383, 384, 385, 400, 769, 1200]))
drawn = settings(max_examples=30, deadline=None, derandomize=True)  # no deadline: the first example may build libraries


def numbers(rows: int, columns: int, seed: int) -> Array:
    dice = np.random.RandomState(seed)
    return (dice.randn(rows, columns) * 2.0 ** dice.randint(-8, 8, (rows, columns))).astype(np.float32)


def product(a: Array, b: Array, c: Array | None = None, turned: tuple[int, int] = (0, 0)) -> Array:
    """Return A B, or C + A B, computed by each build with the same bytes."""
    (rows, inner), columns = a.shape, b.shape[1]
    stored = [np.ascontiguousarray(m.T if turn else m) for m, turn in zip((a, b), turned, strict=True)]
    sizes = [*turned, rows, columns, inner, stored[0].shape[1], stored[1].shape[1], columns]
    result = blank(rows, columns) if c is None else c
    return everywhere("product", sizes, [*stored, result], [float(c is not None)], 64 * (inner + 1))[2]


def nearest(exact: Fraction) -> float:
    """Round a fraction to the nearest fp32 number, ties to even; written with whole numbers alone."""
    if not exact:
        return 0.0
    exponent = max(exact.numerator.bit_length() - exact.denominator.bit_length(), -126) - 25
    while abs(exact) >= Fraction(2) ** (exponent + 24):
        exponent += 1
    unit = Fraction(2) ** max(exponent, -149)
    return float(round(exact / unit) * unit)  # Python rounds ties of a fraction to even


@drawn
@given(ROWS, COLUMNS, INNER, st.tuples(st.integers(0, 1), st.integers(0, 1)), st.booleans())
def test_any_tiling_gives_the_bytes_of_plain_c(m: int, n: int, k: int, turned: tuple[int, int], add: bool) -> None:
    a, b, c = numbers(m, k, 1), numbers(k, n, 2), numbers(m, n, 3)
    got = product(a, b, c if add else None, turned)  # plain C computes one row of a tile at a time, by fmaf
    exact = a.astype(float) @ b.astype(float) + add * c
    size = np.abs(a).astype(float) @ np.abs(b).astype(float) + add * np.abs(c)
    assert (np.abs(got - exact) <= (k + 1) * 2.0**-24 * size).all()


@pytest.mark.parametrize(("m", "n", "k"), [(3, 5, 17), (13, 9, 30), (2, 33, 390)])
def test_each_element_is_the_chain_of_exact_fractions_rounded_at_each_step(m: int, n: int, k: int) -> None:
    a, b, c = numbers(m, k, 1), numbers(k, n, 2), numbers(m, n, 3)
    got = product(a, b, c)
    dice = random.Random(0)
    for i, j in {(dice.randrange(m), dice.randrange(n)) for _ in range(6)} | {(0, 0), (m - 1, n - 1)}:
        chain = float(c[i, j])
        for x, y in zip(a[i].tolist(), b[:, j].tolist(), strict=True):
            chain = nearest(Fraction(x) * Fraction(y) + Fraction(chain))
        assert got[i, j] == chain


def test_the_rounding_of_fractions_is_that_of_numpy() -> None:
    dice = random.Random(1)
    for _ in range(300):
        value = math.ldexp(dice.random() - 0.5, dice.randint(-150, 100))
        assert nearest(Fraction(value)) == float(np.float32(value))
    assert nearest(Fraction(2**24 + 1)) == 2**24  # a tie


@drawn
@given(ROWS, COLUMNS, INNER, st.integers(1, 5))
def test_a_row_does_not_depend_on_the_rows_beside_it(m: int, n: int, k: int, parts: int) -> None:
    a, b = numbers(m, k, 1), numbers(k, n, 2)
    together = product(a, b)
    for part in np.array_split(np.arange(m), parts):
        if len(part):
            assert together[part].tobytes() == product(a[part], b).tobytes()


def test_an_empty_inner_axis_gives_zeros_or_leaves_the_result() -> None:
    a, b, c = numbers(7, 0, 1), numbers(0, 20, 2), numbers(7, 20, 3)
    assert product(a, b).tobytes() == np.zeros((7, 20), np.float32).tobytes()
    assert product(a, b, c.copy()).tobytes() == c.tobytes()


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 7, 8, 13, 33])
def test_rows_at_unequal_distances_give_the_same_chain(width: int) -> None:
    """Images of every width: the ends of their rows are where positions are not at equal distances."""
    channels, filters, side, n = 3, 20, 3, 2
    dice = np.random.RandomState(width)
    x = np.pad(dice.randn(n, 5, width, channels).astype(np.float32), ((0, 0), (1, 1), (1, 1), (0, 0)))
    w = dice.randn(side, side, channels, filters).astype(np.float32)
    y = everywhere("conv", [n, 5, width, channels, side, filters], [x, w, blank(n, 5, width, filters)], [0], 64 * 28)[2]
    rows = np.stack([x[i, h : h + 3, v : v + 3].ravel() for i in range(n) for h in range(5) for v in range(width)])
    assert y.tobytes() == product(rows, w.reshape(-1, filters)).tobytes()
