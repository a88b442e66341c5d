"""Adam's constants for the compiled update, by + - * alone: powers by the C library differ between machines."""

import torch
from torch import Tensor


def power(base: float, n: int) -> float:
    """Return base^n in float64 for a whole n >= 0 by repeated squaring, the bits of n from the lowest.

    The relative error is at most 2 n 2^-53.
    """
    result = 1.0
    while n:
        if n & 1:
            result *= base
        base *= base
        n >>= 1
    return result


def corrections(beta: float, steps: range) -> Tensor:
    """Return Adam's bias corrections 1 - beta^t of training steps t, counted from 1: (steps,) float64."""
    return torch.tensor([1 - power(beta, t) for t in steps], dtype=torch.float64)


def adam_constants(beta1: float, beta2: float, epsilon: float) -> tuple[float, ...]:
    """Return the constants of the compiled operation `adam`; the differences are taken in float64."""
    return beta1, 1 - beta1, beta2, 1 - beta2, epsilon
