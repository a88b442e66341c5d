"""Matrix products of recorded calls: torch's library's, or our own loop where it gives the same bits in less time.

In which order the library sums is not documented, and differs between processors and shapes. The loop knows some orders
(seen with AVX-512: multiplications fused with additions, in parts of 192 of the inner axis; for narrow products
multiplications and additions apart), and is used for a shape only if one of them gives the library's bits there.
"""

import time
from functools import cache

import torch
from torch import Tensor

from bnbench.training.arithmetic import calls
from bnbench.training.arithmetic.calls import Array, Call, EachStep

LOOPED = 400  # multiplications below which torch makes a product by loops of its own
FUSED, APART = range(2)  # of products.c: multiplications with additions
ANEW, AFTER, FROM = range(3)  # when sums join what is there
WHOLE = 2**24
# (kind, numbers of the inner axis that are summed before they join the sum so far)
KINDS = [*((FUSED, part) for part in (WHOLE, 192, 256, 320, 336, 384, 448, 512)), (APART, WHOLE)]
TRIALS = 7


def product(a: Array, b: Tensor, c: Tensor, turned: tuple[bool, bool], add: bool) -> Call:
    """C = a b, or c + a b, with a or b transposed where it is `turned`, with torch's bits."""
    n = sizes(a, b, c, turned)
    looped = n[2] * n[3] * n[4] < LOOPED
    order = None if looped or turned[1] else _order(n[2], n[3], n[4], turned[0], add)
    if order is None:
        return calls.call("product", n, [a, b, c], [add, looped])
    return calls.call("ordered_product", n, [a, b, c], order)


def sizes(a: Array, b: Tensor, c: Tensor, turned: tuple[bool, bool]) -> list[int]:
    """What products.c asks for."""
    rows = a.array if isinstance(a, EachStep) else a
    inner = rows.shape[-2] if turned[0] else rows.shape[-1]
    return [*turned, *c.shape, inner, rows.stride(-2), b.stride(0), c.stride(0)]


@cache
def _order(rows: int, columns: int, inner: int, turned: bool, add: bool) -> tuple[int, ...] | None:
    """The order of sums by which the loop gives the library's bits, and is faster; None if there is none."""
    if not calls.has("ordered_product"):
        return None
    dice = torch.Generator().manual_seed(0)
    shapes = (inner, rows) if turned else (rows, inner), (inner, columns), (rows, columns)
    a, b, start = (torch.randn(*shape, generator=dice) for shape in shapes)
    n = sizes(a, b, start, (turned, False))

    def multiplied(op: str, *constants: float) -> tuple[Tensor, float]:
        c = start.clone()
        begun = time.perf_counter()
        calls.replay([calls.call(op, n, [a, b, c], constants)])
        return c, time.perf_counter() - begun

    expected, _ = multiplied("product", add)
    for order in ((join, *kind) for join in ((AFTER, FROM) if add else (ANEW,)) for kind in KINDS):
        if torch.equal(multiplied("ordered_product", *order)[0], expected):
            pairs = [(multiplied("ordered_product", *order)[1], multiplied("product", add)[1]) for _ in range(TRIALS)]
            own, torchs = map(min, zip(*pairs, strict=True))
            return order if own < torchs else None
    return None
