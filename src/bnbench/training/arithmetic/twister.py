"""Many of PyTorch's CPU generators at once, on any device: the numbers of `random_streams.uniform`, bit for bit.

The Mersenne twister MT19937 (Matsumoto and Nishimura 1998, doi 10.1145/272991.272995). Arrays are named for their
axes: 624 words of a state or fewer, L generators.
"""

import torch
from torch import Tensor

WORDS, AHEAD = 624, 397
ALL, TOP, REST = 0xFFFFFFFF, 0x80000000, 0x7FFFFFFF
BITS = 24  # of 32 that a float uses


def uniform(seeds: list[int], count: int, device: str | torch.device) -> Tensor:
    """Return `torch.empty(count).uniform_(generator=...)` for a generator of each seed: (seeds, count) fp32."""
    state = _first(torch.tensor([seed & ALL for seed in seeds], dtype=torch.int64, device=device))
    out = torch.empty(len(seeds), count, device=device)
    for start in range(0, count, WORDS):
        _update(state)
        words = _tempered(state[: count - start]) & (2**BITS - 1)
        out[:, start : start + WORDS] = words.T.float() * 2.0**-BITS
    return out


def _first(seeds_L: Tensor) -> Tensor:
    """Return the state from each seed, before its first update."""
    state = [seeds_L]
    for index in range(1, WORDS):
        last = state[-1]
        state.append((1812433253 * (last ^ (last >> 30)) + index) & ALL)
    return torch.stack(state)


def _update(state: Tensor) -> None:
    """Compute the next 624 words, in ranges whose sources are known: word k depends on words k, k + 1 and k + 397."""
    for start, end in ((0, 227), (227, 454), (454, 623), (623, 624)):
        following = state[start + 1 : end + 1] if end < WORDS else state[:1]
        both = (state[start:end] & TOP) | (following & REST)
        source = (start + AHEAD) % WORDS
        state[start:end] = state[source : source + end - start] ^ (both >> 1) ^ ((both & 1) * 0x9908B0DF)


def _tempered(words: Tensor) -> Tensor:
    words = words ^ (words >> 11)
    words = words ^ ((words << 7) & 0x9D2C5680)
    words = words ^ ((words << 15) & 0xEFC60000)
    return words ^ (words >> 18)
