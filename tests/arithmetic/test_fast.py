"""Products of factors rounded to bf16: against float64, whatever multiplies them, and never where exact is faster.

The tiles of AMX are computed in plain C as Intel documents them, so that rounding, pairs, padding, edges and blocks are
tested on any processor; only the instructions themselves need one that has AMX.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bnbench.arithmetic import fast, library
from tests.support.builds import Array, blank

UNIT = 2.0**-24
SIZES = st.one_of(st.integers(1, 70), st.sampled_from([96, 100, 130]))
INNER = st.one_of(st.integers(0, 70), st.sampled_from([383, 385, 784, 1000]))
drawn = settings(max_examples=40, deadline=None, derandomize=True)  # no deadline: the first example may build libraries
WAYS = [name for name in fast.KINDS if name != "fp32" and (name == fast.kind() or name == "amx in plain C")]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    fast.use(fast.kind())


def bf16(x: Array) -> Array:
    """Round to bf16, ties to even, by torch."""
    return torch.from_numpy(x).bfloat16().float().numpy()


def numbers(*shape: int, seed: int) -> Array:
    return np.random.RandomState(seed).randn(*shape).astype(np.float32)


def product(a: Array, b: Array, c: Array | None = None, turned: tuple[int, int] = (0, 0)) -> Array:
    (rows, inner), columns = a.shape, b.shape[1]
    stored = [np.ascontiguousarray(m.T if turn else m) for m, turn in zip((a, b), turned, strict=True)]
    sizes = [*turned, rows, columns, inner, stored[0].shape[1], stored[1].shape[1], columns]
    result = blank(rows, columns) if c is None else c.copy()
    work = torch.full((fast.work(rows, columns),), torch.nan)
    library.run("product_fast", sizes, [*map(torch.from_numpy, [*stored, result]), work], [float(c is not None)])
    return result


def check(got: Array, a: Array, b: Array, c: Array | None = None) -> None:
    """Compare with float64 products of rounded factors; the sums are of fp32, in any order."""
    a64, b64 = bf16(a).astype(float), bf16(b).astype(float)
    start = np.zeros(got.shape) if c is None else c.astype(float)
    size = np.abs(a64) @ np.abs(b64) + np.abs(start)
    assert (np.abs(got - (a64 @ b64 + start)) <= (a.shape[1] + 2) * UNIT * size).all()


@pytest.mark.parametrize("way", WAYS)
@drawn
@given(SIZES, SIZES, INNER, st.tuples(st.integers(0, 1), st.integers(0, 1)), st.booleans())
def test_products_of_all_transpositions(way: str, m: int, n: int, k: int, turned: tuple[int, int], add: bool) -> None:
    assert fast.use(way)
    a, b, c = numbers(m, k, seed=1), numbers(k, n, seed=2), numbers(m, n, seed=3) if add else None
    check(product(a, b, c, turned), a, b, c)


@pytest.mark.parametrize("way", WAYS)
@drawn
@given(st.integers(1, 40), st.integers(1, 40), INNER, st.integers(2, 4))
def test_rows_are_the_same_bytes_together_as_alone(way: str, m: int, n: int, k: int, parts: int) -> None:
    assert fast.use(way)
    a, b = numbers(m, k, seed=1), numbers(k, n, seed=2)
    together = product(a, b)
    for part in np.array_split(np.arange(m), parts):
        if len(part):
            assert together[part].tobytes() == product(a[part], b).tobytes()


@pytest.mark.parametrize("way", WAYS)
def test_linear_layers_begin_with_the_bias(way: str) -> None:
    assert fast.use(way)
    x, w, bias, y = numbers(33, 50, seed=1), numbers(50, 20, seed=2), numbers(20, seed=3), blank(33, 20)
    work = torch.empty(fast.work(33, 20))
    library.run("linear_fast", [33, 20, 50], [*map(torch.from_numpy, (x, w, bias, y)), work])
    check(y, x, w, np.tile(bias, (33, 1)))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("channels", "side", "width"), [(1, 3, 9), (3, 3, 4), (16, 3, 8), (40, 5, 7)])
def test_convolutions_and_gradients_of_filters(way: str, channels: int, side: int, width: int) -> None:
    assert fast.use(way)
    n, height, filters, b = 3, 6, 21, side // 2
    x = np.pad(numbers(n, height, width, channels, seed=1), ((0, 0), (b, b), (b, b), (0, 0)))
    w, dy = numbers(side, side, channels, filters, seed=2), numbers(n, height, width, filters, seed=3)
    places = [(i, h, v) for i in range(n) for h in range(height) for v in range(width)]
    rows = np.stack([x[i, h : h + side, v : v + side].ravel() for i, h, v in places])
    y, dw = blank(*dy.shape), blank(*w.shape)
    sizes, work = [n, height, width, channels, side, filters], torch.empty(fast.work(240, filters) + 2 * n * height)
    library.run("conv", sizes, [*map(torch.from_numpy, (x, w, y)), work], [0, 1])
    check(y.reshape(-1, filters), rows, w.reshape(-1, filters))
    library.run("conv_weights", sizes, [*map(torch.from_numpy, (x, dy, dw)), work], [0, 1])
    check(dw.reshape(-1, filters), np.ascontiguousarray(rows.T), dy.reshape(-1, filters))


@pytest.mark.parametrize("way", WAYS)
def test_ties_nan_and_infinities_are_rounded_as_by_torch(way: str) -> None:
    assert fast.use(way)
    tie = np.array([1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8, 3.4e38, np.inf, -np.inf, np.nan, 0, -0.0], np.float32)
    got = product(tie[:, None], np.ones((1, 1), np.float32))[:, 0]
    assert np.array_equal(got, bf16(tie), equal_nan=True)


def test_without_a_way_the_product_is_the_exact_one() -> None:
    assert fast.use("fp32")
    a, b, exact = numbers(20, 30, seed=1), numbers(30, 40, seed=2), blank(20, 40)
    arrays = [*map(torch.from_numpy, (a, b, exact)), torch.empty(64 * 31)]
    library.run("product", [0, 0, 20, 40, 30, 30, 40, 40], arrays, [0])
    assert product(a, b).tobytes() == exact.tobytes()


def chosen(monkeypatch: pytest.MonkeyPatch, cpuinfo: Path, flags: str, vendor: str) -> tuple[str, str]:
    """Return kind and reason on a processor with these flags."""
    cpuinfo.write_text(f"vendor_id\t: {vendor}\nflags\t\t: {flags}\n")
    monkeypatch.setattr(library, "CPUINFO", cpuinfo)
    return fast._chosen.__wrapped__()


def test_each_kind_of_processor_has_its_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fast, "use", lambda _name: True)
    monkeypatch.setattr(fast, "trial", lambda _transposed, _add: 0.0)
    at = tmp_path / "cpuinfo"
    assert chosen(monkeypatch, at, "avx512_bf16 amx_tile amx_bf16", "GenuineIntel")[0] == "amx"
    assert chosen(monkeypatch, at, "avx512_bf16", "AuthenticAMD")[0] == "avx512bf16"
    assert chosen(monkeypatch, at, "avx512_bf16", "GenuineIntel")[0] == "fp32"
    kind, reason = chosen(monkeypatch, at, "avx2", "GenuineIntel")
    assert kind == "fp32"
    assert "amx: the processor has no amx_bf16, amx_tile" in reason
    assert "avx512bf16: the processor has no avx512_bf16" in reason


@pytest.mark.parametrize("error", [1.0, float("nan"), float("inf")])
def test_a_way_that_computes_wrong_products_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: float
) -> None:
    monkeypatch.setattr(fast, "use", lambda _name: True)
    monkeypatch.setattr(fast, "trial", lambda _transposed, _add: error)
    kind, reason = chosen(monkeypatch, tmp_path / "cpuinfo", "amx_tile amx_bf16", "GenuineIntel")
    assert kind == "fp32"
    assert "amx: a trial differs" in reason


def test_a_way_that_the_kernel_refuses_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fast, "use", lambda name: name == "fp32")
    kind, reason = chosen(monkeypatch, tmp_path / "cpuinfo", "amx_tile amx_bf16", "GenuineIntel")
    assert kind == "fp32"
    assert "refused by the kernel" in reason


def test_small_and_narrow_products_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in fast.WORTH:
        monkeypatch.setattr(fast, "kind", lambda name=name: name)
        assert fast.worth(60, 100, 784)
        assert fast.worth(784, 100, 60)
        assert not fast.worth(60, 10, 100)
        assert not fast.worth(4, 100, 784)
        assert not fast.worth(16, 16, 64)
        assert fast.worth_convolving(3, 64, 64)
        assert not fast.worth_convolving(3, 16, 16)
    monkeypatch.setattr(fast, "kind", lambda: "fp32")
    assert not fast.worth(1000, 1000, 1000)
    assert not fast.worth_convolving(3, 64, 64)
