"""What a probe is, what it tells, and how it finds its way in a network."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor

from bnbench.training.nets.activations import Activation
from bnbench.training.nets.network import Network
from bnbench.training.pack.pack import Pack

Moment = Literal["start", "step", "evaluation", "end"]
RECORDS = 20  # of what is not recorded at every evaluation: at most so many, evenly over the run


class Cell(NamedTuple):
    """One number that a probe saw.

    Attributes:
        part: of the data: train, valid or test.
        layer: which linear or conv layer, or the norm and activation that follow it, from 1 on.
        quantity: what of the probe's quantities it is.
        item: which unit, percentile, image, class, ..., or how many.
        at: where on an axis: a bin's lower edge, a class, a multiple of a step.
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
    """What is measured, and when.

    Attributes:
        moment: when it looks.
        cells: what it tells of each run, given what was picked, if anything.
        due: whether it looks this time.
        part: the part of the data to walk over first, outside training.
        pick: what it picks out of the layers' outputs of a chunk of images: (runs, rows, values); the rows of
            all chunks come together.
    """

    moment: Moment
    cells: Callable[[Pack, Tensor], Cells]
    due: Callable[[Pack], bool] = _always
    part: str | None = None
    pick: Callable[[Network, list[Tensor]], Tensor] | None = None


@dataclass(frozen=True)
class Place:
    """Where a linear or conv layer, counted from 1, and its activation stand in `Network.layers`."""

    layer: int
    weights: int
    activation: int | None


def places(network: Network) -> list[Place]:
    """The linear and conv layers of a network, the output layer last: it alone has no activation."""
    weights = [index for index, layer in enumerate(network.layers) if "weight" in layer.weights]
    acts = [index for index, layer in enumerate(network.layers) if isinstance(layer, Activation)]
    following = [next((act for act in acts if act > index), None) for index in weights]
    return [Place(number, *pair) for number, pair in enumerate(zip(weights, following, strict=True), 1)]


def hidden(network: Network) -> list[tuple[int, int]]:
    """Number of each hidden layer, and the index of its activation."""
    return [(place.layer, place.activation) for place in places(network) if place.activation is not None]


def spread(total: int) -> set[int]:
    """At most `RECORDS` of 1..total, evenly, the last among them."""
    count = min(total, RECORDS)
    return {-(-i * total // count) for i in range(1, count + 1)}


def spread_evaluation(pack: Pack) -> bool:
    """Whether an evaluation is one of those that are recorded."""
    return -(-pack.step // pack.interval) in spread(-(-pack.steps // pack.interval))
