"""What a norm's statistics see: how many examples, how many values, and what that forbids. No torch here."""

import math
from collections.abc import Callable, Iterator

from bnbench.params import architecture
from bnbench.params.run_schema import Run


def _batch(batch_size: int, parts: int) -> int:  # noqa: ARG001
    return batch_size


def _part(batch_size: int, parts: int) -> int:
    return batch_size // parts


def _image(batch_size: int, parts: int) -> int:  # noqa: ARG001
    return 1


# norm -> examples that one of its statistics sees in training
SPANS: dict[str, Callable[[int, int], int] | None] = {
    "none": None,
    "batch": _batch,
    "center": _batch,
    "renorm": _batch,
    "ghost": _part,
    "group": _image,
    "layer": _image,
    "local_response": _image,
}
# norms whose mean is one per channel: it cancels a bias put just before it
PER_CHANNEL = frozenset(name for name, seen in SPANS.items() if seen in (_batch, _part))


def span(norm: str, batch_size: int, parts: int) -> int | None:
    """How many examples a statistic of the norm sees in training; None without a norm."""
    seen = SPANS[norm]
    return seen(batch_size, parts) if seen else None


def convolutional(model: architecture.Model) -> bool:
    """Whether the model has a conv layer."""
    return any(isinstance(layer, architecture.Conv) for layer in model.layers)


def in_dense(run: Run, model: architecture.Model) -> bool:
    """Whether the hidden dense layers have the norm: those of a conv net may go without."""
    return run.norm != "none" and (run.norm_dense or not convolutional(model))


def has_bias(run: Run, normed: bool) -> bool:
    """Whether a hidden layer has a bias: not where the norm's mean cancels it, and beta takes its part."""
    return not (normed and run.order == "pre" and run.norm in PER_CHANNEL)


def learned(run: Run, shape: architecture.Shape) -> list[int]:
    """Learned numbers of each layer of a run's model: weights and bias, its norm's and its activation's."""
    model = architecture.parse(run.model)
    *hidden, last = architecture.trace(model, shape)
    scale = 0 if run.norm == "local_response" else (run.norm_gamma, run.norm_beta).count("learned")
    counts = []
    for row in hidden:
        in_conv, in_net = isinstance(row.layer, architecture.Conv), bool(row.weights)
        normed = in_net and (run.norm != "none" if in_conv else in_dense(run, model))
        each = has_bias(run, normed) + normed * scale + (run.activation == "prelu")
        counts.append(row.weights + in_net * each * row.output[0])
    return [*counts, last.weights + last.output[0]]


def normed(run: Run, model: architecture.Model, shape: architecture.Shape) -> Iterator[tuple[int, int]]:
    """Channels of each layer that has the norm, and how many values an image has in one of them."""
    for row in architecture.trace(model, shape)[:-1]:
        channels, height, width = row.output
        if isinstance(row.layer, architecture.Conv) and run.norm != "none":
            yield channels, height * width
        elif isinstance(row.layer, architecture.Dense) and in_dense(run, model):
            yield channels, 1


def problems(run: Run, model: architecture.Model, shape: architecture.Shape) -> Iterator[tuple[str, str]]:
    """The settings of the norm that are at odds with the rest, and why."""
    layers = list(normed(run, model, shape))
    if run.norm == "ghost" and run.batch_size % run.norm_parts:
        fits = _listed(run.batch_size)
        rule = "ghost norm cuts a batch into equal parts"
        yield (
            "norm_parts",
            f"{rule}, but {run.norm_parts} do not divide a batch of {run.batch_size}; use one of {fits}",
        )
    elif run.norm in PER_CHANNEL:
        yield from _single_values(run, layers)
    if run.norm in ("group", "layer"):
        yield from _of_groups(run, layers)
    if run.norm == "local_response" and not convolutional(model):
        rule = "local response norm runs across the channels of conv layers"
        yield "norm", f"{rule}, and {run.model} has none; use a conv net or norm: layer"
    if run.norm == "renorm":
        yield from _of_ramps(run)


def _single_values(run: Run, layers: list[tuple[int, int]]) -> Iterator[tuple[str, str]]:
    """A statistic of one value: its variance is 0, and the value less its mean is 0."""
    seen = span(run.norm, run.batch_size, run.norm_parts)
    if not any(seen == values == 1 for _, values in layers):
        return
    estimate = "a mean" if run.norm == "center" else "a variance"
    rule = f"{run.norm} norm cannot estimate {estimate} from 1 value per channel"
    if run.norm == "ghost" and run.batch_size > 1:
        yield "norm_parts", f"{rule} and part; use norm_parts <= {run.batch_size // 2}"
    else:
        yield "batch_size", f"{rule}; use batch_size >= 2 or norm: none"


def _of_groups(run: Run, layers: list[tuple[int, int]]) -> Iterator[tuple[str, str]]:
    """Groups that are no whole number of channels, or of one value."""
    groups = run.norm_groups if run.norm == "group" else 1
    uneven = [channels for channels, _ in layers if channels % groups]
    if uneven:
        fits = _listed(math.gcd(*(channels for channels, _ in layers)))
        rule = f"{groups} groups do not divide the {uneven[0]} channels of a hidden layer"
        yield "norm_groups", f"{rule}; use one of {fits}, which divide those of all"
    elif any(channels * values == groups for channels, values in layers):
        key, remedy = ("norm_groups", "fewer groups") if run.norm == "group" else ("model", "a wider layer")
        yield key, f"{run.norm} norm cannot estimate a variance from 1 value per group; use {remedy}"


def _of_ramps(run: Run) -> Iterator[tuple[str, str]]:
    for key, (begin, end) in (
        ("renorm_rmax_ramp", run.renorm_rmax_ramp),
        ("renorm_dmax_ramp", run.renorm_dmax_ramp),
    ):
        if end < begin:
            yield key, f"a ramp ends after it begins, got from epoch {begin:g} until epoch {end:g}"
        elif end > run.epochs:
            yield key, f"a ramp until epoch {end:g}, but the run has {run.epochs} epochs; use [from, until] within them"


def _listed(number: int) -> str:
    """The divisors of a number: 1, 2, 4."""
    return ", ".join(str(i) for i in range(1, number + 1) if number % i == 0)
