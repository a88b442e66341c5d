"""What a pack costs: arithmetic counted from the model, seconds and memory estimated. No torch here.

The estimate is arithmetic at the measured rate of matrix products plus a fixed time a step for each layer; its
error is then corrected by what packs trained on this machine, or on a cluster's nodes, took.
"""

import math
import platform
import statistics
import time
from functools import cache
from heapq import heapreplace
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from bnbench.params import architecture
from bnbench.params.dataset_schema import Dataset
from bnbench.params.layers.activations import ACTIVATIONS
from bnbench.params.layers.norms import NORMS
from bnbench.params.run_schema import Run
from bnbench.store import records

# seconds for the calls of one hidden layer (forward, norm, activation, backward) in one step; seen on one core at
# 2.6 GHz: a step of 15 runs of 64-100-100-10 with batch norm, batch 4, took 0.87 ms beside its arithmetic
LAYER_SECONDS = 2.5e-4
# a pack is wide enough where these calls take no more than this share of its arithmetic, at so many operations a second
CALLS_SHARE, NOMINAL_RATE = 0.05, 1e11
# Runs a pack whatever the cache: more were no faster, fewer slower in every dense net tried. Between them, as many as
# have weights and gradients in so many times a core's second-level cache: 784-100-100-10 took us a run and step, on a
# core with 1 MiB: 469 with 6 runs, 439 with 8, 437 with 10, 452 with 16.
WIDEST, NARROWEST, CACHES = 32, 8, 8
# On a GPU, where a step is one graph: seconds for a layer's kernels that find nothing to do, and runs a pack at most,
# less where its memory ends. Both are guesses until somebody has measured; no result depends on them.
GPU_LAYER_SECONDS, GPU_WIDEST = 5e-5, 128
# small products and convolutions, norms and activations run below the rate of large products: seen 0.2 to 0.5
EFFICIENCY = 0.3
# fp32 operations a second of one large GPU: a guess, 0.3 of the 67e12 that an H200 is sold with; what packs took on
# a GPU replaces it
GPU_RATE = 2e13
START_SECONDS = 3.0  # a worker's imports

# Peak resident memory, fitted to seven shapes from 400 to 3,700 MiB on a CPU with torch 2.13: 0.87 to 1.08 of what
# was measured.
PROCESS_MIB = 375  # Python, torch and what they bring
IMAGE_BYTES = 7  # a value of an image: as stored, in the order of training, as fp32, and one while that is made
LIVE_TRAINING = 4.5  # values kept for backward, and its own, per output of a layer
LIVE_EVALUATING = 4
EVALUATED = 2**21  # values of the largest output in a chunk that is evaluated at once: pack.CHUNK


def flops(model: str, shape: architecture.Shape) -> int:
    """Multiplications and additions of one image forward; training takes three times as many."""
    return sum(2 * row.multiplications for row in architecture.trace(architecture.parse(model), shape))


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


@cache
def second_level() -> int:
    """Bytes of a core's second-level cache; 1 MiB where the system does not tell."""
    told = Path("/sys/devices/system/cpu/cpu0/cache/index2/size")
    size = told.read_text().strip() if told.exists() else "1024K"
    return int(size.rstrip("KM")) * {"K": 2**10, "M": 2**20}.get(size[-1], 1)


def width(run: Run, dataset: Dataset, device: str = "cpu") -> int:
    """How many runs of a shape a pack should hold at most: it changes how long they take, never a result.

    Args:
        run: one of them.
        dataset: theirs.
        device: `cpu`, whose cache is a limit, or `cuda`: there the memory is, by which the plan halves packs.
    """
    on_gpu = device == "cuda"
    layers = len(architecture.parse(run.model).layers)
    arithmetic = 3 * flops(run.model, dataset.shape) * run.batch_size / (GPU_RATE if on_gpu else NOMINAL_RATE)
    calls = layers * (GPU_LAYER_SECONDS if on_gpu else LAYER_SECONDS)
    enough = math.ceil(calls / (CALLS_SHARE * arithmetic))
    if on_gpu:
        return min(enough, GPU_WIDEST)
    fit = CACHES * second_level() // (2 * 4 * parameters(run.model, dataset.shape))
    return min(enough, WIDEST, max(fit, NARROWEST))


def seconds(runs: list[Run], dataset: Dataset, times: int = 1, operations: float | None = None) -> float:
    """Estimated time of a pack of `runs` in one worker, before the machine's own correction.

    Args:
        runs: of one shape.
        dataset: theirs.
        times: how many times as large their augmentation makes the training set.
        operations: that the worker does a second; None: those of this machine's processor.
    """
    run = runs[0]
    count = steps(run, dataset, times)
    layers = len(architecture.parse(run.model).layers)
    arithmetic = len(runs) * 3 * flops(run.model, dataset.shape) * count * run.batch_size
    return count * layers * LAYER_SECONDS + arithmetic / (operations or EFFICIENCY * rate())


def outputs(model: str, shape: architecture.Shape) -> list[int]:
    """Values of each layer's output for one image."""
    return [row.values for row in architecture.trace(architecture.parse(model), shape)]


def parameters(model: str, shape: architecture.Shape) -> int:
    """Weights and biases of one network; norms add four numbers a channel at most, which is not counted."""
    rows = architecture.trace(architecture.parse(model), shape)
    return sum(row.weights + row.output[0] for row in rows if row.weights)


def memory(runs: list[Run], dataset: Dataset, times: int = 1) -> float:
    """Estimated peak of resident memory, in MiB, of the process that trains a pack of `runs`.

    Where there is no compiler a dense net takes up to a third more.

    Args:
        runs: of one shape.
        dataset: theirs.
        times: how many times as large their augmentation makes the training set.
    """
    run = runs[0]
    image, sizes = math.prod(dataset.shape), outputs(run.model, dataset.shape)
    test = dataset.split.test if isinstance(dataset.split.test, int) else dataset.images // 6  # published: about
    valid = dataset.split.valid if isinstance(dataset.split.valid, int) else 0  # the test images serve
    data = IMAGE_BYTES * image * (times * dataset.train_images + valid + test)
    copies = 2 + {"sgd": 1, "adam": 2}[run.optimizer] + (run.keep_weights == "best")
    weights = 4 * copies * parameters(run.model, dataset.shape)
    chunk = min(max(1, EVALUATED // max(image, *sizes)), dataset.train_images)
    training = len(runs) * run.batch_size * (image + LIVE_TRAINING * sum(sizes))
    at_once = 1 if _recorded(run) else len(runs)  # runs that are evaluated
    evaluating = at_once * chunk * (image + LIVE_EVALUATING * max(sizes))
    return PROCESS_MIB + (data + len(runs) * weights + 4 * max(training, evaluating)) / 2**20


def _recorded(run: Run) -> bool:
    """Whether a run is evaluated by recorded passes, where there is a compiler: see `recorded.RECORDED`."""
    dense = all(isinstance(layer, architecture.Dense) for layer in architecture.parse(run.model).layers)
    compiled = NORMS[run.norm].compiled and ACTIVATIONS[run.activation].compiled
    return dense and compiled and run.population == "moving" and not run.dropout and run.backend == "torch"


def makespan(seconds: list[float], workers: int) -> float:
    """Time until the last pack ends when each goes, longest first, to the worker that is free first."""
    ends = [0.0] * workers
    for length in sorted(seconds, reverse=True):
        heapreplace(ends, ends[0] + length)
    return max(ends)


def correction(timings: Path, device: str | None = None) -> float | None:
    """Measured over estimated seconds of the packs trained so far, their median; None before the first.

    Args:
        timings: the folder of wall times.
        device: packs trained on this kind of device, wherever; None: on this machine's processor.
    """
    told = [record for _, record in records.whole(timings)]
    mine = [r for r in told if (r["cpu"] == cpu() if device is None else r["device"] == device)]
    return statistics.median(r["seconds"] / r["estimated"] for r in mine) if mine else None


@cache
def cpu() -> str:
    """The processor's name, as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
