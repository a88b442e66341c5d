"""Compiled loops of a training step over the values of a mini-batch and the weights of a pack, and the choice of loops.

A compiled loop reads memory once or twice where torch's operations do so six times and more. Its numbers are those of
torch's operations, bit for bit: `compiled` compares them before the first use. Where they differ, and without a
compiler, torch's are used. So no result depends on the choice.

Arrays are named for their axes: G groups with statistics of their own, M values per channel, C channels.
"""

import ctypes
import math
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnbench.training.arithmetic.build import shared_object
from bnbench.training.arithmetic.torch_loops import REFERENCE, Adam, Loops

# long, float, pointer
C_TYPES = {"l": ctypes.c_long, "f": ctypes.c_float, "p": ctypes.c_void_p}
SIGNATURES = {
    "moments": "lllpppp",
    "normalise": "lllppppppp",
    "normalised": "lllpppppp",
    "normalise_back": "lllppppppp",
    "pool": "lllllpp",
    "pool_back": "lllllppp",
    "relu_back": "lppp",
    "sigmoid_back": "lppp",
    "tanh_back": "lppp",
    "sgd": "llpfppp",
    "adam": "llpffffffpppp",
    "adam_moments": "lfffffpppp",
    "adam_step": "lffppp",
}
lacking: dict[str, str] = {}  # faster ways that this process cannot use -> why
CHECKED = ((2, 75, 70), (1, 7, 3), (1, 300, 16))
ROUNDING = 1e-5
CHUNK = 2**15  # weights at a time: their five arrays fit a core's cache, 640 KiB


class Compiled(Loops):
    """The functions of kernels.c and optimizers.c, for fp32 arrays in main memory; methods as in the reference.

    Args:
        functions: the shared library.
    """

    def __init__(self, functions: ctypes.CDLL) -> None:
        self.functions = functions
        for name, signature in SIGNATURES.items():
            getattr(functions, name).argtypes = [C_TYPES[letter] for letter in signature]
        self.roots = True  # whether Adam's square roots use torch's function
        try:
            functions.use_roots(ctypes.c_void_p(torchs("vmsSqrt")))
        except (AttributeError, OSError):
            self.roots = False

    def moments(self, x_GMC: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        groups, values, channels = x_GMC.shape
        mean, variance = x_GMC.new_empty(2, groups, 1, channels)
        self._call("moments", *x_GMC.shape, x_GMC, mean, variance, x_GMC.new_empty(values, channels))
        return mean, variance

    def normalise(  # noqa: D102
        self, x_GMC: Tensor, mean: Tensor, scale: Tensor, gamma: Tensor, beta: Tensor
    ) -> tuple[Tensor, Tensor]:
        normal, y = x_GMC.new_empty(2, *x_GMC.shape)
        self._call("normalise", *x_GMC.shape, x_GMC, mean, scale, gamma, beta, normal, y)
        return normal, y

    def normalised(self, x_GMC: Tensor, mean: Tensor, scale: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:  # noqa: D102
        y = x_GMC.new_empty(x_GMC.shape)
        self._call("normalised", *x_GMC.shape, x_GMC, mean, scale, gamma, beta, y)
        return y

    def normalise_back(self, dy_GMC: Tensor, normal: Tensor, factor: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # noqa: D102
        groups, _, channels = dy_GMC.shape
        total, along = dy_GMC.new_empty(2, groups, 1, channels)
        dx, work = dy_GMC.new_empty(dy_GMC.shape), dy_GMC.new_empty(2, channels)
        self._call("normalise_back", *dy_GMC.shape, dy_GMC, normal, factor, total, along, dx, work)
        return total, along, dx

    def pool(self, x_BHWC: Tensor, size: int) -> tuple[Tensor, Tensor]:  # noqa: D102
        images, height, width, channels = x_BHWC.shape
        y = x_BHWC.new_empty(images, height // size, width // size, channels)
        self._call("pool", *x_BHWC.shape, size, x_BHWC, y)
        return y, y

    def pool_back(self, dy_BHWC: Tensor, x_BHWC: Tensor, indices: Tensor, size: int) -> Tensor:  # noqa: ARG002, D102
        dx = x_BHWC.new_empty(x_BHWC.shape)
        self._call("pool_back", *x_BHWC.shape, size, dy_BHWC, x_BHWC, dx)
        return dx

    def relu_back(self, dy: Tensor, y: Tensor) -> Tensor:  # noqa: D102
        return self._pointwise("relu_back", dy, y)

    def sigmoid_back(self, dy: Tensor, y: Tensor) -> Tensor:  # noqa: D102
        return self._pointwise("sigmoid_back", dy, y)

    def tanh_back(self, dy: Tensor, y: Tensor) -> Tensor:  # noqa: D102
        return self._pointwise("tanh_back", dy, y)

    def sgd(self, values: Tensor, grads: Tensor, velocity: Tensor | None, rate: Tensor, momentum: float) -> None:  # noqa: D102
        self._call("sgd", *values.shape, rate, momentum, values, grads, velocity)

    def adam(self, values: Tensor, grads: Tensor, mean: Tensor, square: Tensor, by: Adam) -> None:  # noqa: D102
        step = int(by.step)
        numbers = by.beta1, 1 - by.beta1, by.beta2, 1 - by.beta2
        rates, corrected = by.rate / (1 - by.beta1**step), 1 - by.beta2**step
        if self.roots:
            self._call("adam", *values.shape, rates, corrected, *numbers, by.epsilon, values, grads, mean, square)
            return
        for r, rate in enumerate(rates.flatten().tolist()):
            for first in range(0, values.shape[1], CHUNK):
                chunk = slice(first, first + CHUNK)
                root = torch.empty_like(grads[r, chunk])
                some = grads[r, chunk], mean[r, chunk], square[r, chunk]
                self._call("adam_moments", len(root), *numbers, corrected, *some, root)
                self._call("adam_step", len(root), rate, by.epsilon, mean[r, chunk], root.sqrt_(), values[r, chunk])

    def _pointwise(self, name: str, dy: Tensor, y: Tensor) -> Tensor:
        dx = dy.new_empty(dy.shape)
        self._call(name, dy.numel(), dy, y, dx)
        return dx

    def _call(self, name: str, *arguments: Any) -> None:
        """Call a function with numbers and arrays; an array that it only reads may be a view."""
        held = [argument.contiguous() if isinstance(argument, Tensor) else argument for argument in arguments]
        getattr(self.functions, name)(*[a.data_ptr() if isinstance(a, Tensor) else a for a in held])


def loops(x: Tensor) -> Loops:
    """Return the loops for such an array, with its channels last."""
    if x.is_cuda and x.dtype == torch.float32:
        return on_gpu()
    fits = (
        x.device.type == "cpu" and x.dtype == torch.float32 and x.shape[-1] > 1
    )  # torch sums a single channel in another order
    return compiled()[0] if fits else REFERENCE


@cache
def compiled() -> tuple[Loops, str]:
    """Return the compiled loops and an empty string; or the reference, and why the compiled ones cannot be used."""
    try:
        functions = ctypes.CDLL(str(shared_object()))
    except (OSError, subprocess.CalledProcessError) as error:
        message = (
            error.stderr.decode(errors="replace") if isinstance(error, subprocess.CalledProcessError) else str(error)
        )
        return REFERENCE, message.strip()[:200]
    loops = Compiled(functions)
    return (loops, "") if same(loops) else (REFERENCE, "the compiled loops do not round as torch does")


def torchs(name: str) -> int:
    """Return the address of a function of torch's own library.

    Raises:
        AttributeError: the library has no such function.
        OSError: torch's library is not at its usual path.
    """
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
    return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0


@cache
def on_gpu() -> Loops:
    """Return the loops in Triton; or the reference if they cannot be used, and note why in `lacking`."""
    try:
        # Triton is installed only with torch for CUDA, and takes half a second to import
        from bnbench.training.arithmetic.triton_norms import Fused

        if near(Fused(), "cuda"):
            return Fused()
        lacking["compiled norms on this GPU"] = "their numbers are not torch's"
    except Exception as error:  # of the Triton compiler, which has its own classes of errors
        lacking["compiled norms on this GPU"] = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
    return REFERENCE


def near(loops: Loops, device: str) -> bool:
    """Return whether these loops of norms give the reference's numbers, within the rounding of sums."""
    dice = torch.Generator().manual_seed(0)
    for shape in CHECKED:
        x, dy = torch.randn(2, *shape, generator=dice).to(device)
        rows = [torch.randn(shape[0], 1, shape[2], generator=dice).to(device) for _ in range(4)]
        one, other = (
            [*each.moments(x), *each.normalise(x, *rows), *each.normalise_back(dy, x, rows[0])]
            for each in (loops, REFERENCE)
        )
        if not all(float((a - b).norm() / b.norm()) < ROUNDING for a, b in zip(one, other, strict=True)):
            return False
    return True


def same(loops: Loops) -> bool:
    """Return whether these loops give the reference's bits, for numbers of channels with and without a remainder."""
    dice = torch.Generator().manual_seed(0)
    return all(torch.equal(a, b) for shape in CHECKED for a, b in zip(*_both(loops, shape, dice), strict=True))


def _both(loops: Loops, shape: tuple[int, int, int], dice: torch.Generator) -> list[list[Tensor]]:
    """Return the results of all loops for random numbers, and those of the reference."""
    x, dy, y = torch.randn(3, *shape, generator=dice)
    some = [torch.randn(shape[0], 1, shape[2], generator=dice) for _ in range(4)]
    rows, grads, velocity = torch.randn(3, shape[0], 256, generator=dice)
    by = Adam(some[1][:, 0, :1], 0.9, 0.99, 1e-8, 3)
    results = []
    for each in (loops, REFERENCE):
        values, average = rows.clone(), velocity.clone()
        each.sgd(values, grads, average, some[0][:, 0, :1], 0.9)
        each.sgd(values, grads, None, some[0][:, 0, :1], 0)
        square = average * average
        each.adam(values, grads, average, square, by)
        back = [each.relu_back(dy, y), each.sigmoid_back(dy, y), each.tanh_back(dy, y)]
        normal = [*each.moments(x), *each.normalise(x, *some), *each.normalise_back(dy, y, some[0])]
        results.append([values, average, square, *back, *normal, each.normalised(x, *some), *_pooled(each, x, dy)])
    return results


def _pooled(each: Loops, x: Tensor, dy: Tensor) -> list[Tensor]:
    """Return max pooling and its gradient for incomplete windows, ties and NaN."""
    height = 5 if x.shape[1] % 5 == 0 else 1
    x, results = (x * 2).round().unflatten(1, (height, -1)), list[Tensor]()
    x[0, 0, 0] = math.nan
    for size in (2, 3) if height > 3 else (1,):
        y, indices = each.pool(x, size)
        results += [y.nan_to_num(7), each.pool_back(dy.flatten()[: y.numel()].view(y.shape), x, indices, size)]
    return results
