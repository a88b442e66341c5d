"""Products of recorded calls: sums in the requested order, with the library's bits for each implementation."""

import numpy as np
import pytest
import torch
from torch import Tensor

from bnbench.training.arithmetic import calls, products
from bnbench.training.arithmetic.products import ADD_AFTER, ADD_FIRST, ALL, FUSED, OVERWRITE, SEPARATE


@pytest.fixture(autouse=True)
def _compiled() -> None:
    if calls.lacking():
        pytest.skip(calls.lacking())
    if not calls.has("ordered_product"):
        pytest.skip("this processor has no loop of ours")


def _factors(rows: int, inner: int, columns: int, transposed: bool) -> tuple[Tensor, Tensor, Tensor]:
    dice = torch.Generator().manual_seed(1)
    a = torch.randn(inner, rows, generator=dice) if transposed else torch.randn(rows, inner, generator=dice)
    return a, torch.randn(inner, columns, generator=dice), torch.randn(rows, columns, generator=dice)


def _summed(a: Tensor, b: Tensor, c: Tensor, join: int, kind: int, chunk: int) -> Tensor:
    """Return C = A B summed over columns of A and rows of B in order; 64 bits hold a product of two numbers exactly."""
    wide = np.longdouble if kind == FUSED else np.float32
    total = c.numpy().astype(np.float32)
    for first in range(0, a.shape[1], chunk):
        begin = join == ADD_FIRST and not first
        sums = total if begin else np.zeros_like(total)
        for k in range(first, min(first + chunk, a.shape[1])):
            product = np.outer(a[:, k].numpy().astype(wide), b[k].numpy().astype(wide))
            sums = (sums + product).astype(np.float32)
        total = sums if begin or (join == OVERWRITE and not first) else total + sums
    return torch.from_numpy(total)


@pytest.mark.parametrize("chunk", [ALL, 16])
@pytest.mark.parametrize("kind", [FUSED, SEPARATE])
@pytest.mark.parametrize("join", [OVERWRITE, ADD_AFTER, ADD_FIRST])
@pytest.mark.parametrize(
    ("rows", "inner", "columns", "transposed"), [(13, 50, 37, False), (6, 33, 64, True), (2, 5, 1, True)]
)
def test_a_sum_goes_in_the_order_that_is_asked_for(
    rows: int, inner: int, columns: int, transposed: bool, join: int, kind: int, chunk: int
) -> None:
    a, b, c = _factors(rows, inner, columns, transposed)
    expected = _summed(a.t() if transposed else a, b, c, join, kind, chunk)
    n = products.sizes(a, b, c, (transposed, False))
    calls.replay([calls.call("ordered_product", n, [a, b, c], [join, kind, chunk])])
    assert torch.equal(c, expected)


@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize(
    ("rows", "inner", "columns", "transposed"),
    [
        (60, 784, 100, (False, False)),
        (60, 100, 10, (False, False)),
        (100, 60, 10, (True, False)),
        (60, 10, 100, (False, True)),
        (7, 33, 5, (True, False)),
        (1, 200, 30, (False, False)),
        (120, 250, 64, (False, False)),
        (3, 4, 5, (False, True)),
    ],
)
def test_whoever_makes_a_product_it_has_torchs_bits(
    rows: int, inner: int, columns: int, transposed: tuple[bool, bool], add: bool
) -> None:
    a, b, c = _factors(rows, inner, columns, transposed[0])
    b = b.t().contiguous() if transposed[1] else b
    factors = [(x.t() if turn else x)[None] for x, turn in zip((a, b), transposed, strict=True)]
    expected = torch.baddbmm(c[None], *factors) if add else torch.bmm(*factors)
    calls.replay([products.product(a, b, c, transposed, add)])
    assert torch.equal(c, expected[0])


def test_a_shape_whose_order_is_not_known_is_the_librarys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "KINDS", [])
    products._order.cache_clear()
    try:
        a, b, c = _factors(60, 100, 100, False)
        library = calls.call("product", [], [])
        assert products.product(a, b, c, (False, False), False).op == library.op
    finally:
        products._order.cache_clear()


def test_the_quick_sigmoid_is_right_to_some_roundings() -> None:
    x = torch.cat([torch.linspace(-80, 80, 10_001), torch.tensor([0.0, -1e9, 1e9, torch.inf, -torch.inf, torch.nan])])
    y = torch.empty_like(x)
    calls.replay([calls.call("quick_sigmoid", [len(x)], [x, y])])
    torch.testing.assert_close(y.double(), torch.sigmoid(x.double()), rtol=1e-6, atol=1e-37, equal_nan=True)
