"""Estimate of a pack's memory; imports no torch.

Fitted to seven shapes from 400 to 3,700 MiB on a CPU with torch 2.13: the estimates were 0.87 to 1.08 of the measured
peaks.
"""

import math

from bnbench.params import architecture
from bnbench.params.dataset_schema import Dataset
from bnbench.params.run_schema import Run

PROCESS_MIB = 375  # Python, torch and the libraries that they load
IMAGE_BYTES = 7  # per value of an image: as stored (1), in training order (1), as fp32 (4), and one temporary (1)
LIVE_TRAINING = 4.5  # values per output of a layer: saved for the backward pass, and its gradients
LIVE_EVALUATING = 4  # values per output of the largest layer
EVALUATED = 2**21  # values of the largest output in one chunk of an evaluation: pack.CHUNK


def outputs(model: str, shape: architecture.Shape) -> list[int]:
    """Return the number of values of each layer's output for one image."""
    return [row.values for row in architecture.trace(architecture.parse(model), shape)]


def parameters(model: str, shape: architecture.Shape) -> int:
    """Return the number of weights and biases of one network; norms, at most four numbers per channel, do not count."""
    rows = architecture.trace(architecture.parse(model), shape)
    return sum(row.weights + row.output[0] for row in rows if row.weights)


def peak(runs: list[Run], dataset: Dataset, times: int = 1, together: bool = False) -> float:
    """Return the estimated peak resident memory, in MiB, of the process that trains a pack.

    All runs keep their weights. A recorded program holds the outputs of the layers of one run at a time.

    Args:
        runs: the pack's runs, of one shape.
        dataset: their data set.
        times: the factor by which augmentation enlarges the training set.
        together: the runs pass through their networks together, as on a GPU.
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
    training = run.batch_size * (image + LIVE_TRAINING * sum(sizes))
    evaluating = chunk * (image + LIVE_EVALUATING * max(sizes))
    at_once = len(runs) if together or run.backend == "numpy" else 1
    return PROCESS_MIB + (data + len(runs) * weights + 4 * at_once * max(training, evaluating)) / 2**20
