"""Counts of the matrix products of a grid's runs: the work that any program of these shapes has to do."""

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from benchmarks.grids import Grid
from benchmarks.peers.task import FINAL
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
