"""Random numbers by counter, Philox4x32-10 (Salmon et al. 2011, doi 10.1145/2063384.2063405): compiled, or by torch.

Words and uniform numbers are the same bits from both and on a GPU. Normal numbers are defined by the compiled
operation alone: without a compiler, torch's logarithm and cosine give other last bits.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bnbench.arithmetic import library

ALL = 0xFFFFFFFF  # 32 bits
MULTIPLIERS, KEY_STEPS, ROUNDS = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85), 10
BITS = 24  # of a word, in a uniform number


class Stream(NamedTuple):
    """A sequence of words: the key's two words, and the third word of the counter."""

    key: tuple[int, int]
    step: int


def words(stream: Stream, count: int) -> Tensor:
    """Return the first words of a stream, (count,) int64 in [0, 2^32)."""
    if library.lacking():
        return torch_words([stream], count)[0]
    return _compiled("words", stream, torch.empty(count, dtype=torch.int32)).long() & ALL


def uniform(stream: Stream, count: int) -> Tensor:
    """Return uniform numbers in [0, 1), fp32, one of each word: its upper 24 bits over 2^24."""
    if library.lacking():
        return torch_uniform([stream], count)[0]
    return _compiled("uniform", stream, torch.empty(count))


def normal(stream: Stream, count: int) -> Tensor:
    """Return standard normal numbers, fp32, two of each two words (Box and Muller 1958)."""
    if library.lacking():
        return torch_normal(stream, count)
    return _compiled("normal", stream, torch.empty(count))


def _compiled(op: str, stream: Stream, to: Tensor) -> Tensor:
    library.run(op, (len(to), *stream.key, stream.step), [to])
    return to


def philox(keys: Tensor, counters: Tensor) -> Tensor:
    """Return four words for each key (..., 2) and counter (..., 4), by integer operations on int64: (..., 4)."""
    k0, k1 = keys.unbind(-1)
    c0, c1, c2, c3 = counters.unbind(-1)
    for _ in range(ROUNDS):
        a, b = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]  # modulo 2^64: the bits are right, the sign is not used
        c0, c1, c2, c3 = (b >> 32 & ALL) ^ c1 ^ k0, b & ALL, (a >> 32 & ALL) ^ c3 ^ k1, a & ALL
        k0, k1 = k0 + KEY_STEPS[0] & ALL, k1 + KEY_STEPS[1] & ALL
    return torch.stack([c0, c1, c2, c3], -1)


def torch_words(streams: Sequence[Stream], count: int, device: torch.device | str = "cpu") -> Tensor:
    """Return the first words of several streams by torch's operations, on any device: (streams, count) int64."""
    rows = torch.tensor([[*stream.key, stream.step] for stream in streams], dtype=torch.int64, device=device)[:, None]
    block = torch.arange((count + 3) // 4, device=device)
    parts = torch.broadcast_tensors(block & ALL, block >> 32, rows[..., 2], torch.zeros_like(rows[..., 2]))
    return philox(rows[..., :2], torch.stack(parts, -1)).flatten(1)[:, :count]


def torch_uniform(streams: Sequence[Stream], count: int, device: torch.device | str = "cpu") -> Tensor:
    """Return the numbers of `uniform` for several streams, on any device: (streams, count) fp32."""
    return (torch_words(streams, count, device) >> 32 - BITS).float() * 2.0**-BITS


def torch_normal(stream: Stream, count: int) -> Tensor:
    """Return the numbers of `normal` by torch in float64, rounded to fp32: within 1e-6, not the same bits."""
    a, b = torch_words([stream], count + count % 2)[0].view(-1, 2).unbind(1)
    radius = (-2 * (((a >> 8) + 1).double() * 2.0**-24).log()).sqrt()
    angle = (b >> 5).double() * (2 * torch.pi / 2**27)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 1).flatten()[:count].float()
