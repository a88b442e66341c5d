"""Preprocessing: a table of functions that fit statistics to the training images and return a transform of any images.

Images are x_NHWC with pixels 0..255. Statistics come from the training images alone. Whitening is in units of
pixels / 255.
"""

from collections.abc import Callable

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

Prepare = Callable[[Tensor], Tensor]  # images, 0..255 -> inputs of the network, float32

# Added to the variance of each principal component before dividing by its square root, so that components that hardly
# vary (a tenth of MNIST's pixels never do) do not become noise of size 1. Variances of MNIST's components: 5.1 to 0.
EPSILON = 0.01


def raw(_train: Tensor) -> Prepare:
    """Leave pixels as they are, 0..255."""
    return lambda pixels: pixels.float()


def unit(_train: Tensor) -> Prepare:
    """Scale pixels to 0..1."""
    return lambda pixels: pixels.float() / 255


def center(train: Tensor) -> Prepare:
    """Scale pixels to 0..1 and subtract the mean of each position (row, column, channel)."""
    mean = _unit(train).mean(0)
    return lambda pixels: (_unit(pixels) - mean).float()


def zscore(train: Tensor) -> Prepare:
    """Subtract the mean of each channel and divide by its standard deviation."""
    values = train.double().flatten(0, 2)
    mean, std = values.mean(0), values.std(0, correction=0)
    return lambda pixels: ((pixels.double() - mean) / std).float()


def standard(train: Tensor) -> Prepare:
    """Subtract the mean of each position and divide by its standard deviation; a constant position becomes 0."""
    mean, std = _unit(train).mean(0), _unit(train).std(0, correction=0)
    scale = torch.where(std > 0, 1 / std, 0.0)
    return lambda pixels: ((_unit(pixels) - mean) * scale).float()


def pca(train: Tensor) -> Prepare:
    """Whiten: subtract the mean, project onto the principal components in order of decreasing variance, and scale.

    Each component is divided by sqrt(variance + EPSILON). The result has the shape of the images, (N, H, W, C), but its
    values no longer have a position in an image.
    """
    mean, components, scale = _principal(train)
    projection = components.T * scale
    return lambda pixels: ((_unit(pixels).flatten(1) - mean) @ projection).float().view(pixels.shape)


def zca(train: Tensor) -> Prepare:
    """Whiten as `pca` does and rotate back: of all whitened images those that are nearest to the pixels."""
    mean, components, scale = _principal(train)
    projection = (components.T * scale) @ components
    return lambda pixels: ((_unit(pixels).flatten(1) - mean) @ projection).float().view(pixels.shape)


def _unit(pixels: Tensor) -> Tensor:
    return pixels.double() / 255


def _principal(train: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean (d,), the principal components (k, d) and the factors (k,) that scale them to unit variance.

    The sign of a component makes its largest weight positive, and a single thread computes them, so that they depend
    on neither the pack nor the number of cores.
    """
    from sklearn.decomposition import PCA  # importing scikit-learn takes a second, and most runs do not need it

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
