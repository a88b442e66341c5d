"""Layers of a network as a table: names, output shapes, numbers of learned parameters."""

from collections.abc import Iterator

import pandas as pd

from bnbench.params import architecture, norm_rules
from bnbench.params.run_schema import Run
from bnbench.tables import labels

COLUMNS = ("model", "stage", "name", "then", "output", "parameters")


def layer_table(run: Run, shape: architecture.Shape) -> pd.DataFrame:
    """Return a row per layer of a run's network for images of `shape` (C, H, W): `COLUMNS`."""
    rows = [("input", "", shape, 0), *_layers(run, shape)]
    table = [(run.model, i, layer, then, _text(out), count) for i, (layer, then, out, count) in enumerate(rows)]
    return pd.DataFrame(table, columns=list(COLUMNS))


def _layers(run: Run, shape: architecture.Shape) -> Iterator[tuple[str, str, tuple[int, ...], int]]:
    """Yield name, operations that follow, output shape and number of parameters of each layer of the model."""
    placed = architecture.trace(architecture.parse(run.model), shape)
    for row, learned in zip(placed, norm_rules.learned(run, shape), strict=True):
        part, then = row.layer, "" if row is placed[-1] else _then(run)
        out = row.output if row.output[1:] != (1, 1) else row.output[:1]
        if isinstance(part, architecture.Conv):
            yield f"conv {part.size}x{part.size}, {part.filters}", then, row.output, learned
        elif isinstance(part, architecture.Pool):
            yield f"max pool {part.size}x{part.size}", "", row.output, 0
        elif isinstance(part, architecture.Dense):
            yield f"dense {part.units}", then or "softmax", out, learned
        elif isinstance(part, architecture.Drop):
            yield f"dropout {part.rate:g}", "", out, 0


def _then(run: Run) -> str:
    """Return the operations after a hidden layer, in their order: "batch norm, ReLU"."""
    norm = [] if run.norm == "none" else [labels.short("norm", run.norm)]
    act = [labels.short("activation", run.activation)]
    drop = [f"dropout {run.dropout:g}"] if run.dropout else []
    return ", ".join([*norm, *act, *drop] if run.order == "pre" else [*act, *norm, *drop])


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
