"""Eigen-decomposition of symmetric matrices: the compiled operation of eigen.c, or LAPACK's."""

import torch
from torch import Tensor

from bnbench.arithmetic.library import run
from bnbench.arithmetic.sums import defined


def eigen(a_DD: Tensor) -> tuple[Tensor, Tensor]:
    """Return the eigenvalues of a symmetric matrix of doubles, in decreasing order, and its eigenvectors as rows.

    The lower triangle is read. Values, and A z - value z, are within 8 D 2^-53 of the largest value's size; products of
    the vectors within 8 D 2^-53 of those of the unit vectors (measured: half of it, for D up to 130). Equal values are
    in the order in which they are found.

    Raises:
        ArithmeticError: the matrix has NaN or infinite elements, or the values do not converge.
    """
    size = len(a_DD)
    if not a_DD.isfinite().all():
        raise ArithmeticError(f"a matrix of {size} x {size} with NaN or infinity has no eigenvalues")
    if not defined(a_DD):
        values, vectors = torch.linalg.eigh(a_DD)
        return values.flip(0), vectors.T.flip(0)
    values, vectors, work = a_DD.new_empty(size), torch.empty_like(a_DD), a_DD.new_empty(422 * size)
    run("eigen", [size], [a_DD.clone(memory_format=torch.contiguous_format), values, vectors, work])
    if values.isnan().any():
        raise ArithmeticError(f"the eigenvalues of a matrix of {size} x {size} do not converge")
    order = values.argsort(descending=True, stable=True)
    return values[order], vectors[order]
