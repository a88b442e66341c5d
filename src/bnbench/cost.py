"""What a pack costs: arithmetic counted from the model, seconds estimated for this machine. No torch here.

The estimate is arithmetic at the measured rate of matrix products plus a fixed time a step for each layer; its
error is then corrected by what packs trained on this machine took.
"""

import platform
import statistics
import time
from functools import cache
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from bnbench import notation
from bnbench.files import read_json
from bnbench.schema import Dataset, Run

# seconds for the calls of one hidden layer (forward, norm, activation, backward) in one step; seen on one core at
# 2.6 GHz: a step of 15 runs of 64-100-100-10 with batch norm, batch 4, took 0.87 ms beside its arithmetic
LAYER_SECONDS = 2.5e-4
# small products and convolutions, norms and activations run below the rate of large products: seen 0.2 to 0.5
EFFICIENCY = 0.3
START_SECONDS = 3.0  # a worker's imports


def flops(model: str, shape: notation.Shape) -> int:
    """Multiplications and additions of one image forward; training takes three times as many."""
    channels, height, width = shape
    total, inputs = 0, 0
    for layer in notation.parse(model).layers:
        if isinstance(layer, notation.Conv):
            total += 2 * channels * layer.size**2 * layer.kernels * height * width
            channels = layer.kernels
        elif isinstance(layer, notation.Pool):
            height, width = height // layer.size, width // layer.size
        elif isinstance(layer, notation.Dense):
            inputs = inputs or channels * height * width
            total += 2 * inputs * layer.units
            inputs = layer.units
    return total


def steps(run: Run, dataset: Dataset, times: int = 1) -> int:
    """Training steps of a run whose augmentation makes the training set so many times as large."""
    images = min(run.train_images or dataset.train_images, dataset.train_images)
    return run.steps or images * times // run.batch_size * run.epochs


@cache
def rate() -> float:
    """Floating-point operations a second of matrix products on one thread of this machine: measured in some 20 ms."""
    a = np.ones((256, 256), dtype=np.float32)
    with threadpool_limits(1, user_api="blas"):
        a @ a
        start = time.perf_counter()
        for _ in range(20):
            a @ a
        return 20 * 2 * 256**3 / (time.perf_counter() - start)


def seconds(runs: list[Run], dataset: Dataset, times: int = 1) -> float:
    """Estimated time of a pack of `runs` in one worker, before the machine's own correction."""
    run = runs[0]
    count = steps(run, dataset, times)
    layers = len(notation.parse(run.model).layers)
    arithmetic = len(runs) * 3 * flops(run.model, dataset.shape) * count * run.batch_size
    return count * layers * LAYER_SECONDS + arithmetic / (EFFICIENCY * rate())


def correction(timings: Path) -> float:
    """Measured over estimated seconds of the packs trained on this machine, their median; 1 before the first."""
    records = [read_json(path) for path in timings.glob("*.json")] if timings.is_dir() else []
    ratios = [record["seconds"] / record["estimated"] for record in records if record["cpu"] == cpu()]
    return statistics.median(ratios) if ratios else 1.0


@cache
def cpu() -> str:
    """The processor's name, as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
