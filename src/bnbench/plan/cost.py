"""Estimates of training time, from the operations counted in the model and their seconds; imports no torch.

A run's time is that of its compiled calls, whatever its pack. Estimates are corrected by the wall times of packs
trained so far on this machine, or on a cluster's nodes.
"""

import math
import platform
import statistics
from functools import cache
from heapq import heapreplace
from pathlib import Path

from bnbench.params import architecture
from bnbench.params.architecture import Conv, Dense, Drop, Lrn, Pool, TracedLayer
from bnbench.params.dataset_schema import Dataset
from bnbench.params.run_schema import Run
from bnbench.plan.packs import Width
from bnbench.plan.rates import NOMINAL, Rates, here
from bnbench.store import records

# Seconds of Python on one core: of a pack (locks, provenance, records), of a run in it (recording, files), of one
# evaluation of a run, of a block of a run's steps. `python -m benchmarks.cost` measures them, files excepted.
PACK_SECONDS, RUN_SECONDS, EVALUATION_SECONDS, BLOCK_SECONDS = 0.03, 0.012, 2e-4, 1e-4
# Seconds per evaluation of a run with a probe; `smoothness` recomputes the loss along the gradient of many steps.
PROBE_SECONDS, LONG_PROBES = 2e-3, {"smoothness": 0.08}
BLOCK_VALUES = 2**21  # of the images of a block of steps
PREPARATION = 1e-8  # seconds per value of the images of a data set: read, checked, preprocessed
REFERENCE_SECONDS = 1e-4  # of a layer in one step of `backend: numpy`
SMOOTH = {"sigmoid", "tanh"}  # activations with an exponential
RESPONSE = 4  # a local response norm takes as long as so many activations with an exponential: it has a power
# Factor of nets whose arrays of a step, in bytes, exceed a core's second-level cache: measured 1.15 to 1.4.
SPILLED, CACHE = 1.25, 2**20
EVALUATED = 100  # images at a time for which an evaluation is estimated; their number hardly matters
STATES = {"sgd": 2, "adam": 4}  # arrays of the size of the weights that a step reads or writes
START_SECONDS = 3.0  # a worker's imports

# A pack is limited to this many runs, and to these seconds on the nominal machine: a tenth of a cluster's usual job. A
# wider one saves nothing. `packs.divided` makes it narrower where workers would wait.
WIDEST, LONGEST = 32, 120.0
# Bytes of a mini-batch from which on packs are of one seed: a block of steps holds the mini-batches of all seeds, and
# becomes short. Microseconds per run and step of 784-100-100-10, batch 60: 535 alone, 479 with 6 runs of a seed, 565
# with 3 of each of 10 seeds, 654 with 32 seeds.
LARGE_BATCH = 2**15
# On a GPU, where a step is one CUDA graph, a pack is wide enough when the seconds that a layer's kernels take on no
# data are at most this share of its arithmetic. All are guesses, not measurements; no result depends on them.
GPU_LAYER_SECONDS, OVERHEAD_SHARE, GPU_WIDEST = 5e-5, 0.05, 128
# fp32 operations per second of one large GPU: a guess, 0.3 of an H200's nominal 67e12. Measured wall times of packs
# on a GPU replace it.
GPU_RATE = 2e13


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
    return run.steps or epoch_steps(run, dataset, times) * run.epochs


def epoch_steps(run: Run, dataset: Dataset, times: int = 1) -> int:
    """Return the training steps of an epoch."""
    return _training_images(run, dataset) * times // run.batch_size


def _training_images(run: Run, dataset: Dataset) -> int:
    return min(run.train_images or dataset.train_images, dataset.train_images)


def width(run: Run, dataset: Dataset, device: str = "cpu", times: int = 1) -> Width:
    """Return the limits of a pack of a run's shape.

    It changes how long training takes, never a result, and is the same on every machine.

    Args:
        run: one of the runs.
        dataset: their data set.
        device: `cpu`, or `cuda`, where memory limits the number too: the plan halves such packs.
        times: the factor by which augmentation enlarges the training set.
    """
    if device == "cuda":
        arithmetic = 3 * flops(run.model, dataset.shape) * run.batch_size / GPU_RATE
        overhead = len(architecture.parse(run.model).layers) * GPU_LAYER_SECONDS
        return Width(min(math.ceil(overhead / (OVERHEAD_SHARE * arithmetic)), GPU_WIDEST))
    runs = max(1, min(WIDEST, int(LONGEST / run_seconds(run, dataset, times, NOMINAL))))
    return Width(runs, one_seed=4 * run.batch_size * math.prod(dataset.shape) > LARGE_BATCH)


def seconds(runs: list[Run], dataset: Dataset, times: int = 1) -> float:
    """Return the estimated wall time of a pack in one worker of this machine, before `correction`.

    Args:
        runs: the pack's runs, of one shape.
        dataset: their data set.
        times: the factor by which augmentation enlarges the training set.
    """
    prepared = PREPARATION * math.prod(dataset.shape) * (dataset.images + (times - 1) * dataset.train_images)
    return PACK_SECONDS + prepared + len(runs) * run_seconds(runs[0], dataset, times, here())


def gpu_seconds(runs: list[Run], dataset: Dataset, times: int = 1) -> float:
    """Return the guessed wall time of a pack on one large GPU; arguments as for `seconds`."""
    run = runs[0]
    count, layers = steps(run, dataset, times), len(architecture.parse(run.model).layers)
    arithmetic = len(runs) * 3 * flops(run.model, dataset.shape) * run.batch_size / GPU_RATE
    return count * (layers * GPU_LAYER_SECONDS + arithmetic)


def run_seconds(run: Run, dataset: Dataset, times: int, rates: Rates) -> float:
    """Return the estimated seconds of one run on a core with these rates.

    Args:
        run: the run.
        dataset: its data set.
        times: the factor by which augmentation enlarges the training set.
        rates: seconds of the operations.
    """
    count = steps(run, dataset, times)
    interval = epoch_steps(run, dataset, times) if run.evaluate_every == "epoch" else run.evaluate_every
    evaluations = math.ceil(count / max(1, interval))
    values = math.prod(dataset.shape) * run.batch_size
    blocks = max(evaluations, count / max(1, BLOCK_VALUES // values))
    python = RUN_SECONDS + blocks * BLOCK_SECONDS
    python += evaluations * (EVALUATION_SECONDS + sum(LONG_PROBES.get(probe, PROBE_SECONDS) for probe in run.probes))
    if run.backend == "numpy":
        python += count * REFERENCE_SECONDS * len(architecture.parse(run.model).layers)
    passed = _evaluated(run, dataset, evaluations) / EVALUATED * forward_seconds(run, dataset.shape, EVALUATED, rates)
    return python + count * step_seconds(run, dataset.shape, rates) + passed


def _evaluated(run: Run, dataset: Dataset, evaluations: int) -> int:
    """Return the number of images that pass the network outside training: as `training.train` evaluates."""
    split = dataset.split
    test = split.test if isinstance(split.test, int) else dataset.images // 6  # published: about a sixth
    valid = split.valid if isinstance(split.valid, int) else test
    each = valid + (test if run.evaluate_test else 0)
    return evaluations * each + _training_images(run, dataset) + test


def step_seconds(run: Run, shape: architecture.Shape, rates: Rates) -> float:
    """Return the seconds of one training step: mini-batch, passes, loss and update."""
    rows = architecture.trace(architecture.parse(run.model), shape)
    weighted = [row for row in rows if row.weights]
    images = run.batch_size
    total = rates.gather * images * math.prod(shape) + rates.logit * images * rows[-1].values
    for row in rows:
        total += _elements(row, run, rates, training=True) * images * (row is not rows[-1])
    for row in weighted:
        total += _product(row, images, rates)
        total += _product_of_weights(row, images, rates)
        total += _product_of_inputs(row, images, rates) if row is not weighted[0] else 0
        total += (rates.adam if run.optimizer == "adam" else rates.sgd) * row.weights
    arrays = STATES[run.optimizer] * sum(row.weights for row in rows) + 2 * images * sum(row.values for row in rows)
    return total * (SPILLED if 4 * arrays > CACHE else 1)


def forward_seconds(run: Run, shape: architecture.Shape, images: int, rates: Rates) -> float:
    """Return the seconds of a pass of images through the network outside training, with loss and accuracy."""
    rows = architecture.trace(architecture.parse(run.model), shape)
    products = sum(_product(row, images, rates) for row in rows if row.weights)
    elements = sum(_elements(row, run, rates, training=False) for row in rows[:-1])
    return products + images * (elements + rates.logit * rows[-1].values)


def _multiplied(rows: int, inner: int, columns: int, rates: Rates) -> float:
    """Return the seconds of a matrix product; its columns are computed in vectors of 16."""
    whole = 16 * math.ceil(columns / 16)
    return rows * whole * (inner * rates.multiply + rates.output)


def _sizes(row: TracedLayer, images: int) -> tuple[int, int, int]:
    """Return rows, inner axis and columns of a layer's product; a convolution's rows are its output positions."""
    if isinstance(row.layer, Conv):
        return images * row.output[1] * row.output[2], row.layer.size**2 * row.input[0], row.output[0]
    return images, math.prod(row.input), row.output[0]


def _product(row: TracedLayer, images: int, rates: Rates) -> float:
    bordered = rates.copy * images * math.prod(row.input) if isinstance(row.layer, Conv) else 0
    return bordered + _multiplied(*_sizes(row, images), rates)


def _product_of_weights(row: TracedLayer, images: int, rates: Rates) -> float:
    rows, inner, columns = _sizes(row, images)
    return _multiplied(inner, rows, columns, rates)


def _product_of_inputs(row: TracedLayer, images: int, rates: Rates) -> float:
    rows, inner, columns = _sizes(row, images)
    if isinstance(row.layer, Conv):  # a convolution with as many filters as inputs have channels
        inner, columns = row.layer.size**2 * columns, row.input[0]
    else:
        inner, columns = columns, inner
    return rates.turn * row.weights + _multiplied(rows, inner, columns, rates)


def _elements(row: TracedLayer, run: Run, rates: Rates, training: bool) -> float:
    """Return the seconds of what follows a layer's product, or of a layer without one, for one image."""
    smooth = rates.smooth_training if training else rates.smooth
    match row.layer:
        case Pool():
            return (rates.pool_training if training else rates.pool) * math.prod(row.input)
        case Drop():
            return 2 * rates.copy * row.values if training else 0.0
        case Lrn():
            return RESPONSE * smooth * row.values
        case _:
            normed = rates.normalise_training if training else rates.normalise
            norm = {"none": 0.0, "local_response": RESPONSE * smooth}.get(run.norm, normed)
            if isinstance(row.layer, Dense) and not run.norm_dense and architecture.kind(run.model) != "dense":
                norm = 0.0
            piecewise = rates.piecewise_training if training else rates.piecewise
            return (norm + (smooth if run.activation in SMOOTH else piecewise)) * row.values


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
