"""Matrix products in compiled programs: by torch's BLAS, or by our own loop where that gives the same bits faster.

The order in which BLAS sums is not documented, and differs between processors and shapes. The loop has several orders
(observed with AVX-512: fused multiply-add over chunks of 192 of the inner axis; for narrow products separate
multiplications and additions). It is used for a shape only if one of them gives the bits of BLAS there.
"""

import time
from functools import cache

import torch
from torch import Tensor

from bnbench.training.arithmetic import calls
from bnbench.training.arithmetic.calls import Array, Call, EachStep

LOOPED = 400  # multiplications below which torch computes a product by a plain loop
FUSED, SEPARATE = range(2)  # of products.c: multiplication and addition
OVERWRITE, ADD_AFTER, ADD_FIRST = range(3)  # of products.c: how sums are combined with the values of C
ALL = 2**24
# (kind, length of the chunks of the inner axis whose sums are added to the sum so far)
KINDS = [*((FUSED, chunk) for chunk in (ALL, 192, 256, 320, 336, 384, 448, 512)), (SEPARATE, ALL)]
TRIALS = 7


def product(a: Array, b: Tensor, c: Tensor, transposed: tuple[bool, bool], add: bool) -> Call:
    """Return the call for C = A B, or C += A B, with torch's bits; A and B are transposed as `transposed` says."""
    n = sizes(a, b, c, transposed)
    looped = n[2] * n[3] * n[4] < LOOPED
    order = None if looped or transposed[1] else _order(n[2], n[3], n[4], transposed[0], add)
    if order is None:
        return calls.call("product", n, [a, b, c], [add, looped])
    return calls.call("ordered_product", n, [a, b, c], order)


def sizes(a: Array, b: Tensor, c: Tensor, transposed: tuple[bool, bool]) -> list[int]:
    """Return the sizes that the functions of products.c take."""
    rows = a.array if isinstance(a, EachStep) else a
    inner = rows.shape[-2] if transposed[0] else rows.shape[-1]
    return [*transposed, *c.shape, inner, rows.stride(-2), b.stride(0), c.stride(0)]


@cache
def _order(rows: int, columns: int, inner: int, transposed: bool, add: bool) -> tuple[int, ...] | None:
    """Return the order of sums with which our loop gives the bits of BLAS and is faster; None if there is none."""
    if not calls.has("ordered_product"):
        return None
    dice = torch.Generator().manual_seed(0)
    shapes = (inner, rows) if transposed else (rows, inner), (inner, columns), (rows, columns)
    a, b, start = (torch.randn(*shape, generator=dice) for shape in shapes)
    n = sizes(a, b, start, (transposed, False))

    def multiplied(op: str, *constants: float) -> tuple[Tensor, float]:
        c = start.clone()
        started = time.perf_counter()
        calls.replay([calls.call(op, n, [a, b, c], constants)])
        return c, time.perf_counter() - started

    expected, _ = multiplied("product", add)
    for order in ((join, *kind) for join in ((ADD_AFTER, ADD_FIRST) if add else (OVERWRITE,)) for kind in KINDS):
        if torch.equal(multiplied("ordered_product", *order)[0], expected):
            pairs = [(multiplied("ordered_product", *order)[1], multiplied("product", add)[1]) for _ in range(TRIALS)]
            own, torchs = map(min, zip(*pairs, strict=True))
            return order if own < torchs else None
    return None
