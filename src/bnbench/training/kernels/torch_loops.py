"""The norms' loops over the values of a mini-batch as torch operations, on any device and in any precision.

Those in Triton are checked against them. Arrays are named for their axes: G groups with statistics of their own, M
values per channel, C channels.
"""

from torch import Tensor


class Loops:
    """Loops as torch operations; subclasses replace some of them."""

    def moments(self, x_GMC: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and biased variance of each channel of each group, (G, 1, C)."""
        mean = x_GMC.mean(1, keepdim=True)
        centred = x_GMC - mean
        return mean, (centred * centred).mean(1, keepdim=True)

    def normalise(
        self, x_GMC: Tensor, mean: Tensor, scale: Tensor, gamma: Tensor, beta: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return x^ = (x - mean) scale, and x^ gamma + beta; all arguments but x are (G, 1, C)."""
        normal = (x_GMC - mean) * scale
        return normal, normal * gamma + beta

    def normalised(self, x_GMC: Tensor, mean: Tensor, scale: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        """Return x^ gamma + beta alone, where there is no backward pass."""
        return self.normalise(x_GMC, mean, scale, gamma, beta)[1]

    def normalise_back(self, dy_GMC: Tensor, normal: Tensor, factor_G1C: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return sum dy and sum dy x^, (G, 1, C), and dx = (dy - mean(dy) - x^ mean(dy x^)) factor."""
        total = dy_GMC.sum(1, keepdim=True)
        along = (dy_GMC * normal).sum(1, keepdim=True)
        share = 1 / dy_GMC.shape[1]
        return total, along, (dy_GMC - total * share - normal * (along * share)) * factor_G1C


REFERENCE = Loops()
