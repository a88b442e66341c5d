"""The limit: each matrix product of a grid, timed alone on one thread and multiplied by its count.

python -m benchmarks.peers.multiply PRODUCTS OUT DTYPE
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

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


def seconds(work: Work) -> float:
    """Return the fastest of the repetitions that fill `LEAST` seconds, at least three, after one for warm-up."""
    work()
    times: list[float] = []
    while sum(times) < LEAST or len(times) < 3:
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def least(kind: str, runs: int, shape: list[int], dtype: torch.dtype) -> float:
    """Return the seconds of a product for a number of runs: all at once or one by one, whichever is faster."""
    name, _, which = kind.partition(" ")
    widths = {runs, 1} if name == "dense" else {runs}
    return min(runs / width * seconds(KINDS[name](width, *shape, dtype)[PRODUCTS.index(which)]) for width in widths)


def main() -> None:
    """Write the summed seconds of all products."""
    torch.set_num_threads(1)
    dtype = getattr(torch, sys.argv[3])
    total = 0.0
    for kind, runs, *shape, times in json.loads(Path(sys.argv[1]).read_bytes()):
        total += times * least(kind, runs, shape, dtype)
    Path(sys.argv[2]).write_text(json.dumps({"seconds": total}))


if __name__ == "__main__":
    with torch.no_grad():
        main()
