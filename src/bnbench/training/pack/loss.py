"""The training loss and its gradient."""

import torch
from torch import Tensor


def cross_entropy(logits: Tensor, target: Tensor, mean: bool) -> tuple[Tensor, Tensor]:
    """Softmax cross-entropy of each run's batch and its gradient with respect to the logits_RNK.

    Args:
        logits: of (runs, images, classes).
        target: one-hot, of the same shape.
        mean: whether the loss is the mean over a batch; else its sum.
    """
    chances = torch.log_softmax(logits, -1)
    loss = -(chances * target).sum((1, 2))
    slope = chances.exp() - target
    images = logits.shape[1]
    return (loss / images, slope / images) if mean else (loss, slope)
