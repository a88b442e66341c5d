"""R networks of one shape, one per run of a pack; all weights of a run are one row of one array.

So an optimizer's update is one operation on the rows, and a run is saved, restored or removed as a row.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bnbench.params import architecture
from bnbench.params.run_schema import Run
from bnbench.training.nets.batch_norms import PerChannel, Population
from bnbench.training.nets.build import build
from bnbench.training.nets.layers import Moment, Shape, Views

# A row's length is a multiple of this: every element of every run is in a full vector (AVX-512, four at a time), and
# so is rounded the same whatever row of the pack its run is.
ROW = 64


@dataclass(frozen=True)
class Slot:
    """Position of one layer's weight or statistic in a run's row.

    Attributes:
        layer: index of the layer.
        name: of the array in its layer.
        start: index of its first element.
        shape: of the array.
    """

    layer: int
    name: str
    start: int
    shape: Shape

    @property
    def key(self) -> str:
        """Its name in a weights file."""
        return f"layers.{self.layer}.{self.name}"

    @property
    def end(self) -> int:
        """Index after its last element."""
        return self.start + math.prod(self.shape)


class Network:
    """R networks of one shape.

    Args:
        run: settings; those that decide the layers are the same for all runs of a pack.
        shape: channels, height and width of an image.
    """

    def __init__(self, run: Run, shape: architecture.Shape) -> None:
        self.run, self.shape = run, shape
        self.layers = build(run, shape)
        self.weights = _slots([layer.weights for layer in self.layers])
        self.moving = _slots([layer.moving for layer in self.layers])
        self.widest = widest(run.model, shape)
        self.population: Population = run.population
        self.bound: tuple[Tensor, Tensor] = torch.empty(0), torch.empty(0)  # the arrays given to `bind`
        self._decayed: Tensor | None = None

    @property
    def parameters(self) -> int:
        """Count of the learned numbers of one network."""
        return sum(math.prod(slot.shape) for slot in self.weights)

    def decayed(self, device: torch.device | str = "cpu") -> Tensor:
        """Return (row,): 1 for weights of dense and conv layers, which decay; 0 for biases and norms, which do not."""
        if self._decayed is None or self._decayed.device != torch.device(device):
            mask = torch.zeros(_length(self.weights))
            for slot in self.weights:
                if slot.name == "weight":
                    mask[slot.start : slot.end] = 1
            self._decayed = mask.to(device)
        return self._decayed

    def start(self, seeds: list[int]) -> tuple[Tensor, Tensor]:
        """Return initial weights and statistics, (runs, row) each, from each run's own seed."""
        return self._first(self.weights, seeds), self._first(self.moving, seeds)

    def bind(self, values: Tensor, moving: Tensor, grads: Tensor | None = None) -> None:
        """Use these arrays of weights, statistics and gradients, (runs, row) each, from now on."""
        self.bound = values, moving
        for index, layer in enumerate(self.layers):
            layer.values = _views(values, self.weights, index)
            layer.statistics = _views(moving, self.moving, index)
            if grads is not None:
                layer.grads = _views(grads, self.weights, index)

    def forward(
        self,
        x: Tensor,
        training: bool = False,
        statistics: Population | None = None,
        trace: list[Tensor] | None = None,
    ) -> Tensor:
        """Return the logits_RNK of images x_RNHWC.

        Args:
            x: any number of images per run.
            training: normalise with the mini-batch's statistics, update the running ones, and apply dropout.
            statistics: outside training, those of the norms over a mini-batch; None: the run's `population`.
                `last_epoch` needs a run whose `population` it is.
            trace: a list to which every layer's output is appended.
        """
        self.choose(statistics or self.population)
        for layer in self.layers:
            x = layer.forward(x, training)
            if trace is not None:
                trace.append(x)
        return x

    def choose(self, statistics: Population) -> None:
        """Use these statistics outside training, until the next choice."""
        for layer in self.layers:
            if isinstance(layer, PerChannel):
                layer.population = statistics

    def backward(self, dy: Tensor) -> None:
        """Write the gradients of all weights, given that of the logits_RNK. That of the images is not computed."""
        last = next(i for i, layer in enumerate(self.layers) if layer.weights)
        for index in range(len(self.layers) - 1, last - 1, -1):
            dy = self.layers[index].backward(dy, index > last)

    def at(self, moment: Moment) -> None:
        """Set the position of the next training step in every layer."""
        for layer in self.layers:
            layer.moment = moment

    def named(self, values: Tensor, moving: Tensor) -> list[dict[str, Tensor]]:
        """Return each run's weights and statistics by layer (from 0) and name: `layers.1.weight`."""
        rows = [(array, slot) for array, slots in ((values, self.weights), (moving, self.moving)) for slot in slots]
        return [
            {slot.key: array[i, slot.start : slot.end].view(slot.shape).clone().cpu() for array, slot in rows}
            for i in range(len(values))
        ]

    def load(self, named: dict[str, Tensor]) -> None:
        """Use the weights and statistics of one run, as returned by `named`.

        Raises:
            KeyError: one is missing.
        """
        arrays = [torch.zeros(1, _length(slots)) for slots in (self.weights, self.moving)]
        for array, slots in zip(arrays, (self.weights, self.moving), strict=True):
            for slot in slots:
                array[0, slot.start : slot.end] = named[slot.key].flatten()
        self.bind(*arrays)

    def _first(self, slots: list[Slot], seeds: list[int]) -> Tensor:
        rows = torch.zeros(len(seeds), _length(slots))
        for slot in slots:
            for row, seed in zip(rows, seeds, strict=True):
                first = self.layers[slot.layer].start(slot.name, seed)
                row[slot.start : slot.end] = first.flatten() if isinstance(first, Tensor) else first
        return rows


def widest(model: str, shape: architecture.Shape) -> int:
    """Return the values of the largest array of one image: the image, or a layer's output."""
    return max([math.prod(shape), *(row.values for row in architecture.trace(architecture.parse(model), shape))])


def _slots(shapes: list[dict[str, Shape]]) -> list[Slot]:
    slots: list[Slot] = []
    for layer, named in enumerate(shapes):
        for name, shape in named.items():
            slots.append(Slot(layer, name, slots[-1].end if slots else 0, shape))
    return slots


def _length(slots: list[Slot]) -> int:
    return -(-slots[-1].end // ROW) * ROW if slots else 0


def _views(rows: Tensor, slots: list[Slot], layer: int) -> Views:
    mine = [slot for slot in slots if slot.layer == layer]
    return {slot.name: rows[:, slot.start : slot.end].view(-1, *slot.shape) for slot in mine}
