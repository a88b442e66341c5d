"""Sums, means and lengths in float64, square roots, and losses of images: what is reduced outside training steps.

On a CPU they have the order of summation that sums.c states, so that history, probes and results are the same bytes on
every processor. On a GPU, and on a machine without the compiled operations, they are torch's. `way` is the one place
of that choice.
"""

from collections.abc import Callable
from typing import Literal, Protocol

import torch
from torch import Tensor

from bnbench.arithmetic import library

Term = Literal["plain", "absolute", "square"]  # what is added of x - centre: itself, its absolute value, its square
TERMS: dict[Term, Callable[[Tensor], Tensor]] = {"plain": lambda x: x, "absolute": torch.abs, "square": torch.square}


def sums(x: Tensor, axis: int, of: Term = "plain", centre: Tensor | None = None) -> Tensor:
    """Return sums of a matrix in float64.

    The error is at most (K / 16 + 5) 2^-53 sum |term| along rows of K elements, and (32 + N / 32) 2^-53 sum |term|
    down columns of N, besides the rounding of each term. NaN and infinities follow IEEE 754.

    Args:
        x: (rows, columns), fp32 or float64.
        axis: 0 for the sum of each column, 1 for that of each row.
        of: what is added of each element.
        centre: subtracted from the elements of each column or row before; of the shape of the result.
    """
    if centre is None:
        centre = x.new_zeros(x.shape[1 - axis], dtype=torch.float64)
    return way(x).sums(x, axis, of, centre)


def means(x: Tensor, axis: int, of: Term = "plain", centre: Tensor | None = None) -> Tensor:
    """Return `sums` divided by their number of elements; NaN of none."""
    return sums(x, axis, of, centre) / x.shape[axis]


def lengths(x: Tensor) -> Tensor:
    """Return the L2 norm of each row of a matrix."""
    return roots(sums(x, 1, "square"))


def variances(x: Tensor, axis: int) -> Tensor:
    """Return the biased variance of each column (`axis` 0) or row (1), around its mean."""
    return means(x, axis, "square", means(x, axis))


def roots(x: Tensor) -> Tensor:
    """Return square roots, correctly rounded; NaN of a negative number."""
    return way(x).roots(x.double())


def image_losses(logits_RNK: Tensor, labels_N: Tensor) -> Tensor:
    """Return the softmax cross-entropy of each run's images, (R, N), in fp32.

    Within 2^-21 + 2^-22 |loss| of the exact value where all logits are below 8 in size (measured: a third of it).
    """
    return way(logits_RNK).image_losses(logits_RNK.float(), labels_N)


class Way(Protocol):
    """A way to compute these reductions."""

    @staticmethod
    def sums(x: Tensor, axis: int, of: Term, centre: Tensor) -> Tensor: ...  # noqa: D102

    @staticmethod
    def roots(x: Tensor) -> Tensor: ...  # noqa: D102

    @staticmethod
    def image_losses(logits_RNK: Tensor, labels_N: Tensor) -> Tensor: ...  # noqa: D102


def way(x: Tensor) -> type[Way]:
    """Return the way for an array by its device and this machine: the compiled operations, or torch's."""
    return Compiled if defined(x) else Torchs


def defined(x: Tensor) -> bool:
    """Return whether an array's results can have the defined arithmetic: on a CPU with the compiled operations."""
    return x.device.type == "cpu" and not library.lacking()


class Compiled:
    """The operations of sums.c, for arrays in main memory."""

    @staticmethod
    def sums(x: Tensor, axis: int, of: Term, centre: Tensor) -> Tensor:  # noqa: D102
        found = x.new_empty(x.shape[1 - axis], dtype=torch.float64)
        sizes = [*x.shape, list(TERMS).index(of), x.dtype == torch.float64]
        op = ("sums_down_columns", "sums_along_rows")[axis]
        library.run(op, sizes, [x.contiguous(), centre.contiguous(), found])
        return found

    @staticmethod
    def roots(x: Tensor) -> Tensor:  # noqa: D102
        found = x.new_empty(x.shape)
        library.run("square_roots", [x.numel()], [x.contiguous(), found])
        return found

    @staticmethod
    def image_losses(logits_RNK: Tensor, labels_N: Tensor) -> Tensor:  # noqa: D102
        losses, labels = logits_RNK.new_empty(logits_RNK.shape[:2]), labels_N.contiguous()
        for logits, row in zip(logits_RNK, losses, strict=True):
            library.run("image_losses", logits.shape, [logits.contiguous(), labels, row])
        return losses


class Torchs:
    """The same by torch, whose order of summation is its own."""

    @staticmethod
    def sums(x: Tensor, axis: int, of: Term, centre: Tensor) -> Tensor:  # noqa: D102
        return TERMS[of](x.double() - centre.unsqueeze(axis)).sum(axis)

    @staticmethod
    def roots(x: Tensor) -> Tensor:  # noqa: D102
        return x.sqrt()

    @staticmethod
    def image_losses(logits_RNK: Tensor, labels_N: Tensor) -> Tensor:  # noqa: D102
        log_probabilities = torch.log_softmax(logits_RNK, -1)
        return -log_probabilities.gather(2, labels_N.expand(len(logits_RNK), -1)[..., None])[..., 0]
