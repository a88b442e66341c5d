"""Consequences of a run's norm for its model: which layers have it, which have a bias, and what that forbids."""

from collections.abc import Iterator

from bnbench.params import architecture
from bnbench.params.layers.activations import ACTIVATIONS
from bnbench.params.layers.norms import NORMS
from bnbench.params.layers.specs import NormedLayers, Violation
from bnbench.params.run_schema import Run


def in_conv(run: Run) -> bool:
    """Return whether conv layers have the norm."""
    return NORMS[run.norm].layer is not None


def in_dense(run: Run, model: architecture.Model) -> bool:
    """Return whether the hidden dense layers have the norm: with `norm_dense: false` those of a conv net do not."""
    return in_conv(run) and (run.norm_dense or not architecture.convolutional(model))


def has_bias(run: Run, normed: bool) -> bool:
    """Return whether a hidden layer has a bias.

    It has none directly before a norm that subtracts the channel's mean: the mean would cancel it, and beta replaces
    it (Ioffe and Szegedy 2015, section 3.2).
    """
    return not (normed and run.order == "pre" and NORMS[run.norm].cancels_bias)


def learned(run: Run, shape: architecture.Shape) -> list[int]:
    """Return the learned numbers of each layer of a run's model: weights, bias, and those of norm and activation."""
    model = architecture.parse(run.model)
    *hidden, last = architecture.trace(model, shape)
    scale = [getattr(run, key) for key in NORMS[run.norm].learned].count("learned")
    counts = []
    for row in hidden:
        is_conv, has_weights = isinstance(row.layer, architecture.Conv), bool(row.weights)
        with_norm = has_weights and (in_conv(run) if is_conv else in_dense(run, model))
        each = has_bias(run, with_norm) + with_norm * scale + ACTIVATIONS[run.activation].learned
        counts.append(row.weights + has_weights * each * row.output[0])
    return [*counts, last.weights + last.output[0]]


def normed(run: Run, model: architecture.Model, shape: architecture.Shape) -> Iterator[tuple[int, int]]:
    """Yield for each layer with the norm its channels, and the values of one sample in one of them."""
    for row in architecture.trace(model, shape)[:-1]:
        channels, height, width = row.output
        if isinstance(row.layer, architecture.Conv) and in_conv(run):
            yield channels, height * width
        elif isinstance(row.layer, architecture.Dense) and in_dense(run, model):
            yield channels, 1


def problems(run: Run, model: architecture.Model, shape: architecture.Shape) -> Iterator[Violation]:
    """Yield the settings of norm and activation that do not fit the rest of the run, and why."""
    norm, activation = NORMS[run.norm], ACTIVATIONS[run.activation]
    samples = norm.samples(run.batch_size, run.norm_parts)
    if samples is not None:
        layers = NormedLayers(run, samples, list(normed(run, model, shape)))
        for check in norm.checks:
            yield from check(layers)
    if run.backend == "numpy":
        for spec in (norm, activation):
            if spec.layer and not spec.reference:
                yield "backend", f"{spec.label} has no NumPy reference; use backend: torch"
