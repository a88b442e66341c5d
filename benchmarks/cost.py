"""Measurement of the seconds that `plan.rates` and `plan.cost` estimate training times from, and of the estimates.

    python -m benchmarks.cost                          # a minute; BNBENCH_ARITHMETIC=avx2 for another instruction set
    python -m benchmarks.cost --project FOLDER         # estimates against the wall times recorded there

All times are those of the processor, so that other work on the machine hardly changes them.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.grids import ROOT
from bnbench.arithmetic import library
from bnbench.core import yaml_reader
from bnbench.core.paths import Project
from bnbench.data.prepared import Part, Prepared
from bnbench.params.dataset_schema import Dataset, Split
from bnbench.params.run_schema import Run
from bnbench.plan import cost, rates
from bnbench.plan.plan import Plan
from bnbench.store import records
from bnbench.training import worker
from bnbench.training.train import start, train

Measure = Callable[[], float]  # seconds of one unit of an operation
LEAST = 0.02  # seconds that an operation is repeated for
N, K, C = 60, 784, 112  # a mini-batch, inputs, and columns in whole vectors
IMAGES, SIDE, FILTERS = 32, 16, 16  # of a conv layer


def main() -> None:
    """Print the table's row, the seconds of Python, and estimates relative to measured times."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--project", type=Path, help="a project folder: compare its recorded wall times alone")
    arguments = options.parse_args()
    if arguments.project:
        recorded(arguments.project)
        return
    if library.lacking():
        sys.exit(f"nothing to measure: {library.lacking()}")
    torch.set_num_threads(1)
    worker._reuse_memory()
    print(f"{cost.cpu()}, {library.instructions()}")
    row = rates.Rates(**{name: measure() for name, measure in OPERATIONS.items()})
    print(f"plan/rates.py, picoseconds: Rates({', '.join(f'{1e12 * seconds:.3g}' for seconds in row)})")
    for line in python_seconds(row):
        print(f"plan/cost.py, {line}")
    for settings in CASES:
        measured = trained(settings)
        ratio = estimate(settings, row) / measured
        print(f"{settings['model']:>24} {settings}: {measured * 1e3:.1f} ms, estimated {ratio:.2f} of it")


def called(op: str, sizes: list[int], arrays: list[Tensor], constants: tuple[float, ...] = ()) -> float:
    """Return the least seconds of a call of a compiled operation, of five times as often as fills `LEAST`."""
    calls, steps = library.listed([library.call(op, sizes, arrays, constants)]), 1
    while (last := _replayed(calls, steps)) < LEAST:
        steps *= 2
    return min(last, *(_replayed(calls, steps) for _ in range(4))) / steps


def _replayed(calls: Any, steps: int) -> float:
    started = time.process_time()
    library.replay(calls, steps)
    return time.process_time() - started


def product(rows: int, inner: int, columns: int, turned: int = 0) -> float:
    """Return the seconds of a matrix product, its second factor stored transposed if `turned`."""
    a, b, c = torch.randn(rows, inner), torch.randn(inner, columns), torch.empty(rows, columns)
    last = inner if turned else columns
    sizes = [0, turned, rows, columns, inner, inner, last, columns]
    return called("product", sizes, [a, b, c, torch.empty(64 * (inner + 1))])


def outputs() -> float:
    """Return the seconds of an element of a product's result beside its multiplications."""
    rows, inner = 512, 4
    return max(0.0, product(rows, inner, C) / (rows * C) - inner * multiplications())


def multiplications() -> float:
    """Return the seconds of a multiplication within a product."""
    return product(N, K, C) / (N * K * C)


def turned() -> float:
    """Return the seconds of an element of a factor that is transposed beforehand."""
    return max(0.0, product(N, 112, C, turned=1) - product(N, 112, C)) / (112 * C)


def elementwise(op: str, inputs: int) -> float:
    """Return the seconds of an elementwise operation per value."""
    return called(op, [N * C], [torch.rand(N * C) for _ in range(inputs + 1)]) / (N * C)


def normalised(training: bool) -> float:
    """Return the seconds of batch norm per value: with known statistics, or with its own and the way back."""
    x, normal, y = (torch.randn(N, C) for _ in range(3))
    mean, scale, gamma, beta = torch.zeros(C), torch.ones(C), torch.ones(C), torch.zeros(C)
    forward = called("normalise", [1, N, C, int(training), C], [x, mean, scale, gamma, beta, normal, y])
    if not training:
        return forward / (N * C)
    statistics_of = called("moments", [1, N, C], [x, mean, scale])
    back = called("normalise_back", [1, N, C, 1], [y, normal, torch.ones(C), mean, beta, x])
    return (forward + statistics_of + back) / (N * C)


def pooled(back: bool) -> float:
    """Return the seconds of max pooling per value of its input."""
    x, y = torch.rand(IMAGES, SIDE, SIDE, FILTERS), torch.empty(IMAGES, SIDE // 2, SIDE // 2, FILTERS)
    sizes = [IMAGES, SIDE, SIDE, FILTERS, 2]
    seconds = called("pool", sizes, [x, y])
    return (seconds + (called("pool_back", sizes, [y, x, y, torch.empty_like(x)]) if back else 0)) / x.numel()


def loss() -> float:
    """Return the seconds of softmax cross-entropy and its gradient per logit."""
    arrays = [torch.randn(N, 10), torch.zeros(N), torch.empty(N, 10), torch.empty(1), torch.empty(1)]
    return called("cross_entropy", [N, 10], arrays, (1.0,)) / (10 * N)


def updated(op: str, constants: tuple[float, ...]) -> float:
    """Return the seconds of an update per weight."""
    weights = [torch.randn(K * C), torch.full((K * C,), 1e-3), torch.zeros(K * C), torch.ones(K * C)]
    scalars = [torch.full((1,), 1e-6), torch.ones(1)]
    arrays = [*weights, *scalars] if op == "adam" else [*weights[:3], scalars[0]]
    return called(op, [K * C], arrays, constants) / (K * C)


def gathered() -> float:
    """Return the seconds of a value of a mini-batch, gathered from images that fit no cache."""
    images, out = torch.zeros(50_000, K), torch.empty(N, K)
    rows = torch.randperm(len(images))[: 400 * N].view(400, N)
    started = time.process_time()
    for few in rows:
        torch.index_select(images, 0, few, out=out)
    return (time.process_time() - started) / (rows.numel() * K)


OPERATIONS: dict[str, Measure] = {
    "multiply": multiplications,
    "output": outputs,
    "turn": turned,
    "normalise": lambda: normalised(training=False),
    "normalise_training": lambda: normalised(training=True),
    "piecewise": lambda: elementwise("relu", 1),
    "piecewise_training": lambda: elementwise("relu", 1) + elementwise("relu_back", 2),
    "smooth": lambda: elementwise("sigmoid", 1),
    "smooth_training": lambda: elementwise("sigmoid", 1) + elementwise("sigmoid_back", 2),
    "pool": lambda: pooled(back=False),
    "pool_training": lambda: pooled(back=True),
    "copy": lambda: elementwise("multiply", 2),
    "logit": loss,
    "sgd": lambda: updated("sgd", (0.0,)),
    "adam": lambda: updated("adam", (0.9, 0.1, 0.999, 0.001, 1e-8)),
    "gather": gathered,
}


def made(shape: tuple[int, int, int], train_images: int, part: int) -> tuple[Prepared, Dataset]:
    """Return random images with their description as a data set."""
    dice = np.random.default_rng(0)

    def of(count: int) -> Part:
        return Part(dice.integers(0, 256, (count, *shape), dtype=np.uint8), dice.integers(0, 10, count))

    prepared = Prepared("x", "0" * 16, 10, shape, of(train_images), of(part), of(part))
    split = Split(valid=part, test=part, seed=0)
    about = {"title": "x", "format": "idx", "licence": "x", "classes": 10, "images": train_images + 2 * part}
    return prepared, Dataset.model_validate({**about, "shape": shape, "split": split})


def trained(settings: dict[str, Any], count: int = 4) -> float:
    """Return the seconds of a run, trained in a pack of so many of one seed."""
    settings = dict(settings)
    data, _ = made(settings.pop("shape"), settings.pop("images"), settings.pop("part"))
    runs = [a_run(settings | {"learning_rate": 0.01 * (1 + i)}) for i in range(count)]
    pack = start([f"{i:016x}" for i in range(count)], runs, data)
    started = time.process_time()
    train(pack, lambda _pack: None, lambda _outcome: None)
    return (time.process_time() - started) / count


def a_run(settings: dict[str, Any]) -> Run:
    """Return a run with the defaults of params.yaml for what is not given."""
    return Run.model_validate(dict(yaml_reader.read(ROOT / "params.yaml").values["training"]) | settings)


TINY: dict[str, Any] = {"shape": (1, 8, 8), "images": 1200, "part": 250, "model": "64-10", "batch_size": 60}
CASES: list[dict[str, Any]] = [
    TINY | {"model": "64-100-100-10", "activation": "sigmoid", "norm": "batch", "batch_size": 16, "epochs": 8},
    TINY | {"model": "64-100-100-10", "activation": "relu", "norm": "none", "batch_size": 2, "epochs": 2},
    TINY | {"model": "64-100-10", "activation": "tanh", "norm": "layer", "optimizer": "adam", "epochs": 20},
    TINY | {"model": "8C3-P2-16C3-P2-10D", "activation": "relu", "norm": "batch", "optimizer": "adam", "epochs": 2},
    TINY | {"model": "8C3-P2-16C3-P2-10D", "activation": "relu", "norm": "group", "norm_groups": 4, "epochs": 2},
    {"shape": (1, 28, 28), "images": 12_000, "part": 2000, "model": "784-100-100-10", "batch_size": 60, "epochs": 2}
    | {"activation": "sigmoid", "norm": "batch", "optimizer": "sgd"},
    {"shape": (1, 28, 28), "images": 6000, "part": 1000, "model": "784-392-10", "batch_size": 100, "epochs": 2}
    | {"activation": "relu", "norm": "batch", "optimizer": "adam"},
    {"shape": (3, 32, 32), "images": 640, "part": 200, "model": "16K-2C2B-10D", "batch_size": 32, "epochs": 1}
    | {"activation": "relu", "norm": "batch", "optimizer": "adam"},
]


def estimate(settings: dict[str, Any], row: rates.Rates) -> float:
    """Return the estimated seconds of a run of `CASES`."""
    given = dict(settings)
    _, dataset = made(given.pop("shape"), given.pop("images"), given.pop("part"))
    return cost.run_seconds(a_run(given), dataset, 1, row)


def python_seconds(row: rates.Rates) -> Iterator[str]:
    """Yield what a run, an evaluation and a block of steps take beside the compiled operations."""
    once, often = (trained(TINY | {"epochs": 40, "evaluate_every": steps}, 8) for steps in (20 * 40, 20))
    few, many = (trained(TINY | {"steps": steps, "evaluate_every": steps}, 8) for steps in (20, 200))
    _, dataset = made(TINY["shape"], TINY["images"], TINY["part"])
    run = a_run({"model": TINY["model"], "batch_size": TINY["batch_size"]})
    step = cost.step_seconds(run, dataset.shape, row)
    passed = TINY["part"] / 100 * cost.forward_seconds(run, dataset.shape, 100, row)
    evaluation = (often - once) / 39 - passed
    yield f"seconds: EVALUATION_SECONDS {evaluation:.2g} (a block of steps included)"
    yield f"seconds: BLOCK_SECONDS {max(0.0, (many - few - 180 * step) / 9):.2g}"
    yield f"seconds: RUN_SECONDS {few - evaluation - 20 * step:.2g} (beside files)"


def recorded(folder: Path) -> None:
    """Print how the estimates of a project's recorded packs relate to their wall times, by study of its plan."""
    project = Project(folder)
    plan = Plan(folder / "params.yaml", root=folder)
    ratios: dict[str, list[float]] = {}
    for _, record in records.readable(project.timings):
        runs = {name: plan.runs[name] for name in record["runs"] if name in plan.runs}
        if len(runs) == len(record["runs"]):
            some = next(iter(runs.values()))
            estimate = plan._pack(runs).seconds
            kind = f"{some.dataset}, {some.model}, {some.norm}, {some.optimizer}, batch {some.batch_size}"
            ratios.setdefault(kind, []).append(estimate / record["seconds"])
            ratios.setdefault("all packs", []).append(estimate / record["seconds"])
    for kind, found in sorted(ratios.items(), key=lambda item: statistics.median(item[1])):
        print(f"{statistics.median(found):.2f} ({min(found):.2f}-{max(found):.2f}, {len(found)} packs): {kind}")


if __name__ == "__main__":
    main()
