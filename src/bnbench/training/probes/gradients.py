"""Probes of a training step: gradients, the loss surface along them, drift of running statistics."""

import torch
from torch import Tensor

from bnbench.arithmetic import sums
from bnbench.training.pack.loss import cross_entropy
from bnbench.training.pack.pack import Pack
from bnbench.training.probes.base import Cell, Cells, Probe, places, spread

ITERATIONS = (10, 20, 30, 40, 50)  # as published in the reading notes on the BN paper
MULTIPLES = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)  # of the learning rate


def _magnitudes(pack: Pack, _picked: Tensor) -> Cells:
    """Return L2 norm and mean absolute value of the loss's gradient with respect to each layer's weights."""
    cells: Cells = [[] for _ in pack.names]
    for place in places(pack.network):
        grads = pack.network.layers[place.weights].grads["weight"].flatten(1)
        found = {"norm": sums.lengths(grads), "mean": sums.means(grads, 1, "absolute")}
        for name, values in found.items():
            for mine, value in zip(cells, values.tolist(), strict=True):
                mine.append(Cell(value, "train", place.layer, name))
    return cells


def _published(pack: Pack) -> bool:
    return pack.step + 1 in ITERATIONS


GRADIENTS = Probe(moment="step", due=_published, cells=_magnitudes)


def _surface(pack: Pack, _picked: Tensor) -> Cells:
    """Return properties of the loss surface of a mini-batch along its gradient (arXiv 1805.11604, section 3.1).

    From the step's weights, gradient steps of `MULTIPLES` times the learning rate are tried. Measured are the lowest
    and highest loss of the mini-batch and their difference, the largest change of the gradient, and the effective
    smoothness: the largest ratio of that change to the distance (both L2, over all parameters). Norms use the
    mini-batch's statistics, as in training.
    """
    x, target = pack.batch(pack.step)
    values, moving, first = pack.arrays["values"], pack.arrays["moving"], pack.arrays["grads"]
    losses, changes, distances = [], [], []
    for multiple in MULTIPLES:
        away, grads = first * (pack.rate * multiple), torch.zeros_like(first)
        pack.network.bind(values - away, moving.clone(), grads)
        logits = pack.network.forward(x, training=True)
        loss, gradient = cross_entropy(logits, target, pack.run.loss == "mean")
        pack.network.backward(gradient)
        losses.append(loss.double().cpu())
        changes.append(sums.lengths(grads - first).cpu())
        distances.append(sums.lengths(away).cpu())
    pack.bind()
    loss, change = torch.stack(losses), torch.stack(changes)
    quantities = {
        "loss_lowest": loss.amin(0),
        "loss_highest": loss.amax(0),
        "loss_spread": loss.amax(0) - loss.amin(0),
        "gradient_change": change.amax(0),
        "smoothness": (change / torch.stack(distances)).amax(0),
    }
    return [
        [Cell(float(of[i]), "train", None, name) for name, of in quantities.items()] for i in range(len(pack.names))
    ]


def _due(pack: Pack) -> bool:
    return pack.step + 1 in spread(pack.steps)


SMOOTHNESS = Probe(moment="step", due=_due, cells=_surface)


def _drift(pack: Pack, _picked: Tensor) -> Cells:
    """Return the relative change of the running statistics since the last evaluation, averaged over channels.

    Of the mean: |new - old| / old standard deviation; of the variance: |new - old| / old variance. A norm without a
    running variance has no such unit, and is left out.
    """
    arrays, network = pack.arrays, pack.network
    cells: Cells = [[] for _ in pack.names]
    slots = {(slot.layer, slot.name): slot for slot in network.moving}
    for index in sorted(slot.layer for slot in network.moving if slot.name == "variance"):
        layer = sum(place.weights < index for place in places(network))
        mean, variance = (slots[index, name] for name in ("mean", "variance"))
        old, new = (arrays[name].double().cpu() for name in ("drift_moving", "moving"))
        spread_ = old[:, variance.start : variance.end]
        for slot, unit in ((mean, sums.roots(spread_)), (variance, spread_)):
            change = sums.means((new - old)[:, slot.start : slot.end] / unit, 1, "absolute")
            for mine, value in zip(cells, change.tolist(), strict=True):
                mine.append(Cell(value, None, layer, slot.name))
    arrays["drift_moving"] = arrays["moving"].clone()
    return cells


DRIFT = Probe(moment="evaluation", cells=_drift)
