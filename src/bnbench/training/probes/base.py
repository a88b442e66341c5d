"""A probe, its measurements, and the layers of a network that probes refer to."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor

from bnbench.training.nets.activations import Activation
from bnbench.training.nets.network import Network
from bnbench.training.pack.pack import Pack

Moment = Literal["start", "step", "evaluation", "end"]
RECORDS = 20  # most measurements of a probe that does not measure at every evaluation, spread evenly over the run


class Cell(NamedTuple):
    """One measured number.

    Attributes:
        value: the number.
        part: part of the data: train, valid or test.
        layer: number of a linear or conv layer, or of the norm and activation that follow it, from 1.
        quantity: name of one of the probe's quantities.
        item: index or number of units, images, ...; a percentile; a class.
        at: position on an axis: a bin's lower edge, a class, a multiple of a step.
    """

    value: float
    part: str | None = None
    layer: int | None = None
    quantity: str | None = None
    item: int | None = None
    at: float | None = None


Cells = list[list[Cell]]  # of each run


def _always(pack: Pack) -> bool:  # noqa: ARG001
    return True


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A measurement and its schedule.

    Attributes:
        moment: when it is taken.
        cells: returns the numbers of each run, from the pack and the selected outputs of `pick`.
        due: returns whether it is taken this time.
        part: part of the data for a forward pass, outside training, before `cells`.
        pick: selects from the layers' outputs of a chunk of images: (runs, rows, values). `cells` receives the rows
            of all chunks.
    """

    moment: Moment
    cells: Callable[[Pack, Tensor], Cells]
    due: Callable[[Pack], bool] = _always
    part: str | None = None
    pick: Callable[[Network, list[Tensor]], Tensor] | None = None


@dataclass(frozen=True)
class Place:
    """Position of a linear or conv layer and its activation.

    Attributes:
        layer: number of the layer, from 1.
        weights: its index in `Network.layers`.
        activation: index of its activation; None for the output layer.
    """

    layer: int
    weights: int
    activation: int | None


def places(network: Network) -> list[Place]:
    """Return the positions of a network's linear and conv layers; the output layer, without activation, is last."""
    weights = [index for index, layer in enumerate(network.layers) if "weight" in layer.weights]
    acts = [index for index, layer in enumerate(network.layers) if isinstance(layer, Activation)]
    following = [next((act for act in acts if act > index), None) for index in weights]
    return [Place(number, *pair) for number, pair in enumerate(zip(weights, following, strict=True), 1)]


def hidden(network: Network) -> list[tuple[int, int]]:
    """Return the number of each hidden layer, and the index of its activation in `Network.layers`."""
    return [(place.layer, place.activation) for place in places(network) if place.activation is not None]


def spread(total: int) -> set[int]:
    """Return at most `RECORDS` of the numbers 1..total, evenly spaced, including the last."""
    count = min(total, RECORDS)
    return {-(-i * total // count) for i in range(1, count + 1)}


def spread_evaluation(pack: Pack) -> bool:
    """Return whether this evaluation is among the evenly spaced ones that are recorded."""
    return -(-pack.step // pack.interval) in spread(-(-pack.steps // pack.interval))
