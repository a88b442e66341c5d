"""The compiled loops: PyTorch's numbers, bit for bit, and training without them where they cannot be compiled."""

import ctypes
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bnbench.training.arithmetic import kernels
from bnbench.training.arithmetic.build import shared_object
from bnbench.training.arithmetic.kernels import Compiled, compiled
from bnbench.training.arithmetic.torch_loops import REFERENCE, Adam
from tests.support.little import ROOT, run, trained

SIZES = list(product((1, 3), (2, 5, 16, 60, 63, 64, 257, 5000), (2, 3, 4, 7, 8, 10, 33, 64, 100)))


@pytest.fixture(scope="module")
def loops() -> Compiled:
    made, lacking = compiled()
    if not isinstance(made, Compiled):
        pytest.skip(lacking)
    return made


def _random(seed: int, *shapes: tuple[int, ...]) -> list[Tensor]:
    dice = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=dice) for shape in shapes]


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("shape", [(2, 6, 6, 16), (3, 7, 5, 3), (1, 4, 9, 33), (2, 3, 3, 2)])
def test_maxima_and_their_gradients_are_torchs_also_of_equal_numbers_and_of_none(
    loops: Compiled, shape: tuple[int, ...], size: int
) -> None:
    (x,) = _random(0, shape)
    x = x.mul(2).round()
    x[0, 0, 0, 0], x[-1, -1], x[0, 1, 1, 1] = torch.nan, -torch.inf, -0.0
    (y, places), (expected, theirs) = loops.pool(x, size), REFERENCE.pool(x, size)
    assert y.numpy().tobytes() == expected.numpy().tobytes()
    (dy,) = _random(1, tuple(y.shape))
    made, expected = loops.pool_back(dy, x, places, size), REFERENCE.pool_back(dy, x, theirs, size)
    assert made.numpy().tobytes() == expected.numpy().tobytes()


@pytest.mark.parametrize(("groups", "values", "channels"), SIZES)
def test_norms_are_torchs_bit_for_bit(loops: Compiled, groups: int, values: int, channels: int) -> None:
    whole, row = (groups, values, channels), (groups, 1, channels)
    x, dy, mean, scale, gamma, beta = _random(0, whole, whole, row, row, row, row)
    for made, expected in (
        (loops.moments(x), REFERENCE.moments(x)),
        (loops.normalise(x, mean, scale, gamma, beta), REFERENCE.normalise(x, mean, scale, gamma, beta)),
        ([loops.normalised(x, mean, scale, gamma, beta)], [REFERENCE.normalised(x, mean, scale, gamma, beta)]),
        (loops.normalise_back(dy, x, gamma), REFERENCE.normalise_back(dy, x, gamma)),
    ):
        assert all(torch.equal(a, b) for a, b in zip(made, expected, strict=True))


@pytest.mark.parametrize("count", [1, 7, 64, 1001])
@pytest.mark.parametrize("name", ["relu_back", "sigmoid_back", "tanh_back"])
def test_slopes_of_activations_are_torchs_bit_for_bit(loops: Compiled, name: str, count: int) -> None:
    dy, y = _random(1, (count,), (count,))
    y[0] = 0
    assert torch.equal(getattr(loops, name)(dy, y), getattr(REFERENCE, name)(dy, y))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_is_torchs_bit_for_bit(loops: Compiled, momentum: float) -> None:
    first = _random(2, (3, 128), (3, 128), (3, 128), (3, 1))
    ends = []
    for each in (loops, REFERENCE):
        values, grads, velocity, rate = (tensor.clone() for tensor in first)
        each.sgd(values, grads, velocity if momentum else None, rate, momentum)
        ends.append((values, velocity))
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


@pytest.mark.parametrize("roots", [True, False], ids=["roots by torch's function", "by its operation"])
def test_adam_is_torchs_bit_for_bit_in_rows_longer_than_a_part(
    loops: Compiled, roots: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if roots and not loops.roots:
        pytest.skip("this torch has no such function")
    monkeypatch.setattr(loops, "roots", roots)
    row = kernels.CHUNK + 192
    first = _random(3, (2, row), (2, row), (2, row), (2, row), (2, 1))
    ends = []
    for each in (loops, REFERENCE):
        values, grads, mean, square, rate = (tensor.clone().abs_() for tensor in first)
        for step in (1, 2, 100):
            each.adam(values, grads, mean, square, Adam(rate, 0.9, 0.99, 1e-8, step))
        ends.append((values, mean, square))
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def test_what_is_read_may_be_a_view(loops: Compiled) -> None:
    wide, row = _random(4, (2, 20, 12), (2, 1, 24))
    x, gamma = wide[:, ::2], row[..., ::2]
    assert all(
        torch.equal(a, b)
        for a, b in zip(loops.normalise_back(x, x, gamma), REFERENCE.normalise_back(x, x, gamma), strict=True)
    )


def test_other_devices_types_and_single_channels_have_torchs_own_operations() -> None:
    assert kernels.loops(torch.zeros(2, 3, 4, dtype=torch.float64)) is REFERENCE
    assert kernels.loops(torch.zeros(2, 3, 1)) is REFERENCE
    assert kernels.loops(torch.zeros(2, 3, 4, device="meta")) is REFERENCE


def test_loops_that_round_otherwise_are_not_used(monkeypatch: pytest.MonkeyPatch, loops: Compiled) -> None:
    class Other(Compiled):
        def tanh_back(self, dy: Tensor, y: Tensor) -> Tensor:
            return super().tanh_back(dy, y) * (1 + 2**-23)

    monkeypatch.setattr(kernels, "Compiled", Other)
    made, lacking = compiled.__wrapped__()
    assert made is REFERENCE
    assert lacking == "the compiled loops do not round as torch does"
    assert kernels.same(loops)


BROKEN = "#!/bin/sh\necho 'error: no headers' >&2\nexit 1\n"
PROGRAM = """
from bnbench.training.arithmetic import kernels
from tests.support.little import run, trained
made, lacking = kernels.compiled()
print(type(made).__name__, lacking, sep="|")
print(trained([run(model="64-20-10", epochs=1)])[0].result)
"""


@pytest.mark.parametrize(
    ("compiler", "told"),
    [
        (None, "Loops|no C compiler is installed (cc, gcc, clang)"),
        (BROKEN, "Loops|error: no headers"),
        ('#!/bin/sh\nexec /usr/bin/touch "$8"\n', "Loops|"),  # "compiles" to an empty file
    ],
    ids=["none", "broken", "nonsense"],
)
def test_without_a_working_compiler_training_says_so_and_gives_the_same_numbers(
    tmp_path: Path, compiler: str | None, told: str
) -> None:
    if compiler:
        (tmp_path / "cc").write_text(compiler)
        (tmp_path / "cc").chmod(0o755)
    environment = {
        **os.environ,
        "PATH": str(tmp_path),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    )
    first, result = done.stdout.splitlines()
    assert first.startswith(told)
    assert result == str(trained([run(model="64-20-10", epochs=1)])[0].result)


@pytest.mark.usefixtures("loops")
def test_the_compiled_file_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = shared_object()
    assert path.parent == tmp_path / "bnbench"
    monkeypatch.setenv("PATH", "")
    assert shared_object() == path
    assert ctypes.CDLL(str(path)).moments
