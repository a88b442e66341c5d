"""Compiled updates of recorded steps: PyTorch's square roots by each method, and Adam's numbers."""

import ctypes
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from bnbench.training.arithmetic import calls, torch_loops

LIBRARY, NEAREST, TWICE, ONCE = range(4)  # constants of optimizers.c
WEIGHTS = 5003  # several chunks, and a partial vector


@pytest.fixture(autouse=True)
def _compiled() -> None:
    if calls.lacking():
        pytest.skip(calls.lacking())


@pytest.fixture
def way() -> Iterator[ctypes.c_int]:
    """Yield the library's variable that selects the square-root method, and restore it afterwards."""
    used = ctypes.c_int.in_dll(calls.shared_library(), "root_method")
    found = used.value
    yield used
    used.value = found


def _numbers() -> Tensor:
    """Return all of [1, 4), of which other roots are multiples; the largest; some of every size; 0 and infinity."""
    spans = ((127 << 23, 129 << 23), ((255 << 23) - 2**15, 255 << 23))
    every = [torch.arange(*span, dtype=torch.int32) for span in spans]
    sizes = torch.randint(0, 0x7F800000, (2**20,), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    return torch.cat([torch.cat([*every, sizes]).view(torch.float32), torch.tensor([0.0] * 6 + [torch.inf] * 2)])


def _roots(x: Tensor, way: int) -> Tensor:
    y = torch.empty_like(x)
    calls.replay([calls.call("roots", [len(x), way], [x, y])])
    return y


def test_the_way_that_is_used_gives_torchs_roots(way: ctypes.c_int) -> None:
    x = _numbers()
    for some in {LIBRARY, way.value}:
        assert torch.equal(_roots(x, some), x.sqrt())


@pytest.mark.parametrize(("way", "most"), [(NEAREST, 0), (TWICE, 0.2), (ONCE, 0.01)])
def test_each_way_is_at_most_one_number_off(way: int, most: float) -> None:
    x = _numbers()
    off = _roots(x, way).view(torch.int32) - x.double().sqrt().float().view(torch.int32)
    assert off.abs().max() <= 1
    assert (off != 0).double().mean() <= most


def _adam(op: str) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Return weights, means and squares by the op, by torch, and by torch in fp64; with squares of all sizes."""
    dice = torch.Generator().manual_seed(0)
    values, grads, mean, square = torch.randn(4, WEIGHTS, generator=dice)
    square = square.square()
    for first, small in ((0, 0.0), (1000, 1e-40), (2000, 1e-45), (3000, 1.2e-38)):
        square[first : first + 500], grads[first : first + 500] = small, 0.0
    arrays = [values, mean, square]
    exact, wide = ([array[None].to(dtype, copy=True) for array in arrays] for dtype in (torch.float32, torch.float64))
    for some in (exact, wide):
        rate = torch.tensor([[0.01]], dtype=some[0].dtype)
        torch_loops.REFERENCE.adam(
            some[0], grads[None].to(rate.dtype), some[1], some[2], torch_loops.Adam(rate, 0.9, 0.99, 1e-8, 3)
        )
    numbers = [torch.tensor([value]) for value in (0.01 / (1 - 0.9**3), 1 - 0.99**3)]
    constants = [0.9, 1 - 0.9, 0.99, 1 - 0.99, 1e-8]
    calls.replay([calls.call(op, [WEIGHTS], [*numbers, values, grads, mean, square], constants)])
    return arrays, [array[0] for array in exact], [array[0] for array in wide]


def test_adam_is_torchs_bit_for_bit_by_whatever_way(way: ctypes.c_int) -> None:
    for some in {LIBRARY, way.value}:
        way.value = some
        made, expected, _ = _adam("adam")
        assert all(torch.equal(a, b) for a, b in zip(made, expected, strict=True))


@pytest.mark.parametrize("way_of", [NEAREST, TWICE, ONCE])
def test_adam_is_right_by_each_way(way: ctypes.c_int, way_of: int) -> None:
    way.value = way_of
    made, _, wide = _adam("adam")
    for a, b in zip(made, wide, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-7)


def test_the_quick_adam_is_right_to_some_roundings() -> None:
    made, _, wide = _adam("quick_adam")
    for a, b in zip(made, wide, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-7)
