"""The products of `precision: fast` on this processor: which have factors rounded to bf16, with sums in fp32.

A product is rounded where a measurement on the kind of processor says that it is faster, rounding included; elsewhere
`fast` computes exactly as `exact` does. Weights, sums, norms, losses and updates are fp32 in either case.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from bnbench.arithmetic import library

KINDS = {"fp32": 0, "avx512bf16": 1, "amx": 2, "amx in plain C": 3}  # as in bf16.c; the last for tests
BLOCK = 384  # as in matrix.c
TRIAL = (37, 45, 71)  # M, N, K: tiles that are not full
TOLERANCE = 1e-5  # of a product of factors already rounded, relative to the sum of its absolute terms


@dataclass(frozen=True)
class Worth:
    """Sizes from which on rounded factors are faster than exact products.

    Rounding takes time in proportion to (M + N) K, and saves it in proportion to M N K: so the harmonic mean of M and
    N decides, and below a size of the whole the call itself. A convolution rounds each value once per position of the
    filter, in pieces of a row of the filter.

    Attributes:
        mean: least harmonic mean of M and N.
        multiplications: least M N K.
        filters: least number of filters of a convolution.
        piece: least number of values in a row of the filter, channels included.
    """

    mean: int
    multiplications: int
    filters: int
    piece: int


# avx512bf16: measured on a Zen 4 by `python -m benchmarks.products`. amx: not measured, larger for caution.
WORTH = {"avx512bf16": Worth(24, 80_000, 24, 40), "amx": Worth(40, 150_000, 32, 64)}


@cache
def kind() -> str:
    """Return what multiplies rounded factors here: `amx`, `avx512bf16`, or `fp32` if nothing does it faster."""
    return _chosen()[0]


@cache
def reason() -> str:
    """Return why `kind` is what it is, in a sentence for the log."""
    return _chosen()[1]


def worth(M: int, N: int, K: int) -> bool:
    """Return whether a product of M x K and K x N factors is to be rounded, which depends on nothing but its shape."""
    if kind() not in WORTH:
        return False
    least = WORTH[kind()]
    return least.mean * (M + N) <= 2 * M * N and least.multiplications <= M * N * K


def worth_convolving(side: int, channels: int, filters: int) -> bool:
    """Return whether a convolution and the gradient of its filters are to be rounded."""
    if kind() not in WORTH:
        return False
    least = WORTH[kind()]
    return filters >= least.filters and side * channels >= least.piece


def work(M: int, N: int) -> int:
    """Return the fp32 numbers of work that `product_fast` and `linear_fast` need; convolutions: of 240 rows, N filters.

    It is enough for the exact product too, which needs 64 (inner size + 1), but no more than 64 (BLOCK + 1).
    """
    return 64 * (BLOCK + 1) + BLOCK * (M + N + 32)


def use(name: str) -> bool:
    """Make the fast operations of this process use one of `KINDS`; return whether it can."""
    return bool(library.library().fast_use(KINDS[name]))


@cache
def _chosen() -> tuple[str, str]:
    """Try what the processor has, the fastest first; the operations use the result."""
    reasons = []
    for name, lacks in (("amx", _lacks_amx), ("avx512bf16", _lacks_avx512bf16)):
        why = lacks() or _fails(name)
        if not why:
            return name, f"products of bf16 by {name}"
        reasons.append(f"{name}: {why}")
    if not library.lacking():
        use("fp32")
    return "fp32", "; ".join(reasons)


def _lacks_amx() -> str:
    missing = {"amx_tile", "amx_bf16"} - library.features()
    return f"the processor has no {', '.join(sorted(missing))}" if missing else ""


def _lacks_avx512bf16() -> str:
    if "avx512_bf16" not in library.features():
        return "the processor has no avx512_bf16"
    if "AuthenticAMD" not in library.CPUINFO.read_text():
        return "slower than fp32 on this processor (half its rate was measured on an Intel Xeon)"
    return ""


def _fails(name: str) -> str:
    """Return why a kind cannot be used although the processor has it; try it on small products of rounded factors."""
    if library.lacking():
        return library.lacking()
    if not use(name):
        return f"not compiled for {library.instructions()}, or refused by the kernel"
    error = max(trial(transposed, add) for transposed in range(4) for add in (False, True))
    if not error <= TOLERANCE:
        return f"a trial differs by {error:.1e} of the sum of absolute terms"
    return ""


def trial(transposed: int, add: bool) -> float:
    """Return the largest error of `product_fast` on factors that are exact in bf16, relative to the absolute terms."""
    M, N, K = TRIAL
    a, b, c = _numbers(M, K), _numbers(K, N), _numbers(M, N)
    turned_a, turned_b = transposed & 1, transposed >> 1
    x, y = (np.ascontiguousarray(m.T if turned else m) for m, turned in ((a, turned_a), (b, turned_b)))
    result = torch.from_numpy(c.copy())
    sizes = [turned_a, turned_b, M, N, K, x.shape[1], y.shape[1], N]
    arrays = [torch.from_numpy(x), torch.from_numpy(y), result, torch.empty(work(M, N))]
    library.run("product_fast", sizes, arrays, [float(add)])
    wanted = a.astype(float) @ b.astype(float) + add * c.astype(float)
    terms = np.abs(a).astype(float) @ np.abs(b).astype(float) + add * np.abs(c)
    error = float((np.abs(result.numpy() - wanted) / terms).max())
    return error if math.isfinite(error) else math.inf


def _numbers(rows: int, columns: int) -> NDArray[np.float32]:
    """Return numbers of seven bits, which bf16 represents: between -2 and 2, none of them 0."""
    row, column = np.ogrid[:rows, :columns]
    numbers: NDArray[np.float32] = ((((row * 37 + column * 11) % 127) * 2 - 127) / 64).astype(np.float32)
    return numbers
