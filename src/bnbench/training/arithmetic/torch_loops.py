"""Reference loops of a training step over the values of a mini-batch and the weights of a pack, as torch operations.

They run on any device and in any precision; the compiled loops and those in Triton are checked against them. Arrays are
named for their axes: G groups with statistics of their own, M values per channel, C channels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Adam:
    """Adam's learning rate of each run, its constants, and the step, from 1: a number, or an array in a CUDA graph."""

    rate: Tensor  # (runs, 1)
    beta1: float
    beta2: float
    epsilon: float
    step: int | Tensor


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

    def pool(self, x_BHWC: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Return the maxima over windows of size x size, stride `size`, and what `pool_back` needs besides x."""
        y, indices = torch.ops.aten.max_pool2d_with_indices(x_BHWC.movedim(-1, 1), [size] * 2, [size] * 2)
        return y.movedim(1, -1).contiguous(), indices

    def pool_back(self, dy_BHWC: Tensor, x_BHWC: Tensor, indices: Tensor, size: int) -> Tensor:
        """Return dx: each output's gradient at the position of its maximum, the first of equal ones."""
        dx: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(
            dy_BHWC.movedim(-1, 1), x_BHWC.movedim(-1, 1), [size] * 2, [size] * 2, [0, 0], [1, 1], False, indices
        )
        return dx.movedim(1, -1).contiguous()

    def relu_back(self, dy: Tensor, y: Tensor) -> Tensor:
        """Return dy where the output is positive, else 0."""
        return dy * (y > 0)

    def sigmoid_back(self, dy: Tensor, y: Tensor) -> Tensor:
        """Return dy y (1 - y)."""
        return dy * y * (1 - y)

    def tanh_back(self, dy: Tensor, y: Tensor) -> Tensor:
        """Return dy (1 - y^2)."""
        return dy * (1 - y * y)

    def sgd(self, values: Tensor, grads: Tensor, velocity: Tensor | None, rate_R1: Tensor, momentum: float) -> None:
        """Update rows of weights by SGD with momentum: v = momentum v + g; w = w - rate v."""
        if velocity is not None:
            grads = velocity.mul_(momentum).add_(grads)
        values.sub_(grads * rate_R1)

    def adam(self, values: Tensor, grads: Tensor, mean: Tensor, square: Tensor, by: Adam) -> None:
        """Update rows of weights by Adam with bias correction (arXiv 1412.6980, algorithm 1)."""
        mean.mul_(by.beta1).add_(grads * (1 - by.beta1))
        square.mul_(by.beta2).addcmul_(grads, grads, value=1 - by.beta2)
        root = (square / (1 - by.beta2**by.step)).sqrt_().add_(by.epsilon)
        values.sub_((mean / root).mul_(by.rate / (1 - by.beta1**by.step)))


REFERENCE = Loops()
