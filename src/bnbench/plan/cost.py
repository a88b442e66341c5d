"""Estimates of a pack's wall time and memory, from arithmetic counted in the model; imports no torch.

The time is arithmetic at the measured rate of matrix products plus a fixed time per layer and step. It is then
corrected by the wall times of packs trained so far on this machine, or on a cluster's nodes.
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
from bnbench.params.run_schema import Run
from bnbench.plan.programs import predicts_by_program
from bnbench.store import records

# Overhead in seconds of one hidden layer (forward, norm, activation, backward) in one step. Measured on one core at
# 2.6 GHz: a step of 15 runs of 64-100-100-10 with batch norm, batch 4, took 0.87 ms besides its arithmetic.
LAYER_SECONDS = 2.5e-4
# A pack is wide enough when the overhead is at most this share of its arithmetic, at this many operations per second.
OVERHEAD_SHARE, NOMINAL_RATE = 0.05, 1e11
# Limits on the runs of a pack, whatever the cache: more were no faster, fewer were slower for every dense net tried.
# Between the limits, weights and gradients of all runs fill this many second-level caches of a core. Microseconds per
# run and step of 784-100-100-10 on a core with 1 MiB: 469 with 6 runs, 439 with 8, 437 with 10, 452 with 16.
WIDEST, NARROWEST, CACHES = 32, 8, 8
# On a GPU, where a step is one CUDA graph: seconds that a layer's kernels take on no data, and the largest number of
# runs in a pack, which memory limits further. Both are guesses, not measurements; no result depends on them.
GPU_LAYER_SECONDS, GPU_WIDEST = 5e-5, 128
# Small products and convolutions, norms and activations run below the rate of large products: measured 0.2 to 0.5.
EFFICIENCY = 0.3
# fp32 operations per second of one large GPU: a guess, 0.3 of an H200's nominal 67e12. Measured wall times of packs
# on a GPU replace it.
GPU_RATE = 2e13
START_SECONDS = 3.0  # a worker's imports

# Peak resident memory, fitted to seven shapes from 400 to 3,700 MiB on a CPU with torch 2.13: the estimates were 0.87
# to 1.08 of the measured peaks.
PROCESS_MIB = 375  # Python, torch and the libraries that they load
IMAGE_BYTES = 7  # per value of an image: as stored (1), in training order (1), as fp32 (4), and one temporary (1)
LIVE_TRAINING = 4.5  # values per output of a layer: saved for the backward pass, and its gradients
LIVE_EVALUATING = 4  # values per output of the largest layer
EVALUATED = 2**21  # values of the largest output in one chunk of an evaluation: pack.CHUNK


def flops(model: str, shape: architecture.Shape) -> int:
    """Return the floating-point operations of one image's forward pass; training takes three times as many."""
    return sum(2 * row.multiplications for row in architecture.trace(architecture.parse(model), shape))


def steps(run: Run, dataset: Dataset, times: int = 1) -> int:
    """Return the training steps of a run.

    Args:
        run: the run.
        dataset: its data set.
        times: the factor by which augmentation enlarges the training set.
    """
    images = min(run.train_images or dataset.train_images, dataset.train_images)
    return run.steps or images * times // run.batch_size * run.epochs


@cache
def rate() -> float:
    """Return the floating-point operations per second of matrix products on one thread; measuring takes about 20 ms."""
    a = np.ones((256, 256), dtype=np.float32)
    with threadpool_limits(1, user_api="blas"):
        a @ a
        start = time.perf_counter()
        for _ in range(20):
            a @ a
        return 20 * 2 * 256**3 / (time.perf_counter() - start)


@cache
def second_level() -> int:
    """Return the bytes of a core's second-level cache; 1 MiB if the system does not report it."""
    path = Path("/sys/devices/system/cpu/cpu0/cache/index2/size")
    size = path.read_text().strip() if path.exists() else "1024K"
    return int(size.rstrip("KM")) * {"K": 2**10, "M": 2**20}.get(size[-1], 1)


def width(run: Run, dataset: Dataset, device: str = "cpu") -> int:
    """Return the largest useful number of runs in a pack of a run's shape.

    It changes how long training takes, never a result.

    Args:
        run: one of the runs.
        dataset: their data set.
        device: `cpu`, where the cache limits the number, or `cuda`, where memory does: the plan halves such packs.
    """
    on_gpu = device == "cuda"
    layers = len(architecture.parse(run.model).layers)
    arithmetic = 3 * flops(run.model, dataset.shape) * run.batch_size / (GPU_RATE if on_gpu else NOMINAL_RATE)
    overhead = layers * (GPU_LAYER_SECONDS if on_gpu else LAYER_SECONDS)
    enough = math.ceil(overhead / (OVERHEAD_SHARE * arithmetic))
    if on_gpu:
        return min(enough, GPU_WIDEST)
    fit = CACHES * second_level() // (2 * 4 * parameters(run.model, dataset.shape))
    return min(enough, WIDEST, max(fit, NARROWEST))


def seconds(runs: list[Run], dataset: Dataset, times: int = 1, operations: float | None = None) -> float:
    """Return the estimated wall time of a pack in one worker, before `correction`.

    Args:
        runs: the pack's runs, of one shape.
        dataset: their data set.
        times: the factor by which augmentation enlarges the training set.
        operations: floating-point operations per second of the worker; None: those of this machine's processor.
    """
    run = runs[0]
    count = steps(run, dataset, times)
    layers = len(architecture.parse(run.model).layers)
    arithmetic = len(runs) * 3 * flops(run.model, dataset.shape) * count * run.batch_size
    return count * layers * LAYER_SECONDS + arithmetic / (operations or EFFICIENCY * rate())


def outputs(model: str, shape: architecture.Shape) -> list[int]:
    """Return the number of values of each layer's output for one image."""
    return [row.values for row in architecture.trace(architecture.parse(model), shape)]


def parameters(model: str, shape: architecture.Shape) -> int:
    """Return the number of weights and biases of one network; norms, at most four numbers per channel, do not count."""
    rows = architecture.trace(architecture.parse(model), shape)
    return sum(row.weights + row.output[0] for row in rows if row.weights)


def memory(runs: list[Run], dataset: Dataset, times: int = 1) -> float:
    """Return the estimated peak resident memory, in MiB, of the process that trains a pack.

    Without a C compiler a dense net takes up to a third more.

    Args:
        runs: the pack's runs, of one shape.
        dataset: their data set.
        times: the factor by which augmentation enlarges the training set.
    """
    run = runs[0]
    image, sizes = math.prod(dataset.shape), outputs(run.model, dataset.shape)
    test = (
        dataset.split.test if isinstance(dataset.split.test, int) else dataset.images // 6
    )  # published: about a sixth
    valid = dataset.split.valid if isinstance(dataset.split.valid, int) else 0  # then the test images are used
    data = IMAGE_BYTES * image * (times * dataset.train_images + valid + test)
    copies = 2 + {"sgd": 1, "adam": 2}[run.optimizer] + (run.keep_weights == "best")
    weights = 4 * copies * parameters(run.model, dataset.shape)
    chunk = min(max(1, EVALUATED // max(image, *sizes)), dataset.train_images)
    training = len(runs) * run.batch_size * (image + LIVE_TRAINING * sum(sizes))
    at_once = 1 if predicts_by_program(run) else len(runs)  # runs that an evaluation holds
    evaluating = at_once * chunk * (image + LIVE_EVALUATING * max(sizes))
    return PROCESS_MIB + (data + len(runs) * weights + 4 * max(training, evaluating)) / 2**20


def makespan(seconds: list[float], workers: int) -> float:
    """Return the time until all packs are done if each, longest first, goes to the first free worker."""
    ends = [0.0] * workers
    for length in sorted(seconds, reverse=True):
        heapreplace(ends, ends[0] + length)
    return max(ends)


def correction(timings: Path, device: str | None = None) -> float | None:
    """Return the median ratio of measured to estimated seconds over the packs trained so far; None before the first.

    Args:
        timings: the folder of wall times.
        device: count packs trained on this kind of device, on any machine; None: on this machine's processor.
    """
    found = [record for _, record in records.readable(timings)]
    chosen = [r for r in found if (r["cpu"] == cpu() if device is None else r["device"] == device)]
    return statistics.median(r["seconds"] / r["estimated"] for r in chosen) if chosen else None


@cache
def cpu() -> str:
    """Return the processor's name as the system reports it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
