"""Loss and accuracy of a pack's runs on a part of the data."""

import math

import torch
from torch import Tensor

from bnbench.arithmetic import sums
from bnbench.training.engine.choose import Engine
from bnbench.training.pack.pack import Pack, Row
from bnbench.training.pack.passes import chunks


def evaluate(engine: Engine, pack: Pack, part: str, confusion: Tensor | None = None) -> list[Row]:
    """Return mean cross-entropy and accuracy of each run on a part of the data.

    Norms use the population's statistics, and there is no dropout. A loss that is not finite is None.

    Args:
        engine: execution of the forward passes.
        pack: the runs, with the network bound to the weights to evaluate.
        part: a key of `pack.data`: train, valid, test or official.
        confusion: (runs, classes, classes): the number of images of each true and predicted class is added to it.
    """
    images = pack.data[part]
    runs, count = len(pack.names), len(images.x)
    losses = images.x.new_empty(runs, count)
    correct = images.labels.new_zeros(runs)
    for few in chunks(pack, count):
        x, labels = images.x[few], images.labels[few]
        logits = engine.predict(pack, x)
        losses[:, few] = sums.image_losses(logits, labels)
        predicted = logits.argmax(-1)
        correct += (predicted == labels).sum(1)
        if confusion is not None:
            pair = labels * confusion.shape[1] + predicted
            confusion.flatten(1).scatter_add_(1, pair, torch.ones_like(pair))
    pairs = zip(sums.means(losses, 1).tolist(), correct.tolist(), strict=True)
    return [{f"{part}_loss": a if math.isfinite(a) else None, f"{part}_accuracy": b / count} for a, b in pairs]
