"""Loss and accuracy of a pack's runs on a part of the data."""

import math

import torch
from torch import Tensor

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
    runs = len(pack.names)
    loss, correct = torch.zeros(2, runs, dtype=torch.float64, device=images.x.device)
    for few in chunks(pack, len(images.x)):
        x, labels = images.x[few], images.labels[few]
        logits = engine.predict(pack, x)
        log_probabilities = torch.log_softmax(logits, -1)
        loss -= log_probabilities.gather(2, labels.expand(runs, -1)[..., None]).double().sum((1, 2))
        predicted = logits.argmax(-1)
        correct += (predicted == labels).sum(1)
        if confusion is not None:
            pair = labels * confusion.shape[1] + predicted
            confusion.flatten(1).scatter_add_(1, pair, torch.ones_like(pair))
    pairs = zip((loss / len(images.x)).tolist(), (correct / len(images.x)).tolist(), strict=True)
    return [{f"{part}_loss": a if math.isfinite(a) else None, f"{part}_accuracy": b} for a, b in pairs]
