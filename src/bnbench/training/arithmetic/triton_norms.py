"""The loops of norms for a GPU, in Triton: each goes through its arrays once, where torch's operations do six times.

Triton comes with torch for CUDA. The numbers are those of `torch_loops.REFERENCE` within rounding: sums are in parts,
joined as in Chan, Golub and LeVeque 1983 (doi 10.1080/00031305.1983.10483115). Arrays are named for their axes: G
groups that are normalised each by itself, S parts of M values of a channel, C channels.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from bnbench.training.arithmetic.torch_loops import Loops

BLOCK, MOST_CHANNELS, PARTS = 4096, 128, 64
OPTIONS = {"enable_fp_fusion": False}  # a product is rounded before it is added to, as torch's is


@triton.jit
def _place(M, C, end, first, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    """Where a block of a group's values lies, and which of it is inside."""
    c = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    m = first + tl.arange(0, ROWS)
    at = (tl.program_id(1).to(tl.int64) * M + m[:, None]) * C + c[None, :]
    return at, (m < end)[:, None] & (c < C)[None, :]


@triton.jit
def _channels(C, CHANNELS: tl.constexpr):
    """Where a block of a group's channels lies, and which of it is inside."""
    c = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    return tl.program_id(1) * C + c, c < C


@triton.jit
def _moments(x, means, squares, M, C, part, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    """Mean of each part, and the sum of squares of its centred values."""
    begin = tl.program_id(0) * part
    end = tl.minimum(begin + part, M)
    mean = tl.zeros((CHANNELS,), tl.float32)
    square = tl.zeros((CHANNELS,), tl.float32)
    for first in range(begin, end, ROWS):
        at, inside = _place(M, C, end, first, ROWS, CHANNELS)
        values = tl.load(x + at, inside, 0.0)
        before = (first - begin).to(tl.float32)
        here = tl.minimum(end - first, ROWS).to(tl.float32)
        middle = tl.sum(values, 0) / here
        centred = tl.where(inside, values - middle[None, :], 0.0)
        away = middle - mean
        mean += away * (here / (before + here))
        square += tl.sum(centred * centred, 0) + away * away * (before * here / (before + here))
    c = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    out = (tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)) * C + c
    tl.store(means + out, mean, c < C)
    tl.store(squares + out, square, c < C)


@triton.jit
def _join(means, squares, mean, variance, M, C, part, parts, PARTS: tl.constexpr, CHANNELS: tl.constexpr):
    """Mean and variance of all parts together."""
    s = tl.arange(0, PARTS)
    c = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    at = (tl.program_id(1) * parts + s[:, None]) * C + c[None, :]
    inside = (s < parts)[:, None] & (c < C)[None, :]
    count = tl.maximum(tl.minimum(M - s * part, part), 0).to(tl.float32)[:, None]
    each = tl.load(means + at, inside, 0.0)
    whole = tl.sum(each * count, 0) / M
    away = each - whole[None, :]
    total = tl.sum(tl.load(squares + at, inside, 0.0) + count * away * away, 0)
    out, real = _channels(C, CHANNELS)
    tl.store(mean + out, whole, real)
    tl.store(variance + out, total / M, real)


@triton.jit
def _normalise(x, mean, scale, gamma, beta, normal, y, M, C, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    at, inside = _place(M, C, M, tl.program_id(0) * ROWS, ROWS, CHANNELS)
    row, real = _channels(C, CHANNELS)
    centred = tl.load(x + at, inside) - tl.load(mean + row, real)[None, :]
    values = centred * tl.load(scale + row, real)[None, :]
    tl.store(normal + at, values, inside)
    values = values * tl.load(gamma + row, real)[None, :] + tl.load(beta + row, real)[None, :]
    tl.store(y + at, values, inside)


@triton.jit
def _sums(dy, normal, totals, alongs, M, C, part, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    """Sums over each part of dy, and of dy times the normalised values."""
    begin = tl.program_id(0) * part
    end = tl.minimum(begin + part, M)
    total = tl.zeros((CHANNELS,), tl.float32)
    along = tl.zeros((CHANNELS,), tl.float32)
    for first in range(begin, end, ROWS):
        at, inside = _place(M, C, end, first, ROWS, CHANNELS)
        slope = tl.load(dy + at, inside, 0.0)
        total += tl.sum(slope, 0)
        along += tl.sum(slope * tl.load(normal + at, inside, 0.0), 0)
    c = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    out = (tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)) * C + c
    tl.store(totals + out, total, c < C)
    tl.store(alongs + out, along, c < C)


@triton.jit
def _slope(dy, normal, total, along, factor, dx, M, C, share, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    at, inside = _place(M, C, M, tl.program_id(0) * ROWS, ROWS, CHANNELS)
    row, real = _channels(C, CHANNELS)
    mean = tl.load(total + row, real)[None, :] * share
    values = tl.load(dy + at, inside) - mean
    values -= tl.load(normal + at, inside) * (tl.load(along + row, real)[None, :] * share)
    tl.store(dx + at, values * tl.load(factor + row, real)[None, :], inside)


class Fused(Loops):
    """Norms in Triton, for fp32 arrays on a GPU; the rest is the reference's."""

    def moments(self, x_GMC: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        x = x_GMC.contiguous()
        groups, values, channels = x.shape
        mean, variance = x.new_empty(2, groups, 1, channels)
        part, parts, size = _parts(values, channels)
        means, squares = x.new_empty(2, groups, parts, channels)
        grid = groups, triton.cdiv(channels, size["CHANNELS"])
        _moments[(parts, *grid)](x, means, squares, values, channels, part, **size)
        wide = {"PARTS": triton.next_power_of_2(parts), "CHANNELS": size["CHANNELS"], **OPTIONS}
        _join[(1, *grid)](means, squares, mean, variance, values, channels, part, parts, **wide)
        return mean, variance

    def normalise(  # noqa: D102
        self, x_GMC: Tensor, mean: Tensor, scale: Tensor, gamma: Tensor, beta: Tensor
    ) -> tuple[Tensor, Tensor]:
        x, *rows = (array.contiguous() for array in (x_GMC, mean, scale, gamma, beta))
        normal, y = x.new_empty(2, *x.shape)
        grid, size = _blocks(x)
        _normalise[grid](x, *rows, normal, y, *x.shape[1:], **size)
        return normal, y

    def normalise_back(self, dy_GMC: Tensor, normal: Tensor, factor_G1C: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # noqa: D102
        dy, factor = dy_GMC.contiguous(), factor_G1C.contiguous()
        groups, values, channels = dy.shape
        part, parts, size = _parts(values, channels)
        sums = dy.new_empty(2, groups, parts, channels)
        grid = parts, groups, triton.cdiv(channels, size["CHANNELS"])
        _sums[grid](dy, normal, *sums, values, channels, part, **size)
        total, along = sums.sum(2, keepdim=True)
        dx = torch.empty_like(dy)
        grid, size = _blocks(dy)
        _slope[grid](dy, normal, total, along, factor, dx, values, channels, 1 / values, **size)
        return total, along, dx


def _size(channels: int) -> dict[str, int]:
    """Rows and channels of a block, and how it is compiled."""
    wide = min(MOST_CHANNELS, max(16, triton.next_power_of_2(channels)))
    return {"ROWS": BLOCK // wide, "CHANNELS": wide, **OPTIONS}


def _blocks(x_GMC: Tensor) -> tuple[tuple[int, int, int], dict[str, int]]:
    """A block for every value: how many, and their size."""
    groups, values, channels = x_GMC.shape
    size = _size(channels)
    return (triton.cdiv(values, size["ROWS"]), groups, triton.cdiv(channels, size["CHANNELS"])), size


def _parts(values: int, channels: int) -> tuple[int, int, dict[str, int]]:
    """Values of a part, whole blocks; how many parts; the size of a block."""
    size = _size(channels)
    part = size["ROWS"] * triton.cdiv(values, size["ROWS"] * PARTS)
    return part, triton.cdiv(values, part), size
