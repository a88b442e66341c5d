"""Loops of norms for a GPU, in Triton: each reads its arrays once, where torch's operations do so six times.

Triton comes with torch for CUDA. The numbers are those of `torch_loops.REFERENCE` within rounding: sums are computed in
chunks and combined as in Chan, Golub and LeVeque 1983 (doi 10.1080/00031305.1983.10483115). Arrays are named for their
axes: G groups with statistics of their own, S chunks of the M values per channel, C channels.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from bnbench.training.kernels.torch_loops import Loops

BLOCK, MOST_CHANNELS, CHUNKS = 4096, 128, 64
OPTIONS = {"enable_fp_fusion": False}  # products are rounded before an addition, as torch's are


@triton.jit
def _offsets(M, C, end, first, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    """Return the offsets of a block of a group's values, and a mask of those inside the array."""
    c = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    m = first + tl.arange(0, ROWS)
    at = (tl.program_id(1).to(tl.int64) * M + m[:, None]) * C + c[None, :]
    return at, (m < end)[:, None] & (c < C)[None, :]


@triton.jit
def _channels(C, CHANNELS: tl.constexpr):
    """Return the offsets of a block of a group's channels, and a mask of those inside the array."""
    c = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    return tl.program_id(1) * C + c, c < C


@triton.jit
def _moments(x, means, squares, M, C, chunk, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    """Compute the mean of each chunk, and the sum of squares of its centred values."""
    begin = tl.program_id(0) * chunk
    end = tl.minimum(begin + chunk, M)
    mean = tl.zeros((CHANNELS,), tl.float32)
    square = tl.zeros((CHANNELS,), tl.float32)
    for first in range(begin, end, ROWS):
        at, inside = _offsets(M, C, end, first, ROWS, CHANNELS)
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
def _join(means, squares, mean, variance, M, C, chunk, chunks, CHUNKS: tl.constexpr, CHANNELS: tl.constexpr):
    """Combine the chunks to mean and variance."""
    s = tl.arange(0, CHUNKS)
    c = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    at = (tl.program_id(1) * chunks + s[:, None]) * C + c[None, :]
    inside = (s < chunks)[:, None] & (c < C)[None, :]
    count = tl.maximum(tl.minimum(M - s * chunk, chunk), 0).to(tl.float32)[:, None]
    each = tl.load(means + at, inside, 0.0)
    total_mean = tl.sum(each * count, 0) / M
    away = each - total_mean[None, :]
    total = tl.sum(tl.load(squares + at, inside, 0.0) + count * away * away, 0)
    out, real = _channels(C, CHANNELS)
    tl.store(mean + out, total_mean, real)
    tl.store(variance + out, total / M, real)


@triton.jit
def _normalise(x, mean, scale, gamma, beta, normal, y, M, C, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    at, inside = _offsets(M, C, M, tl.program_id(0) * ROWS, ROWS, CHANNELS)
    row, real = _channels(C, CHANNELS)
    centred = tl.load(x + at, inside) - tl.load(mean + row, real)[None, :]
    values = centred * tl.load(scale + row, real)[None, :]
    tl.store(normal + at, values, inside)
    values = values * tl.load(gamma + row, real)[None, :] + tl.load(beta + row, real)[None, :]
    tl.store(y + at, values, inside)


@triton.jit
def _sums(dy, normal, totals, alongs, M, C, chunk, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    """Compute the sums over each chunk of dy, and of dy times the normalised values."""
    begin = tl.program_id(0) * chunk
    end = tl.minimum(begin + chunk, M)
    total = tl.zeros((CHANNELS,), tl.float32)
    along = tl.zeros((CHANNELS,), tl.float32)
    for first in range(begin, end, ROWS):
        at, inside = _offsets(M, C, end, first, ROWS, CHANNELS)
        gradient = tl.load(dy + at, inside, 0.0)
        total += tl.sum(gradient, 0)
        along += tl.sum(gradient * tl.load(normal + at, inside, 0.0), 0)
    c = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    out = (tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)) * C + c
    tl.store(totals + out, total, c < C)
    tl.store(alongs + out, along, c < C)


@triton.jit
def _gradient(dy, normal, total, along, factor, dx, M, C, share, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    at, inside = _offsets(M, C, M, tl.program_id(0) * ROWS, ROWS, CHANNELS)
    row, real = _channels(C, CHANNELS)
    mean = tl.load(total + row, real)[None, :] * share
    values = tl.load(dy + at, inside) - mean
    values -= tl.load(normal + at, inside) * (tl.load(along + row, real)[None, :] * share)
    tl.store(dx + at, values * tl.load(factor + row, real)[None, :], inside)


class Fused(Loops):
    """Loops of norms in Triton, for fp32 arrays on a GPU; all others are the reference's."""

    def moments(self, x_GMC: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        x = x_GMC.contiguous()
        groups, values, channels = x.shape
        mean, variance = x.new_empty(2, groups, 1, channels)
        chunk, chunks, size = _chunks(values, channels)
        means, squares = x.new_empty(2, groups, chunks, channels)
        grid = groups, triton.cdiv(channels, size["CHANNELS"])
        _moments[(chunks, *grid)](x, means, squares, values, channels, chunk, **size)
        wide = {"CHUNKS": triton.next_power_of_2(chunks), "CHANNELS": size["CHANNELS"], **OPTIONS}
        _join[(1, *grid)](means, squares, mean, variance, values, channels, chunk, chunks, **wide)
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
        chunk, chunks, size = _chunks(values, channels)
        sums = dy.new_empty(2, groups, chunks, channels)
        grid = chunks, groups, triton.cdiv(channels, size["CHANNELS"])
        _sums[grid](dy, normal, *sums, values, channels, chunk, **size)
        total, along = sums.sum(2, keepdim=True)
        dx = torch.empty_like(dy)
        grid, size = _blocks(dy)
        _gradient[grid](dy, normal, total, along, factor, dx, values, channels, 1 / values, **size)
        return total, along, dx


def _size(channels: int) -> dict[str, int]:
    """Return rows and channels of a block, and compiler options."""
    wide = min(MOST_CHANNELS, max(16, triton.next_power_of_2(channels)))
    return {"ROWS": BLOCK // wide, "CHANNELS": wide, **OPTIONS}


def _blocks(x_GMC: Tensor) -> tuple[tuple[int, int, int], dict[str, int]]:
    """Return the grid of blocks that covers every value, and the size of a block."""
    groups, values, channels = x_GMC.shape
    size = _size(channels)
    return (triton.cdiv(values, size["ROWS"]), groups, triton.cdiv(channels, size["CHANNELS"])), size


def _chunks(values: int, channels: int) -> tuple[int, int, dict[str, int]]:
    """Return the values of a chunk (a multiple of a block's rows), the number of chunks, and the size of a block."""
    size = _size(channels)
    chunk = size["ROWS"] * triton.cdiv(values, size["ROWS"] * CHUNKS)
    return chunk, triton.cdiv(values, chunk), size
