"""Sums of pixels, products in doubles and resampling: the compiled operations of images.c.

Where these cannot be had (`defined`), and so for resampling on a GPU, PyTorch's operations take their place; their
results differ in the last bits and are not comparable with those of other machines. The sums of pixels are exact with
either.
"""

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from bnbench.arithmetic.library import run
from bnbench.arithmetic.sums import defined

COEFFICIENTS = 6  # of an affine transform
CHUNK = 1024  # images converted to doubles at a time: 25 MB with 3072 pixels each


def pixel_products(x_ND: Tensor) -> Tensor:
    """Return the sums over images of the products of any two pixels, x^T x of bytes: (D, D), int64, exact."""
    images, pixels = x_ND.shape
    if not defined(x_ND):
        sums = torch.zeros(pixels, pixels, dtype=torch.float64)
        for chunk in x_ND.split(CHUNK):  # whole numbers below 2^53: exact in any order
            sums += chunk.double().T @ chunk.double()
        return sums.long()
    lower = torch.zeros(pixels, pixels, dtype=torch.int64)
    run("pixel_products", [images, pixels], [x_ND.contiguous(), lower, torch.empty(CHUNK * pixels, dtype=torch.int16)])
    return lower + lower.tril(-1).T


def product(a_MK: Tensor, b_KN: Tensor) -> Tensor:
    """Return the product of two matrices of doubles, each element one chain of fma over k, ascending."""
    if not defined(a_MK):
        return a_MK @ b_KN
    (rows, inner), columns = a_MK.shape, b_KN.shape[1]
    out, work = a_MK.new_empty(rows, columns), a_MK.new_empty(inner * (rows + 28))
    run("product64", [rows, columns, inner], [a_MK.contiguous(), b_KN.contiguous(), out, work])
    return out


def sample(x_NHWC: Tensor, transforms: Tensor) -> Tensor:
    """Resample each image by its affine transform: bilinear interpolation, border pixels repeated outside.

    Args:
        x_NHWC: images, float32.
        transforms: (N, COEFFICIENTS), float32: the output pixel at (column, row) from the centre is sampled at
            (a column + b row + c, d column + e row + f) from the centre, in pixels.
    """
    if not defined(x_NHWC):
        return _grid_sample(x_NHWC, transforms)
    out = x_NHWC.new_empty(x_NHWC.shape)
    run("sample", list(x_NHWC.shape), [x_NHWC.contiguous(), transforms.contiguous(), out])
    return out


def _grid_sample(x: Tensor, transforms: Tensor) -> Tensor:
    height, width = x.shape[1:3]
    column = torch.arange(width, device=x.device) - (width - 1) / 2
    row = (torch.arange(height, device=x.device) - (height - 1) / 2)[:, None]
    a, b, c, d, e, f = transforms[..., None, None].unbind(1)
    # sums instead of a matrix product, the last bits of which might depend on the number of images
    across, down = a * column + b * row + c, d * column + e * row + f
    grid = torch.stack([across * (2 / width), down * (2 / height)], -1)
    sampled = grid_sample(x.movedim(-1, 1), grid, "bilinear", "border", align_corners=False)
    return sampled.movedim(1, -1).contiguous()
