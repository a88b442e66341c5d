"""The training loss and its gradient."""

import torch
from torch import Tensor


def cross_entropy(logits: Tensor, target: Tensor, mean: bool) -> tuple[Tensor, Tensor]:
    """Return each run's softmax cross-entropy, (R,), and its gradient with respect to the logits_RNK.

    L = -sum_n sum_k t_nk log p_nk with p = softmax(z); dL/dz = p - t (Bishop 2006, equations 4.108 and 4.109).

    Args:
        logits: z, (runs, images, classes).
        target: t, one-hot, of the same shape.
        mean: divide loss and gradient by the number of images.
    """
    log_p = torch.log_softmax(logits, -1)
    loss = -(log_p * target).sum((1, 2))
    gradient = log_p.exp() - target
    images = logits.shape[1]
    return (loss / images, gradient / images) if mean else (loss, gradient)
