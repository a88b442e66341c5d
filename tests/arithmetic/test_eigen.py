"""Eigen-decomposition against NumPy's, within its stated bound, in every build."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bnbench.arithmetic import library
from bnbench.arithmetic.eigen import eigen
from tests.support.builds import BUILDS, in_each

UNIT = 2.0**-53
# no deadline: the first example may build the library
drawn = settings(max_examples=40, deadline=None, derandomize=True)


def _matrix(size: int, rank: int, seed: int, graded: bool = False) -> Tensor:
    """Return a symmetric matrix of at most this rank, of which some rows are 0; graded: of very different sizes."""
    dice = np.random.RandomState(seed)
    b = dice.randn(rank, size) * (dice.rand(size) < 0.9)
    if graded:
        b *= 10.0 ** dice.uniform(-6, 6, size)
    a = torch.from_numpy(b.T @ b)
    return (a + a.T) / 2


def _within_bound(a: Tensor) -> None:
    values, vectors = eigen(a)
    bound, size = 8 * len(a) * UNIT, float(values.abs().max())
    assert (values.diff() <= 0).all()
    np.testing.assert_allclose(values, np.linalg.eigvalsh(a.numpy())[::-1], rtol=0, atol=bound * size)
    np.testing.assert_allclose(vectors @ a, values[:, None] * vectors, rtol=0, atol=bound * size)
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(len(a)), rtol=0, atol=bound)


@drawn
@given(st.integers(1, 130), st.integers(1, 150), st.integers(0, 2**16), st.booleans())
def test_values_and_vectors_are_within_their_bound_of_numpys(size: int, rank: int, seed: int, graded: bool) -> None:
    _within_bound(_matrix(size, rank, seed, graded))


def test_vectors_of_more_rotations_than_are_collected_at_a_time_are_within_their_bound() -> None:
    _within_bound(_matrix(300, 300, 0))


@drawn
@given(st.integers(1, 130), st.integers(1, 150), st.integers(0, 2**16), st.sampled_from([-310, -160, 0, 150, 300]))
def test_every_build_gives_the_same_bytes_also_of_tiny_and_huge_elements(
    size: int, rank: int, seed: int, exponent: int
) -> None:
    a = _matrix(size, rank, seed) * 10.0 ** (exponent / 2) * 10.0 ** (exponent / 2)
    by_build = in_each(lambda: [array.numpy().tobytes() for array in eigen(a)])
    assert len(by_build) == len(BUILDS)
    assert all(found == by_build["plain"] for found in by_build.values())


@pytest.mark.parametrize("size", [1, 2, 7, 40])
def test_a_diagonal_matrix_has_its_elements_and_unit_vectors_exactly_equal_ones_in_their_order(size: int) -> None:
    elements = torch.arange(size).double() // 2  # pairs of equal ones
    values, vectors = eigen(torch.diag(elements))
    order = sorted(range(size), key=lambda i: (-(i // 2), i))
    assert torch.equal(values, elements[order])
    assert torch.equal(vectors, torch.eye(size).double()[order])


def test_only_the_lower_triangle_is_read_and_the_matrix_stays_as_it_is() -> None:
    a = _matrix(20, 20, 1)
    lower = a.tril()
    kept = lower.clone()
    assert all(torch.equal(one, other) for one, other in zip(eigen(lower), eigen(a), strict=True))
    assert torch.equal(lower, kept)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("size", [1, 2, 40])
def test_nan_and_infinity_are_refused(size: int, bad: float) -> None:
    a = _matrix(size, size, 2)
    a[size // 2, 0] = bad
    with pytest.raises(ArithmeticError, match=f"{size} x {size} with NaN or infinity"):
        eigen(a)


def test_values_that_do_not_converge_are_an_error() -> None:
    size = 3
    a, values = torch.full((size, size), math.nan).double(), torch.zeros(size).double()
    library.run("eigen", [size], [a, values, torch.empty_like(a), a.new_empty(422 * size)])
    assert values.isnan().all()


def test_without_compiled_operations_lapack_gives_the_same_within_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    a = _matrix(30, 40, 3)
    compiled, _ = eigen(a)
    monkeypatch.setattr(library, "lacking", lambda: "no C compiler is installed")
    values, vectors = eigen(a)
    torch.testing.assert_close(values, compiled)
    torch.testing.assert_close(vectors.T * values @ vectors, a)
