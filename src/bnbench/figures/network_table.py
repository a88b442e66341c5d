"""A network as a table: its layers, the shapes of their outputs, their learned numbers."""

from collections.abc import Iterator
from math import prod

import pandas as pd

from bnbench.params import architecture
from bnbench.params.schema import Run
from bnbench.tables import labels

COLUMNS = ("model", "stage", "name", "then", "output", "parameters")


def stages(run: Run, shape: architecture.Shape) -> pd.DataFrame:
    """A row per layer of a run's network: what it is, its output's shape for one image, its learned numbers."""
    rows = [("input", "", shape, 0), *_stages(run, shape)]
    table = [(run.model, i, layer, then, _text(out), count) for i, (layer, then, out, count) in enumerate(rows)]
    return pd.DataFrame(table, columns=list(COLUMNS))


def _stages(run: Run, shape: architecture.Shape) -> Iterator[tuple[str, str, tuple[int, ...], int]]:
    """(layer, what follows it, output, parameters) for each layer of the notation."""
    from bnbench.training.nets.layers import Conv, Flatten, Linear  # torch: only for figures that draw networks
    from bnbench.training.nets.network import build

    layers = [layer for layer in build(run, shape) if not isinstance(layer, Flatten)]
    counts = [sum(prod(weights) for weights in layer.weights.values()) for layer in layers]
    places = [i for i, layer in enumerate(layers) if isinstance(layer, Linear | Conv)]
    ends = [*places[1:], len(layers)]
    learned = iter([sum(counts[a:b]) for a, b in zip(places, ends, strict=True)])
    parts = architecture.parse(run.model).layers
    channels, height, width = shape
    for part in parts:
        then = "" if part is parts[-1] else _then(run)
        if isinstance(part, architecture.Conv):
            channels = part.kernels
            yield f"conv {part.size}x{part.size}, {part.kernels}", then, (channels, height, width), next(learned)
        elif isinstance(part, architecture.Pool):
            height, width = height // part.size, width // part.size
            yield f"max pool {part.size}x{part.size}", "", (channels, height, width), 0
        elif isinstance(part, architecture.Dense):
            channels, height, width = part.units, 1, 1
            yield f"dense {part.units}", then or "softmax", (part.units,), next(learned)
        elif isinstance(part, architecture.Drop):
            yield f"dropout {part.rate:g}", "", (channels,) if height == width == 1 else (channels, height, width), 0


def _then(run: Run) -> str:
    """What follows a hidden layer."""
    norm = [] if run.norm == "none" else [labels.short("norm", run.norm)]
    act = [labels.short("activation", run.activation)]
    drop = [f"dropout {run.dropout:g}"] if run.dropout else []
    return ", ".join([*norm, *act, *drop] if run.order == "pre" else [*act, *norm, *drop])


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
