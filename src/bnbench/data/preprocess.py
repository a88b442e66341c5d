"""Preprocessing: a table of functions that fit statistics to the training images and return a transform of any images.

Images are x_NHWC with pixels 0..255. Statistics come from the training images alone. They are sums of whole numbers,
exact in any order, so means, deviations and covariances are the doubles nearest to their true values on every machine.
"""

import math
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from bnbench.arithmetic.eigen import eigen
from bnbench.arithmetic.images import pixel_products, product

Prepare = Callable[[Tensor], Tensor]  # images, 0..255 -> inputs of the network, float32

# Added to the variance of each principal component of pixels / 255 before dividing by its square root, so that
# components that hardly vary (a tenth of MNIST's pixels never do) do not become noise of size 1. Variances of MNIST's
# components: 5.1 to 0.
EPSILON = 0.01

IMAGES = 240  # images that are transformed in doubles at a time: 6 MB with 3072 pixels each
VALUES = 1 << 22  # pixels that are summed at a time: 16 MB


def raw(_train: Tensor) -> Prepare:
    """Leave pixels as they are, 0..255."""
    return lambda pixels: pixels.float()


def unit(_train: Tensor) -> Prepare:
    """Scale pixels to 0..1."""
    return lambda pixels: pixels.float() / 255


def center(train: Tensor) -> Prepare:
    """Scale pixels to 0..1 and subtract the mean of each position (row, column, channel)."""
    mean, _ = _moments(train.flatten(1))
    return _in_doubles(lambda x_ND: (x_ND - mean) / 255)


def zscore(train: Tensor) -> Prepare:
    """Subtract the mean of each channel and divide by its standard deviation; a constant channel becomes 0."""
    positions = train.shape[1] * train.shape[2]
    mean, deviation = (row.repeat(positions) for row in _moments(train.flatten(0, 2)))
    return _in_doubles(lambda x_ND: (x_ND - mean) / deviation)


def standard(train: Tensor) -> Prepare:
    """Subtract the mean of each position and divide by its standard deviation; a constant position becomes 0."""
    mean, deviation = _moments(train.flatten(1))
    return _in_doubles(lambda x_ND: (x_ND - mean) / deviation)


def pca(train: Tensor) -> Prepare:
    """Whiten: subtract the mean, project onto the principal components in order of decreasing variance, and scale.

    Each component is divided by sqrt(variance + EPSILON). The result has the shape of the images, (N, H, W, C), but its
    values no longer have a position in an image.
    """
    mean, components, scale = _principal(train)
    projection = components.T * scale
    return _in_doubles(lambda x_ND: product(x_ND - mean, projection))


def zca(train: Tensor) -> Prepare:
    """Whiten as `pca` does and rotate back: of all whitened images those that are nearest to the pixels."""
    mean, components, scale = _principal(train)
    projection = product(components.T * scale, components)
    return _in_doubles(lambda x_ND: product(x_ND - mean, projection))


def _in_doubles(transform: Callable[[Tensor], Tensor]) -> Prepare:
    """Return the function that applies `transform`, x_ND -> y_ND in doubles, to a few images at a time."""

    def prepare(pixels: Tensor) -> Tensor:
        out = torch.empty(pixels.shape)
        for to, chunk in zip(out.split(IMAGES), pixels.split(IMAGES), strict=True):
            to.copy_(transform(chunk.flatten(1).double()).view(chunk.shape))
        return out

    return prepare


def _sums(x_NK: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum and the sum of squares of each column of bytes, int64."""
    sums, squares = torch.zeros(2, x_NK.shape[1], dtype=torch.int64)
    for part in x_NK.split(max(1, VALUES // x_NK.shape[1])):
        whole = part.int()
        sums += whole.sum(0)
        squares += (whole * whole).sum(0)
    return sums, squares


def _moments(x_NK: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the standard deviation of each column of bytes, doubles; infinity where it is constant.

    Both follow from whole numbers by one division, and one square root, each rounded once.
    """
    count, (sums, squares) = len(x_NK), _sums(x_NK)
    pairs = zip(sums.tolist(), squares.tolist(), strict=True)  # Python's integers do not overflow
    variances = [(count * square - sum_ * sum_) / count**2 for sum_, square in pairs]
    return sums.double() / count, _doubles(math.sqrt(variance) or math.inf for variance in variances)


def _principal(train: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean (D,), the principal components (k, D) and the factors (k,) that scale them to unit variance.

    There are as many components as images, at most D. The sign of a component makes its largest weight positive, the
    first of them if several are equal.
    """
    x_ND = train.flatten(1)
    count, sums = len(x_ND), _sums(x_ND)[0]
    # whole numbers: below 2^63 up to 11 million images, and below 2^53, so exact as doubles, up to 370,000
    covariance = (count * pixel_products(x_ND) - sums[:, None] * sums).double() / max(1, count * (count - 1))
    values, vectors = (array[:count].numpy() for array in eigen(covariance))
    signs = np.sign(vectors[np.arange(len(vectors)), np.abs(vectors).argmax(1)])
    factors = [1 / math.sqrt(max(value, 0.0) + EPSILON * 255 * 255) for value in values.tolist()]
    return sums.double() / count, torch.from_numpy(vectors * signs[:, None]), _doubles(factors)


def _doubles(values: Iterable[float]) -> Tensor:
    return torch.tensor(list(values), dtype=torch.float64)


PREPROCESSING: dict[str, Callable[[Tensor], Prepare]] = {
    "raw": raw,
    "unit": unit,
    "center": center,
    "zscore": zscore,
    "standard": standard,
    "pca": pca,
    "zca": zca,
}
