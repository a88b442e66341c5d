"""Checks of a norm's settings against the rest of a run. Each yields the setting at fault, the rule and the remedy."""

import math
from collections.abc import Iterator

from bnbench.params import architecture
from bnbench.params.layers.specs import NormedLayers, Violation


def mean_of_several(layers: NormedLayers) -> Iterator[Violation]:
    """Refuse a mean of one value: the value minus its mean is 0."""
    yield from _single_value(layers, "a mean")


def variance_of_several(layers: NormedLayers) -> Iterator[Violation]:
    """Refuse a variance of one value: it is 0."""
    yield from _single_value(layers, "a variance")


def _single_value(layers: NormedLayers, estimate: str) -> Iterator[Violation]:
    if _one_per_channel(layers):
        yield "batch_size", f"{_no_estimate(layers, estimate)} per channel; use batch_size >= 2 or norm: none"


def equal_parts(layers: NormedLayers) -> Iterator[Violation]:
    """Refuse a number of parts that does not divide the mini-batch, or that leaves one value per channel."""
    run = layers.run
    if run.batch_size % run.norm_parts:
        rule = "ghost norm cuts a batch into equal parts"
        problem = f"{rule}, but {run.norm_parts} do not divide a batch of {run.batch_size}"
        yield "norm_parts", f"{problem}; use one of {_divisors(run.batch_size)}"
    elif run.batch_size == 1:
        yield from variance_of_several(layers)
    elif _one_per_channel(layers):
        problem = f"{_no_estimate(layers, 'a variance')} per channel and part"
        yield "norm_parts", f"{problem}; use norm_parts <= {run.batch_size // 2}"


def _one_per_channel(layers: NormedLayers) -> bool:
    return any(layers.samples == values == 1 for _, values in layers.sizes)


def _no_estimate(layers: NormedLayers, estimate: str) -> str:
    return f"{layers.run.norm} norm cannot estimate {estimate} from 1 value"


def equal_groups(layers: NormedLayers) -> Iterator[Violation]:
    """Refuse a number of groups that does not divide a layer's channels, or that leaves one value per group."""
    groups = layers.run.norm_groups
    uneven = [channels for channels, _ in layers.sizes if channels % groups]
    if uneven:
        fits = _divisors(math.gcd(*(channels for channels, _ in layers.sizes)))
        rule = f"{groups} groups do not divide the {uneven[0]} channels of a hidden layer"
        yield "norm_groups", f"{rule}; use one of {fits}, which divide those of all"
    elif any(channels * values == groups for channels, values in layers.sizes):
        yield "norm_groups", f"{_no_estimate(layers, 'a variance')} per group; use fewer groups"


def several_values(layers: NormedLayers) -> Iterator[Violation]:
    """Refuse a layer whose samples have one value each."""
    if any(channels * values == 1 for channels, values in layers.sizes):
        yield "model", f"{_no_estimate(layers, 'a variance')} per group; use a wider layer"


def has_conv(layers: NormedLayers) -> Iterator[Violation]:
    """Refuse a model without a conv layer."""
    model = layers.run.model
    if not architecture.convolutional(architecture.parse(model)):
        rule = "local response norm runs across the channels of conv layers"
        yield "norm", f"{rule}, and {model} has none; use a conv net or norm: layer"


def ramps_within_training(layers: NormedLayers) -> Iterator[Violation]:
    """Refuse a ramp of batch renormalisation that runs backwards or beyond the last epoch."""
    run = layers.run
    for key in ("renorm_rmax_ramp", "renorm_dmax_ramp"):
        begin, end = getattr(run, key)
        if end < begin:
            yield key, f"a ramp ends after it begins, got from epoch {begin:g} until epoch {end:g}"
        elif end > run.epochs:
            yield key, f"a ramp until epoch {end:g}, but the run has {run.epochs} epochs; use [from, until] within them"


def _divisors(number: int) -> str:
    """Return the divisors of a number as text: `1, 2, 4`."""
    return ", ".join(str(i) for i in range(1, number + 1) if number % i == 0)
