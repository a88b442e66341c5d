"""Probes of what layers put out: distributions of a unit's input, extremes, units that never fire."""

import numpy as np
import torch
from torch import Tensor

from bnbench.training.nets.layers import Moment, Shape
from bnbench.training.nets.network import Network
from bnbench.training.pack.pack import Pack
from bnbench.training.probes.base import Cell, Cells, Probe, hidden, places, spread_evaluation

BINS = 60
UNITS = 5
PERCENTILES_OF = (15, 50, 85)
IMAGES = 200  # in the scatter of two inputs
LINES = 10  # hyperplanes drawn in it
# least shares of the images on either side of a hyperplane that is said to cut them; 0 is one image
CUTS = (0.0, 0.01, 0.05, 0.1, 0.25)


def _columns(x: Tensor) -> Tensor:
    """x_R...C as (runs, values, channels)."""
    return x.flatten(1, -2)


def _histograms(pack: Pack, _picked: Tensor) -> Cells:
    """Shares of the first layer's outputs in equal bins between their extremes, and of its norm's, if one follows.

    The training batch is the last one, with its own statistics as in training; the validation batch is the first
    images of the validation part, with the moving statistics.
    """
    first, runs = places(pack.network)[0], len(pack.names)
    cells: Cells = [[] for _ in range(runs)]
    ends = {"output": first.weights}
    if first.activation is not None and first.activation > first.weights + 1:
        ends["normalised"] = first.activation - 1
    x, _ = pack.batch(pack.step - 1)
    valid = pack.data["valid"].x[: pack.run.batch_size]
    batches = {"train": (x, True), "valid": (valid.expand(runs, *valid.shape), False)}
    for part, (images, training) in batches.items():
        trace = _trace(pack, images, training)
        for quantity, index in ends.items():
            for mine, values in zip(cells, trace[index].cpu().numpy(), strict=True):
                mine += _bins(values, part, quantity)
    return cells


def _trace(pack: Pack, images: Tensor, training: bool) -> list[Tensor]:
    """The layers' outputs of one batch; in training with its statistics, which the moving ones do not gather."""
    trace: list[Tensor] = []
    pack.network.bind(pack.arrays["values"], pack.arrays["moving"].clone())
    pack.network.at(Moment(pack.seeds, pack.step - 1, pack.epoch_steps))
    pack.network.forward(images, training, trace=trace)
    pack.bind()
    return trace


def _bins(values: "np.typing.NDArray[np.float32]", part: str, quantity: str) -> list[Cell]:
    if not np.isfinite(values).all():
        return []
    counts, edges = np.histogram(values.astype(np.float64), BINS)
    shares = zip(counts / values.size, edges[:-1], strict=True)
    return [Cell(float(share), part, 1, quantity, i, float(edge)) for i, (share, edge) in enumerate(shares, 1)]


OUTPUTS_HISTOGRAM = Probe(moment="evaluation", due=spread_evaluation, cells=_histograms)


def _five(network: Network, trace: list[Tensor]) -> Tensor:
    """The activation's input of the second hidden layer's first units."""
    _, activation = hidden(network)[1]
    return _columns(trace[activation - 1])[:, :, :UNITS]


def _means(_pack: Pack, picked: Tensor) -> Cells:
    return [
        [Cell(float(mean), "test", 2, "mean", unit) for unit, mean in enumerate(values.double().mean(0), 1)]
        for values in picked
    ]


NEURONS = Probe(moment="evaluation", part="test", pick=_five, cells=_means)


def _typical(network: Network, trace: list[Tensor]) -> Tensor:
    """The activation's input of the last hidden layer's first unit."""
    _, activation = hidden(network)[-1]
    return _columns(trace[activation - 1])[:, :, :1]


def _percentiles(pack: Pack, picked: Tensor) -> Cells:
    layer, _ = hidden(pack.network)[-1]
    found = [np.percentile(values.double().numpy(), PERCENTILES_OF) for values in picked]
    return [
        [Cell(float(v), "test", layer, "percentile", p) for p, v in zip(PERCENTILES_OF, values, strict=True)]
        for values in found
    ]


PERCENTILES = Probe(moment="evaluation", part="test", pick=_typical, cells=_percentiles)


def _extremes(network: Network, trace: list[Tensor]) -> Tensor:
    """Smallest and largest output of each activation, over a chunk: (runs, 1, 2 layers)."""
    ends = [end(trace[act].flatten(1), 1) for _, act in hidden(network) for end in (torch.amin, torch.amax)]
    return torch.stack(ends, 1)[:, None]


def _smallest_largest(pack: Pack, picked: Tensor) -> Cells:
    layers = [layer for layer, _ in hidden(pack.network)]
    low, high = picked[:, :, ::2].amin(1), picked[:, :, 1::2].amax(1)
    return [
        [
            Cell(float(v), "test", layer, name)
            for layer, *ends in zip(layers, a, b, strict=True)
            for name, v in zip(("smallest", "largest"), ends, strict=True)
        ]
        for a, b in zip(low, high, strict=True)
    ]


ACTIVATIONS = Probe(moment="evaluation", part="test", pick=_extremes, cells=_smallest_largest)


def _reach(network: Network, trace: list[Tensor]) -> Tensor:
    """Per hidden unit, over a chunk: the largest input of its activation, then the largest size of its output."""
    inputs = [_columns(trace[act - 1]).amax(1) for _, act in hidden(network)]
    outputs = [_columns(trace[act]).abs().amax(1) for _, act in hidden(network)]
    return torch.cat([*inputs, *outputs], 1)[:, None]


def _dead(pack: Pack, picked: Tensor) -> Cells:
    """Inactive: its input is never positive. Dead: its output is never other than 0, so nothing can be learned."""
    inside = [place for place in places(pack.network) if place.activation is not None]
    layers = [place.layer for place in inside]
    units = [_units(pack.network.layers[place.weights].weights["weight"]) for place in inside]
    inactive, dead = ((half <= 0).double().split(units, 1) for half in picked.amax(1).chunk(2, 1))
    return [
        [
            Cell(float(shares[index][run].mean()), "train", layer, name)
            for index, layer in enumerate(layers)
            for name, shares in (("inactive", inactive), ("dead", dead))
        ]
        for run in range(len(pack.names))
    ]


def _units(weight: Shape) -> int:
    """Units of a dense layer, its weights (inputs, units); kernels of a conv one, (kernels, size, size, channels)."""
    return weight[1] if len(weight) == 2 else weight[0]


DEAD_UNITS = Probe(moment="end", part="train", pick=_reach, cells=_dead)


def _fires(network: Network, trace: list[Tensor]) -> Tensor:
    """For how many images of a chunk W x + b > 0, per unit of the first layer: (runs, 1, units)."""
    return (trace[places(network)[0].weights] > 0).sum(1, keepdim=True)


def _hyperplanes(pack: Pack, picked: Tensor) -> Cells:
    """The share of hyperplanes W x + b = 0 that cut the data, and the mean share of images on their smaller side.

    Of many images nearly every hyperplane cuts off at least one, so the share is told also of those that leave at
    least `CUTS` of the images on either side.
    For a picture: two inputs of some images, and of some hyperplanes the line that they are in these two, weight_1
    input_1 + weight_2 input_2 + shift = 0, the other inputs at their means. The two are those of largest mean
    absolute deviation: where each input has a variance of 1, that of a pixel that is nearly always 0 is small.
    """
    count = len(pack.data["train"].x)
    smaller = torch.minimum(picked.sum(1), count - picked.sum(1)).double()
    x = pack.data["train"].x.flatten(1).cpu()
    mean = x.double().mean(0)
    inputs = torch.argsort((x.double() - mean).abs().mean(0), descending=True, stable=True)[:2]
    scatter = _scatter(x[:IMAGES, inputs], pack.data["train"].labels[:IMAGES].tolist())
    scatter += [Cell(int(index), "train", 1, "input", i) for i, index in enumerate(inputs, 1)]
    layer = pack.network.layers[places(pack.network)[0].weights]
    weights = layer.values["weight"].double().cpu()
    bias = layer.values["bias"].double().cpu() if "bias" in layer.values else torch.zeros(len(weights), 1, 1)
    rest = mean.clone()
    rest[inputs] = 0
    cells: Cells = []
    for i, side in enumerate(smaller):
        shift = rest @ weights[i] + bias[i, 0]
        shares = [((side >= max(cut * count, 1)).double().mean(), cut) for cut in CUTS]
        cells.append([Cell(float(share), "train", 1, "share_cutting", None, cut) for share, cut in shares])
        cells[-1] += [Cell(float(side.mean()) / count, "train", 1, "smaller_side"), *scatter]
        for unit in range(min(LINES, weights.shape[2])):
            line = (*weights[i, inputs, unit], shift[unit])
            names = zip(("weight_1", "weight_2", "shift"), line, strict=True)
            cells[-1] += [Cell(float(value), "train", 1, name, unit + 1) for name, value in names]
    return cells


def _scatter(points: Tensor, labels: list[int]) -> list[Cell]:
    """Two inputs of some images, as `image_1` and `image_2`, and their labels."""
    return [
        Cell(float(value), "train", 1, name, image)
        for image, (point, label) in enumerate(zip(points, labels, strict=True), 1)
        for name, value in zip(("image_1", "image_2", "label"), (*point, label), strict=True)
    ]


HYPERPLANES = Probe(moment="start", part="train", pick=_fires, cells=_hyperplanes)
