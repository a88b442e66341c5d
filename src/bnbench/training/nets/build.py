"""The layers of a run's model, each built from the settings that it uses."""

import math
from pkgutil import resolve_name

from bnbench.params import architecture, norm_rules
from bnbench.params.layers.activations import ACTIVATIONS
from bnbench.params.layers.norms import LRN, NORMS
from bnbench.params.layers.specs import LayerSpec
from bnbench.params.run_schema import Run
from bnbench.training.nets.layers import INITS, Conv, Dropout, Flatten, Layer, Linear, MaxPool


def made(spec: LayerSpec, channels: int, run: Run) -> Layer:
    """Return a norm's or an activation's layer.

    Raises:
        ValueError: the entry has no layer.
        ImportError: there is no module of that name.
        AttributeError: the module has no such class.
    """
    if spec.layer is None:
        raise ValueError(f"{spec.name} has no layer")
    settings = {argument: getattr(run, key) for argument, key in spec.settings.items()}
    layer: Layer = resolve_name(spec.layer)(channels, **settings)
    return layer


def build(run: Run, shape: architecture.Shape) -> list[Layer]:
    """Return the layers of a run's model: after each hidden conv or dense layer, norm and activation in its `order`.

    Args:
        run: the run's settings.
        shape: channels, height and width of an image.
    """
    model = architecture.parse(run.model)
    rows = architecture.trace(model, shape)
    first_dense = next(place for place, row in enumerate(rows) if isinstance(row.layer, architecture.Dense))
    layers: list[Layer] = []
    for place, row in enumerate(rows):
        if place == first_dense:
            layers.append(Flatten())
        layers += _layers(run, model, row, place)
    return layers


def _layers(run: Run, model: architecture.Model, row: architecture.Placed, place: int) -> list[Layer]:
    """Return what one layer of the model's notation stands for."""
    if isinstance(row.layer, architecture.Conv):
        return _conv(run, row, row.layer, place)
    if isinstance(row.layer, architecture.Dense):
        return _dense(run, model, row, place)
    if isinstance(row.layer, architecture.Pool):
        return [MaxPool(row.layer.size)]
    if isinstance(row.layer, architecture.Drop):
        return [Dropout(row.layer.rate, place)]
    return [made(LRN, row.input[0], run)]


def _conv(run: Run, row: architecture.Placed, conv: architecture.Conv, place: int) -> list[Layer]:
    channels, normed = row.input[0], norm_rules.in_conv(run)
    std = INITS[run.init](channels * conv.size**2, conv.kernels * conv.size**2, run.init_deviation)
    bias = norm_rules.has_bias(run, normed)
    layer = Conv(channels, conv.kernels, conv.size, bias=bias, std=std, precision=run.precision, place=place)
    return [layer, *_hidden(conv.kernels, run, normed)]


def _dense(run: Run, model: architecture.Model, row: architecture.Placed, place: int) -> list[Layer]:
    inputs, units = math.prod(row.input), row.output[0]
    last, normed = place == len(model.layers) - 1, norm_rules.in_dense(run, model)
    std = INITS[run.init](inputs, units, run.init_deviation)
    bias = last or norm_rules.has_bias(run, normed)
    layer = Linear(inputs, units, bias=bias, std=std, precision=run.precision, place=place)
    if last:
        return [layer]
    return [layer, *_hidden(units, run, normed), *([Dropout(run.dropout, place)] if run.dropout else [])]


def _hidden(channels: int, run: Run, normed: bool) -> list[Layer]:
    """Return norm and activation of a hidden layer in their order."""
    norm = [made(NORMS[run.norm], channels, run)] if normed else []
    activation = [made(ACTIVATIONS[run.activation], channels, run)]
    return [*norm, *activation] if run.order == "pre" else [*activation, *norm]
