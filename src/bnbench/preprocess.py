"""Preprocessing, a table with one signature: from the training pixels to a function of any pixels."""

from collections.abc import Callable

from torch import Tensor

Prepare = Callable[[Tensor], Tensor]


def unit(_train: Tensor) -> Prepare:
    """Pixels 0..255 to 0..1."""
    return lambda pixels: pixels.float() / 255


def zscore(train: Tensor) -> Prepare:
    """Per channel: minus the mean, over the deviation, both of the training pixels x_NHWC."""
    values = train.double().flatten(0, 2)
    mean, deviation = values.mean(0), values.std(0, correction=0)
    return lambda pixels: ((pixels.double() - mean) / deviation).float()


PREPROCESSING: dict[str, Callable[[Tensor], Prepare]] = {"unit": unit, "zscore": zscore}
