"""A pack's networks: layers from a model's notation, all weights of a run in one row of one array."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bnbench.params import architecture, norm_rules
from bnbench.params.run_schema import Run
from bnbench.training.nets.activations import activation
from bnbench.training.nets.batch_norms import NORMS, PerChannel, Population
from bnbench.training.nets.image_norms import LocalResponse
from bnbench.training.nets.layers import Conv, Dropout, Flatten, Layer, Linear, MaxPool, Moment, Shape, Views

# A row's length is a multiple of this, so that every element of every run lies in a full vector (AVX-512, four
# at a time) and is rounded alike wherever its run stands in the pack.
ROW = 64


@dataclass(frozen=True)
class Slot:
    """Where a weight or statistic lies in a run's row."""

    layer: int
    name: str
    start: int
    shape: Shape

    @property
    def key(self) -> str:
        """Its name in a file of weights."""
        return f"layers.{self.layer}.{self.name}"

    @property
    def end(self) -> int:
        """One past its last element."""
        return self.start + math.prod(self.shape)


class Network:
    """R networks of one shape.

    Args:
        run: a run's settings; those that shape the net are the same for all runs of a pack.
        shape: channels, height and width of an image.
    """

    def __init__(self, run: Run, shape: architecture.Shape) -> None:
        self.layers = build(run, shape)
        self.weights = _slots([layer.weights for layer in self.layers])
        self.moving = _slots([layer.moving for layer in self.layers])
        self.widest = widest(run.model, shape)
        self.population: Population = run.population
        self.bound: tuple[Tensor, Tensor] = torch.empty(0), torch.empty(0)  # what `bind` was given
        self._decayed: Tensor | None = None

    @property
    def parameters(self) -> int:
        """Learned numbers of one network."""
        return sum(math.prod(slot.shape) for slot in self.weights)

    def decayed(self, device: torch.device | str = "cpu") -> Tensor:
        """(row,) 1 where weight decay applies: on weights of linear and conv layers, not on biases or norms."""
        if self._decayed is None or self._decayed.device != torch.device(device):
            mask = torch.zeros(_length(self.weights))
            for slot in self.weights:
                if slot.name == "weight":
                    mask[slot.start : slot.end] = 1
            self._decayed = mask.to(device)
        return self._decayed

    def start(self, seeds: list[int]) -> tuple[Tensor, Tensor]:
        """First weights and moving statistics: (runs, row) each, from each run's own seed."""
        return self._first(self.weights, seeds), self._first(self.moving, seeds)

    def bind(self, values: Tensor, moving: Tensor, grads: Tensor | None = None) -> None:
        """Use these arrays, (runs, row) each, from here on."""
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
        """Images x_RNHWC to logits_RNK.

        Args:
            x: any number of images for each run.
            training: with the batch's statistics, noting them, and with dropout.
            statistics: outside training, those of norms over a batch: the run's choice if None; `last_epoch` only
                if it is the run's choice.
            trace: a list for each layer's output.
        """
        self.choose(statistics or self.population)
        for layer in self.layers:
            x = layer.forward(x, training)
            if trace is not None:
                trace.append(x)
        return x

    def choose(self, statistics: Population) -> None:
        """Use these statistics outside training."""
        for layer in self.layers:
            if isinstance(layer, PerChannel):
                layer.population = statistics

    def backward(self, dy: Tensor) -> None:
        """Fill the gradients from that of the logits. The first layer's input needs none."""
        last = next(i for i, layer in enumerate(self.layers) if layer.weights)
        for index in range(len(self.layers) - 1, last - 1, -1):
            dy = self.layers[index].backward(dy, index > last)

    def at(self, moment: Moment) -> None:
        """Tell the layers which training step comes next."""
        for layer in self.layers:
            layer.moment = moment

    def named(self, values: Tensor, moving: Tensor) -> list[dict[str, Tensor]]:
        """Each run's weights and moving statistics by layer and name, as "layers.1.weight" (layers from 0 on)."""
        rows = [(array, slot) for array, slots in ((values, self.weights), (moving, self.moving)) for slot in slots]
        return [
            {slot.key: array[i, slot.start : slot.end].view(slot.shape).clone().cpu() for array, slot in rows}
            for i in range(len(values))
        ]

    def load(self, named: dict[str, Tensor]) -> None:
        """Use the weights and moving statistics of one run, as `named` gives them.

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
    """Values of the largest layer's output for one image; a small conv layer's unfolded input counts."""
    rows = architecture.trace(architecture.parse(model), shape)
    unfolded = [
        min(Conv.UNFOLD, math.prod(row.input) * part.size**2)
        for row in rows
        if isinstance(part := row.layer, architecture.Conv)
    ]
    return max([math.prod(shape), *(row.values for row in rows), *unfolded])


def build(run: Run, shape: architecture.Shape) -> list[Layer]:
    """Layers of a model: each hidden one is linear or conv, norm and activation in the run's `order`."""
    model = architecture.parse(run.model)
    layers: list[Layer] = []
    dense = [isinstance(part, architecture.Dense) for part in model.layers]
    normed = norm_rules.in_dense(run, model)
    for place, row in enumerate(architecture.trace(model, shape)):
        part, channels = row.layer, row.input[0]
        if isinstance(part, architecture.Conv):
            bias = norm_rules.has_bias(run, run.norm != "none")
            layers.append(Conv(channels, part.kernels, part.size, bias, run, place))
            layers += _hidden(part.kernels, run, run.norm != "none")
        elif isinstance(part, architecture.Pool):
            layers.append(MaxPool(part.size))
        elif isinstance(part, architecture.Drop):
            layers.append(Dropout(part.rate, place))
        elif isinstance(part, architecture.Lrn):
            layers.append(LocalResponse(channels, run))
        else:
            if not any(dense[:place]):
                layers.append(Flatten())
            last = place == len(model.layers) - 1
            bias = last or norm_rules.has_bias(run, normed)
            layers.append(Linear(math.prod(row.input), part.units, bias, run, place))
            layers += [] if last else _dense(part.units, run, place, normed)
    return layers


def _dense(units: int, run: Run, place: int, normed: bool) -> list[Layer]:
    """What follows a hidden linear layer."""
    dropout: list[Layer] = [Dropout(run.dropout, place)] if run.dropout else []
    return [*_hidden(units, run, normed), *dropout]


def _hidden(channels: int, run: Run, normed: bool) -> list[Layer]:
    """Norm and activation in their order."""
    make = NORMS[run.norm] if normed else None
    norm = [make(channels, run)] if make else []
    act = [activation(run.activation, channels, run)]
    return [*norm, *act] if run.order == "pre" else [*act, *norm]


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
