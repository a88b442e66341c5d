"""Forward and backward formulas of the norms, in NumPy and float64, each as its paper writes it.

Arrays have the features last, x_N...C, and no axis of runs. A statistic is a mean over `axes`, which stay as axes of
length 1. Scale gamma and shift beta are per channel. `keep` weighs the old running average: PyTorch's momentum is
1 - keep.
"""

from typing import NamedTuple

import numpy as np

from bnbench.training.nets.reference.layers import Array

Axes = tuple[int, ...]


def of_channels(x: Array) -> Axes:
    """Return all axes but the last: those of batch norm's statistics."""
    return tuple(range(x.ndim - 1))


def mean_variance(x: Array, axes: Axes) -> tuple[Array, Array]:
    """mu = 1/m sum x; sigma^2 = 1/m sum (x - mu)^2 (arXiv 1502.03167, algorithm 1, lines 1 and 2)."""
    mean = x.mean(axis=axes, keepdims=True)
    return mean, ((x - mean) ** 2).mean(axis=axes, keepdims=True)


def unbiased(variance: Array, count: int) -> Array:
    """m / (m - 1) sigma^2, the estimate in the running variance (arXiv 1502.03167, algorithm 2, step 10)."""
    return variance * count / (count - 1)


def moving_average(old: Array, new: Array, keep: float) -> Array:
    """running = keep running + (1 - keep) new."""
    return keep * old + (1 - keep) * new


def normalise(x: Array, mean: Array, variance: Array, epsilon: float) -> Array:
    """x^ = (x - mu) / sqrt(sigma^2 + epsilon) (arXiv 1502.03167, algorithm 1, line 3)."""
    return np.asarray((x - mean) / np.sqrt(variance + epsilon))


def scale_shift(normal: Array, gamma: Array | float, beta: Array | float) -> Array:
    """y = gamma x^ + beta (arXiv 1502.03167, algorithm 1, line 4)."""
    return gamma * normal + beta


class Gradients(NamedTuple):
    """The six gradients of batch norm's chain rule, in the paper's order."""

    normal: Array
    variance: Array
    mean: Array
    x: Array
    gamma: Array
    beta: Array


def normalise_back(d_normal: Array, x: Array, axes: Axes, epsilon: float) -> tuple[Array, Array, Array]:
    """The gradients of variance, mean and x (arXiv 1502.03167, section 3).

    d sigma^2 = sum dx^ (x - mu) (-1/2) (sigma^2 + epsilon)^(-3/2);
    d mu = sum dx^ (-1) / sqrt(sigma^2 + epsilon) + d sigma^2 1/m sum -2 (x - mu);
    dx = dx^ / sqrt(sigma^2 + epsilon) + d sigma^2 2 (x - mu) / m + d mu / m.
    """
    mean, variance = mean_variance(x, axes)
    count = x.size / mean.size
    sigma = np.sqrt(variance + epsilon)
    d_variance = (d_normal * (x - mean) * -0.5 * (variance + epsilon) ** -1.5).sum(axis=axes, keepdims=True)
    d_mean = (-d_normal / sigma).sum(axis=axes, keepdims=True)
    d_mean = d_mean + d_variance * (-2 * (x - mean)).mean(axis=axes, keepdims=True)
    dx = d_normal / sigma + d_variance * 2 * (x - mean) / count + d_mean / count
    return d_variance, d_mean, dx


def batch_norm(x: Array, gamma: Array | float, beta: Array | float, epsilon: float) -> Array:
    """Batch norm: statistics over all values of a channel in the mini-batch (arXiv 1502.03167, algorithm 1)."""
    return scale_shift(normalise(x, *mean_variance(x, of_channels(x)), epsilon), gamma, beta)


def batch_norm_back(dy: Array, x: Array, gamma: Array | float, epsilon: float) -> Gradients:
    """The six gradients (arXiv 1502.03167, section 3): dx^ = dy gamma, d gamma = sum dy x^, d beta = sum dy."""
    axes = of_channels(x)
    normal = normalise(x, *mean_variance(x, axes), epsilon)
    d_normal = dy * gamma
    d_variance, d_mean, dx = normalise_back(d_normal, x, axes, epsilon)
    return Gradients(d_normal, d_variance, d_mean, dx, (dy * normal).sum(axis=axes), dy.sum(axis=axes))


def center(x: Array, gamma: Array | float, beta: Array | float) -> Array:
    """y = gamma (x - mu) + beta: batch norm without its division."""
    return scale_shift(x - x.mean(axis=of_channels(x), keepdims=True), gamma, beta)


def center_back(dy: Array, x: Array, gamma: Array | float) -> tuple[Array, Array, Array]:
    """dx = dx^ - mean dx^ with dx^ = dy gamma; d gamma = sum dy (x - mu), d beta = sum dy: dx, d gamma, d beta."""
    axes = of_channels(x)
    d_normal = dy * gamma
    dx = d_normal - d_normal.mean(axis=axes, keepdims=True)
    return dx, (dy * (x - x.mean(axis=axes, keepdims=True))).sum(axis=axes), dy.sum(axis=axes)


def renorm_correction(
    x: Array, old: tuple[Array, Array], limits: tuple[float, float], epsilon: float
) -> tuple[Array, Array]:
    """r = clip(sigma_B / sigma, 1/rmax, rmax) and d = clip((mu_B - mu) / sigma, -dmax, dmax): r, d.

    arXiv 1702.03275, algorithm 1; sigma = sqrt(variance + epsilon). Constants to the gradient.

    Args:
        x: the mini-batch.
        old: running mean and variance before the step.
        limits: rmax and dmax.
        epsilon: added to both variances.
    """
    mean, variance = mean_variance(x, of_channels(x))
    sigma = np.sqrt(old[1] + epsilon)
    r = np.clip(np.sqrt(variance + epsilon) / sigma, 1 / limits[0], limits[0])
    return r, np.clip((mean - old[0]) / sigma, -limits[1], limits[1])


def renorm(x: Array, correction: tuple[Array, Array], gamma: Array | float, beta: Array | float, eps: float) -> Array:
    """y = gamma ((x - mu_B) / sigma_B r + d) + beta (arXiv 1702.03275, algorithm 1)."""
    r, d = correction
    return scale_shift(normalise(x, *mean_variance(x, of_channels(x)), eps) * r + d, gamma, beta)


def renorm_back(
    dy: Array, x: Array, correction: tuple[Array, Array], gamma: Array | float, epsilon: float
) -> tuple[Array, Array, Array]:
    """Batch norm's gradients of dx^ = dy gamma r; d gamma = sum dy (x^ r + d), d beta = sum dy: dx, d gamma, d beta."""
    axes = of_channels(x)
    r, d = correction
    normal = normalise(x, *mean_variance(x, axes), epsilon)
    dx = normalise_back(dy * gamma * r, x, axes, epsilon)[2]
    return dx, (dy * (normal * r + d)).sum(axis=axes), dy.sum(axis=axes)


def ghost_norm(x: Array, parts: int, gamma: Array | float, beta: Array | float, epsilon: float) -> Array:
    """Ghost batch norm: batch norm of each of the mini-batch's parts (arXiv 1705.08741, algorithm 1)."""
    return np.concatenate([batch_norm(part, gamma, beta, epsilon) for part in np.split(x, parts)])


def ghost_norm_back(
    dy: Array, x: Array, parts: int, gamma: Array | float, epsilon: float
) -> tuple[Array, Array, Array]:
    """Batch norm's gradients of each part; d gamma and d beta are sums over the parts: dx, d gamma, d beta."""
    pairs = zip(np.split(dy, parts), np.split(x, parts), strict=True)
    grads = [batch_norm_back(d_part, part, gamma, epsilon) for d_part, part in pairs]
    d_gamma, d_beta = (np.sum([grad[place] for grad in grads], axis=0) for place in (4, 5))
    return np.concatenate([grad.x for grad in grads]), d_gamma, d_beta


def _grouped(x: Array, groups: int) -> tuple[Array, Axes]:
    """Return x_N...C as x_N...GK, and the axes of a group's values: the positions and K."""
    split = x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)
    return split, (*range(1, x.ndim - 1), x.ndim)


def group_norm(x: Array, groups: int, gamma: Array | float, beta: Array | float, epsilon: float) -> Array:
    """Group norm: statistics over the positions and C / G channels of one sample (arXiv 1803.08494, section 3)."""
    split, axes = _grouped(x, groups)
    return scale_shift(normalise(split, *mean_variance(split, axes), epsilon).reshape(x.shape), gamma, beta)


def group_norm_back(
    dy: Array, x: Array, groups: int, gamma: Array | float, epsilon: float
) -> tuple[Array, Array, Array]:
    """The chain rule of batch norm over other axes: dx, d gamma, d beta."""
    split, axes = _grouped(x, groups)
    normal = normalise(split, *mean_variance(split, axes), epsilon).reshape(x.shape)
    dx = normalise_back((dy * gamma).reshape(split.shape), split, axes, epsilon)[2]
    summed = of_channels(x)
    return dx.reshape(x.shape), (dy * normal).sum(axis=summed), dy.sum(axis=summed)


def layer_norm(x: Array, gamma: Array | float, beta: Array | float, epsilon: float) -> Array:
    """Layer norm: statistics over all values of one sample (arXiv 1607.06450, equation 3)."""
    axes = tuple(range(1, x.ndim))
    return scale_shift(normalise(x, *mean_variance(x, axes), epsilon), gamma, beta)


def layer_norm_back(dy: Array, x: Array, gamma: Array | float, epsilon: float) -> tuple[Array, Array, Array]:
    """The chain rule of batch norm over other axes: dx, d gamma, d beta."""
    axes, summed = tuple(range(1, x.ndim)), of_channels(x)
    normal = normalise(x, *mean_variance(x, axes), epsilon)
    dx = normalise_back(dy * gamma, x, axes, epsilon)[2]
    return dx, (dy * normal).sum(axis=summed), dy.sum(axis=summed)


class Response(NamedTuple):
    """Settings of local response normalisation."""

    size: int
    alpha: float
    beta: float
    k: float


def _responses(x: Array, settings: Response) -> Array:
    """Return b = k + alpha/n sum of x_j^2, j from c - n // 2 to c + (n - 1) // 2 within the channels."""
    base = np.empty_like(x)
    for c in range(x.shape[-1]):
        near = x[..., max(0, c - settings.size // 2) : c + (settings.size - 1) // 2 + 1]
        base[..., c] = settings.k + settings.alpha / settings.size * (near**2).sum(axis=-1)
    return base


def local_response(x: Array, settings: Response) -> Array:
    """y_c = x_c / (k + alpha/n sum_j x_j^2)^beta (Krizhevsky et al. 2012, section 3.3; alpha/n as in PyTorch)."""
    return np.asarray(x / _responses(x, settings) ** settings.beta)


def local_response_back(dy: Array, x: Array, settings: Response) -> Array:
    """dx_i = dy_i b_i^-beta - 2 alpha beta / n x_i sum of dy_c x_c b_c^(-beta - 1) over the c whose window has i."""
    base = _responses(x, settings)
    dx = dy * base**-settings.beta
    for c in range(x.shape[-1]):
        near = slice(max(0, c - settings.size // 2), c + (settings.size - 1) // 2 + 1)
        term = dy[..., c] * x[..., c] * base[..., c] ** (-settings.beta - 1)
        dx[..., near] -= 2 * settings.alpha * settings.beta / settings.size * x[..., near] * term[..., None]
    return dx
