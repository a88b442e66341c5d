"""Sums, means, roots and losses of images: against exact sums and float64, in every build, and without a compiler."""

import math
from collections.abc import Iterable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bnbench.arithmetic import library, sums
from bnbench.arithmetic.sums import TERMS, Term
from tests.support.builds import BUILDS, in_each

UNIT = 2.0**-53
SPECIAL = (math.nan, math.inf, -math.inf, -0.0, 5e-324, 1e-45, -1e-40, 3e38)
SIZES = st.integers(1, 130)
# no deadline: the first example may build the library
drawn = settings(max_examples=40, deadline=None, derandomize=True)


def _matrix(rows: int, columns: int, seed: int, wide: bool, special: Iterable[float] = ()) -> Tensor:
    """Return numbers of very different sizes with these among them."""
    dice = np.random.RandomState(seed)
    x = dice.randn(rows, columns) * 2.0 ** dice.randint(-30, 30, (rows, columns))
    for value in special:
        x[dice.randint(rows), dice.randint(columns)] = value
    with np.errstate(over="ignore"):
        return torch.from_numpy(x if wide else x.astype(np.float32))


def _terms(x: Tensor, of: Term, centre: float) -> list[float]:
    return [float(value) for value in TERMS[of](x.double() - centre)]


@drawn
@given(SIZES, SIZES, st.integers(0, 2**16), st.booleans(), st.sampled_from(list(TERMS)), st.sampled_from([0, 1]))
def test_sums_are_within_their_bound_of_the_exact_sum(
    rows: int, columns: int, seed: int, wide: bool, of: Term, axis: int
) -> None:
    x = _matrix(rows, columns, seed, wide)
    centre = sums.means(x, axis)
    found = sums.sums(x, axis, of, centre)
    for i, value in enumerate(found.tolist()):
        terms = _terms(x[:, i] if axis == 0 else x[i], of, float(centre[i]))
        additions = (32 + rows / 32) if axis == 0 else (columns / 16 + 5)
        assert abs(value - math.fsum(terms)) <= additions * UNIT * math.fsum(map(abs, terms))


@drawn
@given(SIZES, SIZES, st.integers(0, 2**16), st.booleans(), st.lists(st.sampled_from(SPECIAL), max_size=5))
def test_every_build_gives_the_same_bytes_also_of_nan_infinities_and_denormals(
    rows: int, columns: int, seed: int, wide: bool, special: list[float]
) -> None:
    x = _matrix(rows, columns, seed, wide, special)
    labels = torch.from_numpy(np.random.RandomState(seed).randint(columns, size=rows))

    def compute() -> list[bytes]:
        ways: Any = product(TERMS, (0, 1))
        found = [sums.sums(x, axis, of, sums.means(x, axis)) for of, axis in ways]
        found += [sums.lengths(x), sums.variances(x, 0), sums.roots(x), sums.image_losses(x[None], labels)]
        return [array.nan_to_num(nan=1234.5).numpy().tobytes() for array in found]  # a NaN's sign is not defined

    by_build = in_each(compute)
    assert len(by_build) == len(BUILDS)
    assert all(found == by_build["plain"] for found in by_build.values())


@pytest.mark.parametrize("axis", [0, 1])
def test_nan_and_infinities_give_what_ieee_754_says(axis: int) -> None:
    rows = [[1.0, math.nan], [1.0, math.inf], [math.inf, -math.inf], [-math.inf, 1.0], [-0.0, -0.0], [5e-324, 5e-324]]
    x = torch.tensor(rows, dtype=torch.float64)
    found = sums.sums(x if axis == 1 else x.T, axis).tolist()
    assert repr(found) == repr([math.nan, math.inf, math.nan, -math.inf, 0.0, 1e-323])


def test_a_column_is_summed_in_blocks_of_32_rows_and_a_row_in_16_lanes() -> None:
    x = torch.from_numpy(np.random.RandomState(1).randn(130) * 10.0 ** np.arange(-65, 65))
    column = 0.0
    for first in range(0, 130, 32):
        block = 0.0
        for value in x[first : first + 32].tolist():
            block += value
        column += block
    lanes = [0.0] * 16
    for i, value in enumerate(x.tolist()):
        lanes[i % 16] += value
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = [a + b for a, b in zip(lanes[:half], lanes[half:], strict=True)]
    assert sums.sums(x[:, None], 0).tolist() == [column]
    assert sums.sums(x[None], 1).tolist() == lanes


def test_means_lengths_and_variances_are_numpys_in_float64() -> None:
    x = torch.from_numpy(np.random.RandomState(2).randn(37, 53)).float()
    wide = x.double().numpy()
    for axis in (0, 1):
        np.testing.assert_allclose(sums.means(x, axis), wide.mean(axis), rtol=1e-12)
        np.testing.assert_allclose(sums.variances(x, axis), wide.var(axis), rtol=1e-12)
        np.testing.assert_allclose(sums.means(x, axis, "absolute"), np.abs(wide).mean(axis), rtol=1e-12)
    np.testing.assert_allclose(sums.lengths(x), np.linalg.norm(wide, axis=1), rtol=1e-12)
    assert torch.equal(sums.means(x.T, 0), sums.means(x.T.contiguous(), 0))  # a view is summed as its copy
    assert sums.means(x[:0], 0).isnan().all()


def test_roots_are_correctly_rounded() -> None:
    dice = np.random.RandomState(3)
    values = [0.0, -0.0, math.inf, 5e-324, 2.0, *(dice.rand(10_000) * 10.0 ** dice.randint(-300, 300, 10_000)).tolist()]
    found = sums.roots(torch.tensor(values, dtype=torch.float64)).tolist()
    assert found == [math.sqrt(value) for value in values]
    assert sums.roots(torch.tensor([-1.0, math.nan])).isnan().all()


@drawn
@given(st.integers(1, 3), st.integers(1, 70), st.integers(1, 130), st.integers(0, 2**16))
def test_losses_of_images_are_within_their_bound_of_float64(runs: int, images: int, classes: int, seed: int) -> None:
    dice = np.random.RandomState(seed)
    logits = torch.from_numpy(dice.uniform(-8, 8, (runs, images, classes)).astype(np.float32))
    labels = torch.from_numpy(dice.randint(classes, size=images))
    found = sums.image_losses(logits, labels)
    wanted = -torch.log_softmax(logits.double(), -1)[:, torch.arange(images), labels]
    assert ((found - wanted).abs() <= 2.0**-21 + 2.0**-22 * wanted.abs()).all()
    assert torch.equal(found[-1], sums.image_losses(logits[-1:], labels)[0])


def test_a_loss_with_an_infinite_or_missing_logit_is_not_finite() -> None:
    logits = torch.tensor([[[0.0, math.inf], [math.nan, 0.0], [0.0, -math.inf], [0.0, -math.inf]]])
    losses = sums.image_losses(logits, torch.tensor([0, 1, 0, 1]))[0]
    assert losses.isfinite().tolist() == [False, False, True, False]
    assert float(losses[2]) == 0


def test_without_compiled_operations_torchs_give_the_same_within_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.from_numpy(np.random.RandomState(4).randn(3, 20, 10)).float()
    labels = torch.arange(20) % 10

    def compute() -> list[Tensor]:
        rows = x.flatten(1)
        found = [sums.sums(rows, axis, of, sums.means(rows, axis)) for of in TERMS for axis in (0, 1)]
        return [*found, sums.lengths(rows), sums.variances(rows, 0), sums.image_losses(x, labels)]

    assert sums.defined(x)
    compiled = compute()
    monkeypatch.setattr(library, "lacking", lambda: "no C compiler is installed")
    assert not sums.defined(x)
    for one, other in zip(compute(), compiled, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-12)
