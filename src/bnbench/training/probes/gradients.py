"""Probes of how a step changes things: gradients, the loss surface along them, running statistics."""

import torch
from torch import Tensor

from bnbench.training.pack.loss import cross_entropy
from bnbench.training.pack.pack import Pack
from bnbench.training.probes.base import Cell, Cells, Probe, places, spread

ITERATIONS = (10, 20, 30, 40, 50)  # as published in the reading notes on the BN paper
MULTIPLES = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)  # of the learning rate


def _magnitudes(pack: Pack, _picked: Tensor) -> Cells:
    """L2 norm and mean absolute value of the loss's gradient with respect to each layer's weights."""
    cells: Cells = [[] for _ in pack.names]
    for place in places(pack.network):
        grads = pack.network.layers[place.weights].grads["weight"].double().cpu()
        for mine, grad in zip(cells, grads, strict=True):
            mine.append(Cell(float(torch.linalg.vector_norm(grad)), "train", place.layer, "norm"))
            mine.append(Cell(float(grad.abs().mean()), "train", place.layer, "mean"))
    return cells


def _published(pack: Pack) -> bool:
    return pack.step + 1 in ITERATIONS


GRADIENTS = Probe(moment="step", due=_published, cells=_magnitudes)


def _surface(pack: Pack, _picked: Tensor) -> Cells:
    """The loss surface of a training batch along its gradient (arXiv 1805.11604, section 3.1).

    From the weights of the step, the batch's loss and gradient after plain steps of `MULTIPLES` times the learning
    rate: lowest and highest loss, and their spread; the largest change of the gradient; effective smoothness, the
    largest ratio of that change to the distance (both L2, over all that is learned). Statistics of the batch as in
    training.
    """
    x, target = pack.batch(pack.step)
    values, moving, first = pack.arrays["values"], pack.arrays["moving"], pack.arrays["grads"]
    losses, changes, distances = [], [], []
    for multiple in MULTIPLES:
        away, grads = first * (pack.rate * multiple), torch.zeros_like(first)
        pack.network.bind(values - away, moving.clone(), grads)
        logits = pack.network.forward(x, training=True)
        loss, slope = cross_entropy(logits, target, pack.run.loss == "mean")
        pack.network.backward(slope)
        losses.append(loss.double().cpu())
        changes.append(_lengths(grads - first))
        distances.append(_lengths(away))
    pack.bind()
    loss, change = torch.stack(losses), torch.stack(changes)
    seen = {
        "loss_lowest": loss.amin(0),
        "loss_highest": loss.amax(0),
        "loss_spread": loss.amax(0) - loss.amin(0),
        "gradient_change": change.amax(0),
        "smoothness": (change / torch.stack(distances)).amax(0),
    }
    return [[Cell(float(of[i]), "train", None, name) for name, of in seen.items()] for i in range(len(pack.names))]


def _lengths(rows: Tensor) -> Tensor:
    """L2 norm of each run's row, one by one, so that it does not depend on how many there are."""
    return torch.stack([torch.linalg.vector_norm(row.double().cpu()) for row in rows])


def _due(pack: Pack) -> bool:
    return pack.step + 1 in spread(pack.steps)


SMOOTHNESS = Probe(moment="step", due=_due, cells=_surface)


def _drift(pack: Pack, _picked: Tensor) -> Cells:
    """Change of the running statistics since the last evaluation, in units of those of then: mean over channels.

    Of the mean: |new - old| / old deviation; of the variance: |new - old| / old variance. A norm that keeps no
    variance has no such units, and nothing is told of it.
    """
    arrays, network = pack.arrays, pack.network
    cells: Cells = [[] for _ in pack.names]
    slots = {(slot.layer, slot.name): slot for slot in network.moving}
    for index in sorted(slot.layer for slot in network.moving if slot.name == "variance"):
        layer = sum(place.weights < index for place in places(network))
        mean, variance = (slots[index, name] for name in ("mean", "variance"))
        for i, mine in enumerate(cells):
            old, new = (arrays[name][i].double().cpu() for name in ("drift_moving", "moving"))
            spread_ = old[variance.start : variance.end]
            for slot, unit in ((mean, spread_.sqrt()), (variance, spread_)):
                change = (new - old)[slot.start : slot.end].abs() / unit
                mine.append(Cell(float(change.mean()), None, layer, slot.name))
    arrays["drift_moving"] = arrays["moving"].clone()
    return cells


DRIFT = Probe(moment="evaluation", cells=_drift)
