"""Forward and backward formulas of dense layers, activations, dropout, loss and optimizers, in NumPy and float64.

Each formula is written as it was published. Arrays have the features last, x_N...C, and no axis of runs; a function
whose name ends in `_back` takes dy, the loss's gradient with respect to the output, and returns those with respect to
the inputs. The norms are in `reference.norms`.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def dense(x: Array, weight: Array, bias: Array | float) -> Array:
    """y = x W + b (Rumelhart, Hinton and Williams 1986, equation 1)."""
    return x @ weight + bias


def dense_back(dy: Array, x: Array, weight: Array) -> tuple[Array, Array, Array]:
    """dx = dy W^T, dW = x^T dy, db = sum of dy over the images (Rumelhart et al. 1986, equations 6 and 7)."""
    return dy @ weight.T, x.T @ dy, dy.sum(axis=0)


def relu(x: Array) -> Array:
    """y = max(x, 0) (Nair and Hinton 2010)."""
    return np.maximum(x, 0)


def relu_back(dy: Array, x: Array) -> Array:
    """dx = dy where x > 0, else 0."""
    return np.where(x > 0, dy, 0)


def leaky_relu(x: Array, slope: float) -> Array:
    """y = x where x > 0, else slope x (Maas, Hannun and Ng 2013)."""
    return np.where(x > 0, x, slope * x)


def leaky_relu_back(dy: Array, x: Array, slope: float) -> Array:
    """dx = dy where x > 0, else slope dy."""
    return np.where(x > 0, dy, slope * dy)


def prelu(x: Array, slope: Array) -> Array:
    """y = x where x > 0, else a_c x with a learned a_c per channel (arXiv 1502.01852, equation 1)."""
    return np.where(x > 0, x, slope * x)


def prelu_back(dy: Array, x: Array, slope: Array) -> tuple[Array, Array]:
    """dx = dy where x > 0, else a_c dy; da_c = sum of dy x where x <= 0 (arXiv 1502.01852, equations 2 and 3)."""
    summed = tuple(range(x.ndim - 1))
    return np.where(x > 0, dy, slope * dy), np.where(x > 0, 0, dy * x).sum(axis=summed)


def sigmoid(x: Array) -> Array:
    """y = 1 / (1 + e^-x), by e^-|x|, which cannot overflow (Rumelhart et al. 1986, equation 2)."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


def sigmoid_back(dy: Array, y: Array) -> Array:
    """dx = dy y (1 - y), with y the output (Rumelhart et al. 1986, equation 5)."""
    return dy * y * (1 - y)


def tanh(x: Array) -> Array:
    """y = (e^x - e^-x) / (e^x + e^-x)."""
    return np.tanh(x)


def tanh_back(dy: Array, y: Array) -> Array:
    """dx = dy (1 - y^2), with y the output."""
    return dy * (1 - y**2)


def dropout_mask(uniform: Array, rate: float) -> Array:
    """0 where a number drawn from [0, 1) is below `rate`, else 1 / (1 - rate).

    Srivastava et al. 2014, section 10: inverted, so that nothing is to be scaled outside training.
    """
    return np.where(uniform < rate, 0, 1 / (1 - rate))


def dropout(x: Array, mask: Array) -> Array:
    """y = x mask."""
    return x * mask


def dropout_back(dy: Array, mask: Array) -> Array:
    """dx = dy mask."""
    return dy * mask


def softmax(logits: Array) -> Array:
    """p_k = e^z_k / sum_j e^z_j, the largest z subtracted first (Bridle 1990)."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def cross_entropy(logits: Array, target: Array) -> float:
    """L = -sum_n sum_k t_nk log p_nk, summed over the images; log p_k = z_k - log sum_j e^z_j."""
    z = logits - logits.max(axis=-1, keepdims=True)
    return float(-(target * (z - np.log(np.exp(z).sum(axis=-1, keepdims=True)))).sum())


def cross_entropy_back(logits: Array, target: Array) -> Array:
    """dz = p - t, of the sum over the images (Bishop 2006, equation 4.109)."""
    return softmax(logits) - target


def sgd(weight: Array, velocity: Array, gradient: Array, rate: float, momentum: float) -> tuple[Array, Array]:
    """v = momentum v + g; w = w - rate v (Polyak 1964, the rate outside the velocity as in PyTorch): w, v."""
    velocity = momentum * velocity + gradient
    return weight - rate * velocity, velocity


def adam_moments(mean: Array, square: Array, gradient: Array, betas: tuple[float, float]) -> tuple[Array, Array]:
    """m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2 (arXiv 1412.6980, algorithm 1): m, v."""
    mean = betas[0] * mean + (1 - betas[0]) * gradient
    return mean, betas[1] * square + (1 - betas[1]) * gradient**2


def adam_step(mean: Array, square: Array, betas: tuple[float, float], epsilon: float, step: int) -> Array:
    """m^ / (sqrt(v^) + epsilon), m^ = m / (1 - beta1^t), v^ = v / (1 - beta2^t), t from 1 (arXiv 1412.6980)."""
    corrected = mean / (1 - betas[0] ** step), square / (1 - betas[1] ** step)
    return np.asarray(corrected[0] / (np.sqrt(corrected[1]) + epsilon))
