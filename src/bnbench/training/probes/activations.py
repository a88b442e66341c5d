"""Probes of layers' outputs: histograms, percentiles, extremes, inactive units, hyperplanes of the first layer."""

import numpy as np
import torch
from torch import Tensor

from bnbench.arithmetic import sums
from bnbench.training.nets.layers import Moment
from bnbench.training.nets.network import Network
from bnbench.training.pack.pack import Pack
from bnbench.training.probes.base import Cell, Cells, Probe, hidden, places, spread_evaluation

BINS = 60
UNITS = 5
PERCENTILES_OF = (15, 50, 85)
IMAGES = 200  # in the scatter plot of two inputs
LINES = 10  # hyperplanes drawn in it
# smallest share of images on either side of a hyperplane that counts as cutting the data; 0 stands for one image
CUTS = (0.0, 0.01, 0.05, 0.1, 0.25)


def _columns(x: Tensor) -> Tensor:
    """Return x_R...C as (runs, values, channels)."""
    return x.flatten(1, -2)


def _histograms(pack: Pack, _picked: Tensor) -> Cells:
    """Return histograms of the outputs of the first layer, and of its norm if it has one: shares in `BINS` equal bins.

    The training images are the last mini-batch, with its own statistics as in training; the validation images are the
    first ones, with running statistics.
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
    """Return the layers' outputs of one mini-batch; a pass in training mode does not change the running statistics."""
    trace: list[Tensor] = []
    pack.network.bind(pack.arrays["values"], pack.arrays["moving"].clone())
    pack.network.at(Moment(pack.seeds, pack.step - 1, pack.epoch_steps))
    pack.network.forward(images, training, trace=trace)
    pack.bind()
    return trace


def _bins(values: "np.typing.NDArray[np.float32]", part: str, quantity: str) -> list[Cell]:
    if not np.isfinite(values).all():
        return []
    # exact in NumPy 2's source: differences, quotients and products, one operation each, and comparisons with the edges
    counts, edges = np.histogram(values.astype(np.float64), BINS)
    shares = zip(counts / values.size, edges[:-1], strict=True)
    return [Cell(float(share), part, 1, quantity, i, float(edge)) for i, (share, edge) in enumerate(shares, 1)]


OUTPUTS_HISTOGRAM = Probe(moment="evaluation", due=spread_evaluation, cells=_histograms)


def _second_layer_inputs(network: Network, trace: list[Tensor]) -> Tensor:
    """Return the input of the activation of the second hidden layer, for the first `UNITS` units."""
    _, activation = hidden(network)[1]
    return _columns(trace[activation - 1])[:, :, :UNITS]


def _means(_pack: Pack, picked: Tensor) -> Cells:
    return [
        [Cell(float(mean), "test", 2, "mean", unit) for unit, mean in enumerate(sums.means(values, 0), 1)]
        for values in picked
    ]


NEURONS = Probe(moment="evaluation", part="test", pick=_second_layer_inputs, cells=_means)


def _last_layer_input(network: Network, trace: list[Tensor]) -> Tensor:
    """Return the input of the activation of the last hidden layer, for its first unit."""
    _, activation = hidden(network)[-1]
    return _columns(trace[activation - 1])[:, :, :1]


def _percentiles(pack: Pack, picked: Tensor) -> Cells:
    layer, _ = hidden(pack.network)[-1]
    # exact in NumPy 2's source: two values of the order, and differences, products and sums, one operation each
    found = [np.percentile(values.double().numpy(), PERCENTILES_OF) for values in picked]
    return [
        [Cell(float(v), "test", layer, "percentile", p) for p, v in zip(PERCENTILES_OF, values, strict=True)]
        for values in found
    ]


PERCENTILES = Probe(moment="evaluation", part="test", pick=_last_layer_input, cells=_percentiles)


def _extremes(network: Network, trace: list[Tensor]) -> Tensor:
    """Return smallest and largest output of each activation over a chunk: (runs, 1, 2 layers)."""
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


def _largest_values(network: Network, trace: list[Tensor]) -> Tensor:
    """Return per hidden unit, over a chunk, the largest input of its activation, then the largest absolute output."""
    inputs = [_columns(trace[act - 1]).amax(1) for _, act in hidden(network)]
    outputs = [_columns(trace[act]).abs().amax(1) for _, act in hidden(network)]
    return torch.cat([*inputs, *outputs], 1)[:, None]


def _dead_units(pack: Pack, picked: Tensor) -> Cells:
    """Return the shares of inactive units (input never positive) and of dead ones (output always 0: no gradient)."""
    inside = [place for place in places(pack.network) if place.activation is not None]
    layers = [place.layer for place in inside]
    counts = [pack.network.layers[place.weights].weights["weight"][-1] for place in inside]
    inactive, dead = ((half <= 0).split(counts, 1) for half in picked.amax(1).chunk(2, 1))
    return [
        [
            Cell(int(units[index][run].sum()) / len(units[index][run]), "train", layer, name)
            for index, layer in enumerate(layers)
            for name, units in (("inactive", inactive), ("dead", dead))
        ]
        for run in range(len(pack.names))
    ]


DEAD_UNITS = Probe(moment="end", part="train", pick=_largest_values, cells=_dead_units)


def _positive_counts(network: Network, trace: list[Tensor]) -> Tensor:
    """Return for each unit of the first layer the number of images of a chunk with W x + b > 0: (runs, 1, units)."""
    return (trace[places(network)[0].weights] > 0).sum(1, keepdim=True)


def _hyperplanes(pack: Pack, picked: Tensor) -> Cells:
    """Return the share of hyperplanes W x + b = 0 that cut the data, and the mean share of images on the smaller side.

    Nearly every hyperplane separates at least one of many images, so the share is also given for those with at least
    `CUTS` of the images on either side.
    For a scatter plot: two inputs of some images, and for some hyperplanes their line in the plane of these inputs,
    weight_1 input_1 + weight_2 input_2 + shift = 0, with the other inputs at their means. The two inputs are those of
    largest mean absolute deviation: even at variance 1, it is small for a pixel that is nearly always 0.
    """
    count = len(pack.data["train"].x)
    smaller = torch.minimum(picked.sum(1), count - picked.sum(1))
    x = pack.data["train"].x.flatten(1).cpu()
    mean = sums.means(x, 0)
    inputs = torch.argsort(sums.means(x, 0, "absolute", mean), descending=True, stable=True)[:2]
    scatter = _scatter(x[:IMAGES, inputs], pack.data["train"].labels[:IMAGES].tolist())
    scatter += [Cell(int(index), "train", 1, "input", i) for i, index in enumerate(inputs, 1)]
    layer = pack.network.layers[places(pack.network)[0].weights]
    weights = layer.values["weight"].double().cpu()
    bias = layer.values["bias"].double().cpu() if "bias" in layer.values else torch.zeros(len(weights), 1, 1)
    rest = mean.clone()
    rest[inputs] = 0
    cells: Cells = []
    for i, side in enumerate(smaller):
        shift = sums.sums(rest[:, None] * weights[i], 0) + bias[i, 0]
        shares = [(int((side >= max(cut * count, 1)).sum()) / len(side), cut) for cut in CUTS]
        cells.append([Cell(share, "train", 1, "share_cutting", None, cut) for share, cut in shares])
        cells[-1] += [Cell(int(side.sum()) / (len(side) * count), "train", 1, "smaller_side"), *scatter]
        for unit in range(min(LINES, weights.shape[2])):
            line = (*weights[i, inputs, unit], shift[unit])
            names = zip(("weight_1", "weight_2", "shift"), line, strict=True)
            cells[-1] += [Cell(float(value), "train", 1, name, unit + 1) for name, value in names]
    return cells


def _scatter(points: Tensor, labels: list[int]) -> list[Cell]:
    """Return two inputs of some images, as `image_1` and `image_2`, and their labels."""
    return [
        Cell(float(value), "train", 1, name, image)
        for image, (point, label) in enumerate(zip(points, labels, strict=True), 1)
        for name, value in zip(("image_1", "image_2", "label"), (*point, label), strict=True)
    ]


HYPERPLANES = Probe(moment="start", part="train", pick=_positive_counts, cells=_hyperplanes)
