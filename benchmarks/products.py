"""Matrix products: how many a grid's runs take, and how fast one core computes them.

    python -m benchmarks.products [SECONDS]

prints GFLOP/s of the products of the studies and their share of the core's peak, for the exact product, for factors
rounded to bf16 and for torch (MKL); `BNBENCH_ARITHMETIC=avx2` measures another build. Programs alternate, in CPU time
of the thread; the fastest of many short repetitions counts, because the machine may have other work.
"""

import ctypes
import math
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.grids import Grid
from benchmarks.peers.task import FINAL
from bnbench.arithmetic import build, fast, library
from bnbench.params import architecture
from bnbench.params.dataset_schema import Dataset
from bnbench.plan import cost
from bnbench.plan.packs import PackRecord
from bnbench.training.nets.network import widest
from bnbench.training.pack.pack import CHUNK

# (kind, runs, images, inputs, outputs, kernel size, height); dense layers have neither kernel nor height
Product = tuple[str, int, int, int, int, int, int]


def products(grid: Grid) -> list[list[Any]]:
    """Return each product with the number of times it is computed; `peers/multiply.py` times them."""
    counts: Counter[Product] = Counter()
    for pack in grid.plan.packs:
        run = next(iter(pack.runs.values()))
        _count(pack, grid.plan.resolved.datasets[run.dataset], counts)
    return [[*product, times] for product, times in counts.items()]


def _count(pack: PackRecord, dataset: Dataset, counts: Counter[Product]) -> None:
    """Count the products of a pack: training, validation after each epoch, training and test part at the end."""
    run = next(iter(pack.runs.values()))
    steps, runs = cost.steps(run, dataset), len(pack.runs)
    for kind, *shape in _layers(run.model, dataset.shape):
        counts[kind, runs, run.batch_size, *shape] += steps  # type: ignore[index]
    for index, (kind, *shape) in enumerate(_layers(run.model, dataset.shape)):
        counts[f"{kind} weights", runs, run.batch_size, *shape] += steps  # type: ignore[index]
        if index:
            counts[f"{kind} input", runs, run.batch_size, *shape] += steps  # type: ignore[index]
    sizes = {
        "train": min(run.train_images or dataset.train_images, dataset.train_images),
        "valid": _images(dataset.split.valid),
        "test": _images(dataset.split.test),
    }
    images = run.epochs * sizes["valid"] + sum(sizes[name] for name in FINAL)
    chunk = max(1, CHUNK // widest(run.model, dataset.shape))
    for kind, *shape in _layers(run.model, dataset.shape):
        counts[kind, runs, chunk, *shape] += images / chunk  # type: ignore[index, assignment]


def _images(split: int | str) -> int:
    """Return the number of images of a part; the published test sets of these data have 10,000."""
    return split if isinstance(split, int) else 10_000


def _layers(model: str, shape: architecture.Shape) -> Iterator[tuple[str, int, int, int, int]]:
    """Yield (kind, inputs, outputs, kernel size, height) of each layer with weights."""
    for row in architecture.trace(architecture.parse(model), shape):
        if isinstance(row.layer, architecture.Conv):
            yield "conv", row.input[0], row.layer.filters, row.layer.size, row.input[1]
        elif isinstance(row.layer, architecture.Dense):
            yield "dense", math.prod(row.input), row.layer.units, 0, 0


Shape = tuple[int, int, int, int, int]  # A transposed, B transposed, M, K, N
SHAPES: tuple[Shape, ...] = (
    *((0, 0, m, k, n) for m, k, n in ((60, 784, 100), (60, 100, 100), (60, 100, 10), (100, 784, 392), (100, 392, 10))),
    *((1, 0, m, k, n) for m, k, n in ((784, 60, 100), (100, 60, 100), (100, 60, 10), (784, 100, 392), (392, 100, 10))),
    *((0, 1, m, k, n) for m, k, n in ((60, 100, 100), (60, 10, 100), (100, 10, 392), (128, 512, 512))),
    *((0, 0, m, k, n) for m, k, n in ((16, 64, 16), (16, 64, 100), (4, 784, 100), (16, 784, 1000), (128, 3072, 512))),
    *((1, 0, m, k, n) for m, k, n in ((64, 16, 16), (784, 4, 100), (3072, 128, 512))),
)
PEAK = """
#include "lanes.h"
#ifdef __AVX512F__
enum { CHAINS = 12 };
#else
enum { CHAINS = 6 };
#endif
void peak(long steps, float *to)
{
    V sum[CHAINS];
    for (int i = 0; i < CHAINS; i++)
        sum[i] = set(i);
    for (long k = 0; k < steps; k++) {
        _Pragma("GCC unroll 12") for (int i = 0; i < CHAINS; i++) sum[i] = fma_(sum[i], set(0.999f), set(1e-3f));
    }
    for (int i = 0; i < CHAINS; i++)
        store(to + LANES * i, sum[i]);
}
"""
STEPS = 8000
OPERATIONS = 6e6  # of a repetition, at least: short products are repeated within it


def peak() -> tuple[Callable[[], object], float]:
    """Return a function that computes independent fma alone, and how many operations it takes."""
    with tempfile.TemporaryDirectory() as folder:
        source, compiled = Path(folder) / "peak.c", Path(folder) / "peak.so"
        source.write_text(PEAK)
        flags = [*build.FLAGS, *build.SETS[library.instructions()][0], f"-I{build.FOLDER}"]
        subprocess.run(["cc", *flags, str(source), "-o", str(compiled)], check=True)
        loop = ctypes.CDLL(str(compiled)).peak
    to = torch.empty(256)
    chains = 12 if library.instructions() == "avx512" else 6
    return lambda: loop(ctypes.c_long(STEPS), ctypes.c_void_p(to.data_ptr())), 2.0 * 16 * chains * STEPS


def programs(shape: Shape) -> tuple[dict[str, Callable[[], object]], float]:
    """Return what computes products of a shape, and the number of operations of one call of each."""
    turned_a, turned_b, m, k, n = shape
    a, b, c = torch.randn((k, m) if turned_a else (m, k)), torch.randn((n, k) if turned_b else (k, n)), torch.empty(m, n)
    times = max(1, int(OPERATIONS / (2 * m * k * n)))
    sizes, work = [turned_a, turned_b, m, n, k, a.shape[1], b.shape[1], n], torch.empty(fast.work(m, n) + 64 * (k + 1))
    x, y = (a.T if turned_a else a), (b.T if turned_b else b)
    arrays = [a, b, c, work]

    def ours(name: str) -> Callable[[], object]:
        calls = (library.Call * times)(*[library.call(name, sizes, arrays, [0.0])] * times)
        return lambda: (library.replay(calls), arrays)  # the calls have but addresses of the arrays

    each: dict[str, Callable[[], object]] = {"exact": ours("product")}
    if fast.kind() != "fp32":
        each["bf16"] = ours("product_fast")
    each["torch"] = lambda: [torch.mm(x, y, out=c) for _ in range(times)]
    return each, 2.0 * m * k * n * times


def rates(shape: Shape, seconds: float) -> dict[str, float]:
    """Return GFLOP/s of each program and of the peak, all measured in turn for some seconds."""
    (loop, most), (each, operations) = peak(), programs(shape)
    each = {"peak": loop, **each}
    best = dict.fromkeys(each, math.inf)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, program in each.items():
            start = time.clock_gettime_ns(time.CLOCK_THREAD_CPUTIME_ID)
            program()
            best[name] = min(best[name], time.clock_gettime_ns(time.CLOCK_THREAD_CPUTIME_ID) - start)
    return {name: (most if name == "peak" else operations) / best[name] for name in best}


def main() -> None:
    """Print a table of the rates."""
    torch.set_num_threads(1)
    print(f"{library.instructions()}; fast: {fast.kind()} ({fast.reason()})")
    for shape in SHAPES:
        found = rates(shape, float(sys.argv[1]) if len(sys.argv) > 1 else 0.5)
        turned_a, turned_b, m, k, n = shape
        cells = [f"{name} {rate:4.0f} ({rate / found['peak']:.2f})" for name, rate in found.items() if name != "peak"]
        gain = f" bf16/exact {found['bf16'] / found['exact']:.2f}" if "bf16" in found else ""
        chosen = " rounded" if fast.worth(m, n, k) else ""
        print(f"{m}{'T' * turned_a} x {k} x {n}{'T' * turned_b} | {' | '.join(cells)} |{gain}{chosen}", flush=True)


if __name__ == "__main__":
    main()
