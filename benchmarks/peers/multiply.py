"""The limit: each matrix product of a grid, timed alone on one thread and multiplied by its count.

python -m benchmarks.peers.multiply PRODUCTS OUT DTYPE LIBRARY

By PyTorch, and by bnbench's compiled LIBRARY unless that is an empty string; the faster one counts.
"""

import ctypes
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST = 0.2  # seconds that each product is measured for, at least
Work = Callable[[], object]
Kind = Callable[..., list[Work]]


def dense(
    runs: int, images: int, inputs: int, outputs: int, _size: int, _height: int, dtype: torch.dtype
) -> list[Work]:
    """Return the products of a dense layer for all runs at once: output, gradient of weights, gradient of input."""
    x, w, dy = (
        torch.randn(runs, *two, dtype=dtype) for two in ((images, inputs), (inputs, outputs), (images, outputs))
    )
    y, dw, dx = torch.empty_like(dy), torch.empty_like(w), torch.empty_like(x)
    return [
        lambda: torch.bmm(x, w, out=y),
        lambda: torch.bmm(x.transpose(1, 2), dy, out=dw),
        lambda: torch.bmm(dy, w.transpose(1, 2), out=dx),
    ]


def conv(runs: int, images: int, inputs: int, outputs: int, size: int, height: int, dtype: torch.dtype) -> list[Work]:
    """Return the same of a conv layer, one run after the other, in the memory format "channels last"."""
    last = torch.channels_last
    x = torch.randn(images, inputs, height, height, dtype=dtype).to(memory_format=last)
    w = torch.randn(outputs, inputs, size, size, dtype=dtype).to(memory_format=last)
    dy = torch.randn(images, outputs, height, height, dtype=dtype).to(memory_format=last)

    def back(wanted: list[bool]) -> None:
        for _ in range(runs):
            torch.ops.aten.convolution_backward(
                dy, x, w, None, [1, 1], [size // 2] * 2, [1, 1], False, [0, 0], 1, wanted
            )

    return [
        lambda: [F.conv2d(x, w, padding=size // 2) for _ in range(runs)],
        lambda: back([False, True, False]),
        lambda: back([True, False, False]),
    ]


KINDS: dict[str, Kind] = {"dense": dense, "conv": conv}
PRODUCTS = ("", "weights", "input")


def compiled(library: ctypes.CDLL, op: str, sizes: list[int], arrays: list[Tensor]) -> Work:
    """Return a call of an operation of bnbench's library, `op(sizes, constants, arrays)`."""
    operation = getattr(library, f"op_{op}")
    pointers = (ctypes.c_void_p * len(arrays))(*(array.data_ptr() for array in arrays))
    given = (ctypes.c_long * len(sizes))(*sizes), (ctypes.c_float * 1)(), pointers
    return lambda: (operation(*given), arrays)


def own_dense(library: ctypes.CDLL, images: int, inputs: int, outputs: int, _size: int, _height: int) -> list[Work]:
    """Return the products of a dense layer of one run by bnbench's library."""
    x, w, dy = torch.randn(images, inputs), torch.randn(inputs, outputs), torch.randn(images, outputs)
    work = torch.empty(64 * (1 + max(images, inputs, outputs)))
    forward = [0, 0, images, outputs, inputs, inputs, outputs, outputs]
    weights = [1, 0, inputs, outputs, images, inputs, outputs, outputs]
    back = [0, 1, images, inputs, outputs, outputs, outputs, inputs]
    return [
        compiled(library, "product", forward, [x, w, torch.empty_like(dy), work]),
        compiled(library, "product", weights, [x, dy, torch.empty_like(w), work]),
        compiled(library, "product", back, [dy, w, torch.empty_like(x), work]),
    ]


def own_conv(library: ctypes.CDLL, images: int, inputs: int, outputs: int, size: int, height: int) -> list[Work]:
    """Return the same of a conv layer, of images with a border."""
    bordered = height + size - 1
    x, w = torch.randn(images, bordered, bordered, inputs), torch.randn(size, size, inputs, outputs)
    dy, bordered_dy = (torch.randn(images, side, side, outputs) for side in (height, bordered))
    work = torch.empty(64 * (1 + max(images * height**2, size**2 * max(inputs, outputs))) + 4 * images * height)
    sizes = [images, height, height, inputs, size, outputs]
    back = [images, height, height, outputs, size, inputs]
    return [
        compiled(library, "conv", sizes, [x, w, torch.empty_like(dy), work]),
        compiled(library, "conv_weights", sizes, [x, dy, torch.empty_like(w), work]),
        compiled(library, "conv", back, [bordered_dy, w, torch.empty(images, height, height, inputs), work]),
    ]


OWN: dict[str, Callable[..., list[Work]]] = {"dense": own_dense, "conv": own_conv}


def seconds(work: Work) -> float:
    """Return the fastest of the repetitions that fill `LEAST` seconds, at least three, after one for warm-up."""
    work()
    times: list[float] = []
    while sum(times) < LEAST or len(times) < 3:
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def least(kind: str, runs: int, shape: list[int], dtype: torch.dtype, library: ctypes.CDLL | None) -> float:
    """Return the seconds of a product for a number of runs: the least of all at once, one by one, and by `library`."""
    name, _, which = kind.partition(" ")
    widths, index = {runs, 1} if name == "dense" else {runs}, PRODUCTS.index(which)
    times = [runs / width * seconds(KINDS[name](width, *shape, dtype)[index]) for width in widths]
    if library:
        times.append(runs * seconds(OWN[name](library, *shape)[index]))
    return min(times)


def main() -> None:
    """Write the summed seconds of all products."""
    torch.set_num_threads(1)
    dtype = getattr(torch, sys.argv[3])
    library = ctypes.CDLL(sys.argv[4]) if sys.argv[4] else None
    total = 0.0
    for kind, runs, *shape, times in json.loads(Path(sys.argv[1]).read_bytes()):
        total += times * least(kind, runs, shape, dtype, library)
    Path(sys.argv[2]).write_text(json.dumps({"seconds": total}))


if __name__ == "__main__":
    with torch.no_grad():
        main()
