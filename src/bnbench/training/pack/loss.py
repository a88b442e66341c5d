"""The training loss and its gradient."""

import torch
from torch import Tensor

from bnbench.arithmetic import library, sums


def cross_entropy(logits: Tensor, target: Tensor, mean: bool) -> tuple[Tensor, Tensor]:
    """Return each run's softmax cross-entropy, (R,), and its gradient with respect to the logits_RNK.

    L = -sum_n sum_k t_nk log p_nk with p = softmax(z); dL/dz = p - t (Bishop 2006, equations 4.108 and 4.109).

    Args:
        logits: z, (runs, images, classes).
        target: t, one-hot, of the same shape.
        mean: divide loss and gradient by the number of images.
    """
    return (_compiled if sums.defined(logits) else torchs)(logits, target, mean)


def _compiled(logits: Tensor, target: Tensor, mean: bool) -> tuple[Tensor, Tensor]:
    """Return loss and gradient by the operation that compiled training steps call."""
    z, labels = logits.contiguous(), target.argmax(-1).float()
    gradient, loss, right = torch.empty_like(z), z.new_empty(len(z)), z.new_empty(1)
    for row in range(len(z)):
        arrays = [z[row], labels[row], gradient[row], loss[row], right]
        library.run("cross_entropy", z.shape[1:], arrays, [z.shape[1] if mean else 1])
    return loss, gradient


def torchs(logits: Tensor, target: Tensor, mean: bool) -> tuple[Tensor, Tensor]:
    """Return loss and gradient as `cross_entropy` does, by torch: on a GPU, and without the compiled operations."""
    log_p = torch.log_softmax(logits, -1)
    loss = -(log_p * target).sum((1, 2))
    gradient = log_p.exp() - target
    images = logits.shape[1]
    return (loss / images, gradient / images) if mean else (loss, gradient)
