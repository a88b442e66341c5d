"""Preprocessing, a table with one signature: from the training pixels to a function of any pixels.

All statistics are of the training pixels alone, x_NHWC of 0..255. Whitening is in units of pixels / 255.
"""

from collections.abc import Callable

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

Prepare = Callable[[Tensor], Tensor]

# Added to each principal component's variance before its root is divided by: it keeps components that hardly vary
# (a tenth of MNIST's pixels never do) from becoming noise of size 1. Variances of MNIST's: 5.1 to 0.
EPSILON = 0.01


def raw(_train: Tensor) -> Prepare:
    """Pixels as they are, 0..255."""
    return lambda pixels: pixels.float()


def unit(_train: Tensor) -> Prepare:
    """Pixels 0..255 to 0..1."""
    return lambda pixels: pixels.float() / 255


def center(train: Tensor) -> Prepare:
    """Pixels 0..1, each place in the image minus its own mean."""
    mean = _unit(train).mean(0)
    return lambda pixels: (_unit(pixels) - mean).float()


def zscore(train: Tensor) -> Prepare:
    """Per channel: minus the mean, over the deviation."""
    values = train.double().flatten(0, 2)
    mean, deviation = values.mean(0), values.std(0, correction=0)
    return lambda pixels: ((pixels.double() - mean) / deviation).float()


def standard(train: Tensor) -> Prepare:
    """Each place in the image minus its own mean, over its own deviation; a place that never varies is 0."""
    mean, deviation = _unit(train).mean(0), _unit(train).std(0, correction=0)
    scale = torch.where(deviation > 0, 1 / deviation, 0.0)
    return lambda pixels: ((_unit(pixels) - mean) * scale).float()


def pca(train: Tensor) -> Prepare:
    """Whitened: minus the mean, in the principal components, the one of largest variance first.

    Each is divided by the root of its variance plus `EPSILON`; the images' shape (H, W, C) only counts them.
    """
    mean, components, scale = _principal(train)
    turn = components.T * scale
    return lambda pixels: ((_unit(pixels).flatten(1) - mean) @ turn).float().view(pixels.shape)


def zca(train: Tensor) -> Prepare:
    """Whitened as by `pca` and turned back: of all whitened images those that are nearest to the pixels."""
    mean, components, scale = _principal(train)
    turn = (components.T * scale) @ components
    return lambda pixels: ((_unit(pixels).flatten(1) - mean) @ turn).float().view(pixels.shape)


def _unit(pixels: Tensor) -> Tensor:
    return pixels.double() / 255


def _principal(train: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (d,), principal components (k, d) and the factors (k,) that give them a variance of 1.

    The sign of a component is such that its largest weight is positive, and one thread computes them: so they do
    not depend on the pack, nor on how many cores there are.
    """
    from sklearn.decomposition import PCA  # takes a second, and most runs need none

    with threadpool_limits(1):
        fitted = PCA(svd_solver="covariance_eigh").fit(_unit(train).flatten(1).numpy())
    weights = fitted.components_
    signs = np.sign(weights[np.arange(len(weights)), np.abs(weights).argmax(1)])
    scale = 1 / np.sqrt(fitted.explained_variance_ + EPSILON)
    arrays = (fitted.mean_, weights * signs[:, None], scale)
    mean, components, factors = (torch.from_numpy(array) for array in arrays)
    return mean, components, factors


PREPROCESSING: dict[str, Callable[[Tensor], Prepare]] = {
    "raw": raw,
    "unit": unit,
    "center": center,
    "zscore": zscore,
    "standard": standard,
    "pca": pca,
    "zca": zca,
}
