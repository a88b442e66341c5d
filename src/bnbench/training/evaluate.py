"""Losses and accuracies of a pack on a part of its data; the softmax loss itself."""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise, starmap

import torch
from torch import Tensor

from bnbench.training.engine import inference_program
from bnbench.training.pack.pack import Pack, Row

Watch = Callable[[list[Tensor]], None]


def cross_entropy(logits: Tensor, target: Tensor, mean: bool) -> tuple[Tensor, Tensor]:
    """Softmax cross-entropy of each run's batch and its gradient with respect to the logits_RNK.

    Args:
        logits: of (runs, images, classes).
        target: one-hot, of the same shape.
        mean: whether the loss is the mean over a batch; else its sum.
    """
    chances = torch.log_softmax(logits, -1)
    loss = -(chances * target).sum((1, 2))
    slope = chances.exp() - target
    images = logits.shape[1]
    return (loss / images, slope / images) if mean else (loss, slope)


def together(pack: Pack, images: int) -> Iterator[slice]:
    """Images evaluated at once: as memory allows, or `batch_size` where they are the population themselves.

    Then a rest that fills no batch joins the one before it: no statistic is of fewer images.
    """
    chunk = pack.chunk
    starts = range(0, images, chunk)
    if pack.run.population == "batch":
        chunk = pack.run.batch_size
        starts = range(0, max(1, images // chunk) * chunk, chunk)
    return starmap(slice, pairwise([*starts, images]))


def walk(pack: Pack, part: str, watch: Watch) -> None:
    """Run the network, as it is bound, over a part of the data, outside training.

    `watch` is called for each chunk of images with every layer's output, the logits_RNK last.
    """
    images, runs = pack.data[part].x, len(pack.names)
    for few in together(pack, len(images)):
        trace: list[Tensor] = []
        pack.network.forward(images[few].expand(runs, *images[few].shape), trace=trace)
        watch(trace)


def evaluate(pack: Pack, part: str, confusion: Tensor | None = None) -> list[Row]:
    """Mean loss and accuracy of each run on a part of the data, with the population's statistics, without dropout.

    To `confusion`, of (runs, classes, classes), the number of images of each true and predicted class is added.
    """
    images = pack.data[part]
    runs = len(pack.names)
    loss, correct = torch.zeros(2, runs, dtype=torch.float64, device=images.x.device)
    for few in together(pack, len(images.x)):
        x, labels = images.x[few], images.labels[few]
        logits = inference_program.forward(pack, x)
        chances = torch.log_softmax(logits, -1)
        loss -= chances.gather(2, labels.expand(runs, -1)[..., None]).double().sum((1, 2))
        predicted = logits.argmax(-1)
        correct += (predicted == labels).sum(1)
        if confusion is not None:
            pair = labels * confusion.shape[1] + predicted
            confusion.flatten(1).scatter_add_(1, pair, torch.ones_like(pair))
    pairs = zip((loss / len(images.x)).tolist(), (correct / len(images.x)).tolist(), strict=True)
    return [{f"{part}_loss": a if math.isfinite(a) else None, f"{part}_accuracy": b} for a, b in pairs]
