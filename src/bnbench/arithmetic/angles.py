"""Sine and cosine of angles in degrees, from products and sums of doubles alone.

Those of a C library or of PyTorch differ between versions and processors in the last bit.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

# Taylor's terms in x^2, up to x^17 and x^16: for |x| <= pi / 4 what is left out is below 1e-18 of the result
SINE = [(-1) ** k / math.factorial(2 * k + 1) for k in range(9)]
COSINE = [(-1) ** k / math.factorial(2 * k) for k in range(9)]


def sine_and_cosine(degrees: Tensor) -> tuple[Tensor, Tensor]:
    """Return sine and cosine of angles from -180 to 180 degrees, doubles; exact at multiples of 90, else within 3e-16.

    An angle is reduced to at most 45 degrees by whole right angles, without rounding.
    """
    right_angles = (degrees / 90).round()
    x = (degrees - right_angles * 90) * (math.pi / 180)
    square = x * x
    sine, cosine = _polynomial(SINE, square) * x, _polynomial(COSINE, square)
    quadrant = right_angles.long() % 4
    swapped = quadrant % 2 == 1
    sine, cosine = torch.where(swapped, cosine, sine), torch.where(swapped, sine, cosine)
    return torch.where(quadrant >= 2, -sine, sine), torch.where((quadrant == 1) | (quadrant == 2), -cosine, cosine)


def _polynomial(coefficients: Sequence[float], x: Tensor) -> Tensor:
    """Return the sum of coefficients[k] x^k by Horner's rule."""
    value = torch.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value = value * x + coefficient
    return value
