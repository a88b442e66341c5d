"""Probes of the final predictions: for one image at a time, and with other statistics."""

from dataclasses import replace

import torch
from torch import Tensor

from bnbench.training.nets.layers import Moment
from bnbench.training.nets.network import Network
from bnbench.training.pack.pack import Pack
from bnbench.training.pack.passes import walk
from bnbench.training.probes.base import Cell, Cells, Probe

ALONE = 100  # images whose predictions are recorded individually
# most values in a layer's output for images predicted together, 128 MB: with more, a conv net took 4.3 GiB
TOGETHER = 2**25


def _predicted(_network: Network, trace: list[Tensor]) -> Tensor:
    """Return the predicted class of each image: (runs, images, 1)."""
    return trace[-1].argmax(-1, keepdim=True)


def _one_by_one(pack: Pack, picked: Tensor) -> Cells:
    """Return predictions of the first test images, and accuracy by the number of images predicted together.

    Norms use the population's statistics and, if they have any of a mini-batch, also those of the images predicted
    together: 1, 2, 4, ..., all. An incomplete last group is left out, and so are groups too large for memory.
    """
    test = pack.data["test"]
    labels = test.labels.cpu()
    cells: Cells = []
    for i, predicted in enumerate(picked[:, :, 0]):
        cells.append(_measure(predicted, labels, "population", len(labels)))
        if pack.network.moving:
            for size in _sizes(pack):
                cells[i] += _measure(_grouped(pack, i, size), labels, "batch", size)
    pack.network.bind(*pack.kept)
    return cells


def _measure(predicted: Tensor, labels: Tensor, statistics: str, size: int) -> list[Cell]:
    """Return accuracy of one run's predictions, and for single images the first predictions themselves."""
    cells = [Cell(_accuracy(predicted, labels), "test", None, f"accuracy_{statistics}", size)]
    if statistics == "batch" and size > 1:
        return cells
    first_ones = _accuracy(predicted[:ALONE], labels)
    cells.append(Cell(first_ones, "test", None, f"accuracy_of_first_{statistics}", ALONE))
    distinct = len(predicted[:ALONE].unique())
    cells.append(Cell(float(distinct), "test", None, f"distinct_{statistics}", ALONE))
    first = enumerate(predicted[:ALONE].tolist(), 1)
    return cells + [Cell(float(digit), "test", None, f"predicted_{statistics}", image) for image, digit in first]


def _accuracy(predicted: Tensor, labels: Tensor) -> float:
    """Return the share of right predictions of the first images."""
    return int((predicted == labels[: len(predicted)]).sum()) / len(predicted)


def _sizes(pack: Pack) -> list[int]:
    """Return the sizes of groups: 1, 2, 4, ... and all test images, as memory permits."""
    images = len(pack.data["test"].x)
    sizes = [2**power for power in range(images.bit_length()) if 2**power < images] + [images]
    return [size for size in sizes if size == 1 or size * pack.network.widest <= TOGETHER]


def _grouped(pack: Pack, i: int, size: int) -> Tensor:
    """Return a run's predicted classes if groups of `size` test images are normalised by their own statistics.

    Groups take the place of runs on the first axis of the arrays.
    """
    images = pack.data["test"].x
    groups = images[: len(images) // size * size].view(-1, size, *images.shape[1:])
    values, moving = (rows[i : i + 1] for rows in pack.kept)
    predicted = []
    for x in groups.split(max(1, pack.chunk // size)):
        pack.network.bind(values.expand(len(x), -1), moving.expand(len(x), -1))
        predicted.append(pack.network.forward(x, statistics="batch").argmax(-1).flatten())
    return torch.cat(predicted).cpu()


ONE_BY_ONE = Probe(moment="end", part="test", pick=_predicted, cells=_one_by_one)


def _population(pack: Pack, picked: Tensor) -> Cells:
    """Return test accuracy with the run's own population statistics, and with those gathered after training.

    Gathered statistics are the means, over all mini-batches of the training set with the kept weights, of the
    mini-batch's mean and of m / (m - 1) times its variance (arXiv 1502.03167, algorithm 2); dropout is active.
    """
    labels = pack.data["test"].labels.cpu()
    predictions = {f"accuracy_{pack.run.population}": picked}
    if pack.network.moving:
        predictions["accuracy_gathered"] = _predict_gathered(pack)
    return [
        [Cell(_accuracy(of[i, :, 0], labels), "test", None, quantity) for quantity, of in predictions.items()]
        for i in range(len(pack.names))
    ]


def _predict_gathered(pack: Pack) -> Tensor:
    """Return predicted classes of the test images, (runs, images, 1), with statistics of one epoch without updates."""
    run = pack.run.model_copy(update={"population": "last_epoch"})
    channels_last = pack.data["train"].x.shape[1:]
    network = type(pack.network)(run, (channels_last[2], *channels_last[:2]))
    after = replace(pack, run=run, network=network)
    network.bind(pack.kept[0], network.start(pack.seeds)[1].to(pack.kept[0].device))
    size, runs = run.batch_size, len(pack.names)
    for batch in range(len(pack.data["train"].x) // size):
        x = pack.data["train"].x[batch * size : (batch + 1) * size]
        network.at(Moment(pack.seeds, batch, pack.epoch_steps))
        network.forward(x.expand(runs, *x.shape), training=True)
    predicted: list[Tensor] = []
    walk(after, "test", lambda trace: predicted.append(_predicted(network, trace).cpu()))
    return torch.cat(predicted, 1)


POPULATION = Probe(moment="end", part="test", pick=_predicted, cells=_population)
