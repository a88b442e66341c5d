"""Losses and accuracies of a pack on a part of its data."""

import math

import torch
from torch import Tensor

from bnbench.training.engine import inference_program
from bnbench.training.pack.pack import Pack, Row
from bnbench.training.pack.passes import chunks


def evaluate(pack: Pack, part: str, confusion: Tensor | None = None) -> list[Row]:
    """Mean loss and accuracy of each run on a part of the data, with the population's statistics, without dropout.

    To `confusion`, of (runs, classes, classes), the number of images of each true and predicted class is added.
    """
    images = pack.data[part]
    runs = len(pack.names)
    loss, correct = torch.zeros(2, runs, dtype=torch.float64, device=images.x.device)
    for few in chunks(pack, len(images.x)):
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
