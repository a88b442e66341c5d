"""Probes of what is predicted at the end: one image at a time, with other statistics."""

from dataclasses import replace

import torch
from torch import Tensor

from bnbench.training.nets.layers import Moment
from bnbench.training.nets.network import Network
from bnbench.training.pack.pack import Pack
from bnbench.training.pack.passes import walk
from bnbench.training.probes.base import Cell, Cells, Probe

ALONE = 100  # images whose predictions are told one by one
# values in a layer's output for images predicted together, 128 MB: with more, a conv net took 4.3 GiB
TOGETHER = 2**25


def _predicted(_network: Network, trace: list[Tensor]) -> Tensor:
    """The predicted class of each image: (runs, images, 1)."""
    return trace[-1].argmax(-1, keepdim=True)


def _one_by_one(pack: Pack, picked: Tensor) -> Cells:
    """Predictions of the first test images, and accuracy against how many images are predicted together.

    With the population's statistics, and, where the norm uses a batch's, with those of the images that are
    predicted together: 1, 2, 4, ..., all; a rest that fills no group is left out, and so are groups too large for
    memory.
    """
    test = pack.data["test"]
    labels = test.labels.cpu()
    cells: Cells = []
    for i, predicted in enumerate(picked[:, :, 0]):
        cells.append(_told(predicted, labels, "population", len(labels)))
        if pack.network.moving:
            for size in _sizes(pack):
                cells[i] += _told(_grouped(pack, i, size), labels, "batch", size)
    pack.network.bind(*pack.kept)
    return cells


def _told(predicted: Tensor, labels: Tensor, statistics: str, size: int) -> list[Cell]:
    accuracy = (predicted == labels[: len(predicted)]).double()
    cells = [Cell(float(accuracy.mean()), "test", None, f"accuracy_{statistics}", size)]
    if statistics == "batch" and size > 1:
        return cells
    cells.append(Cell(float(accuracy[:ALONE].mean()), "test", None, f"accuracy_of_first_{statistics}", ALONE))
    distinct = len(predicted[:ALONE].unique())
    cells.append(Cell(float(distinct), "test", None, f"distinct_{statistics}", ALONE))
    first = enumerate(predicted[:ALONE].tolist(), 1)
    return cells + [Cell(float(digit), "test", None, f"predicted_{statistics}", image) for image, digit in first]


def _sizes(pack: Pack) -> list[int]:
    """1, 2, 4, ... and all test images."""
    images = len(pack.data["test"].x)
    sizes = [2**power for power in range(images.bit_length()) if 2**power < images] + [images]
    return [size for size in sizes if size == 1 or size * pack.network.widest <= TOGETHER]


def _grouped(pack: Pack, i: int, size: int) -> Tensor:
    """Classes that a run predicts when so many test images at a time are normalised by their own statistics.

    A group stands where otherwise a run does.
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
    """Test accuracy with the run's statistics, and with those gathered after training.

    Gathered: means over all batches of the training set, the weights as they are kept, of the batch's mean and of
    m / (m - 1) times its variance (arXiv 1502.03167, algorithm 2); with dropout, as in training.
    """
    labels = pack.data["test"].labels.cpu()
    found = {f"accuracy_{pack.run.population}": picked}
    if pack.network.moving:
        found["accuracy_gathered"] = _predicted_after(pack)
    return [
        [Cell(float((of[i, :, 0] == labels).double().mean()), "test", None, quantity) for quantity, of in found.items()]
        for i in range(len(pack.names))
    ]


def _predicted_after(pack: Pack) -> Tensor:
    """Classes of the test images, (runs, images, 1), with the statistics of one more epoch without learning."""
    run = pack.run.model_copy(update={"population": "last_epoch"})
    channels_last = pack.data["train"].x.shape[1:]
    network = Network(run, (channels_last[2], *channels_last[:2]))
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
