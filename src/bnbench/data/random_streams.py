"""Random number streams: one per seed, purpose and coordinates, without state.

A stream depends on nothing else. Hence the initial weights of a run do not depend on its norm, the order of its
mini-batches does not depend on its learning rate, and nothing depends on which other runs share its pack or on how
often it was interrupted and resumed.

| purpose        | seed of    | coordinates        | numbers                           |
| -------------- | ---------- | ------------------ | --------------------------------- |
| `weights`      | run        | layer              | standard normal, one per weight   |
| `order`        | run        | epoch              | a permutation of training images  |
| `dropout`      | run        | layer, step        | uniform in [0, 1), one per value  |
| `augmentation` | definition | copy               | uniform in [0, 1), four per image |
| ... online     | run        | its seed, epoch    | uniform in [0, 1), four per image |

With online augmentation, "its seed" is the seed of the augmentation's definition. The split of a data set has
a stream of its own, NumPy's `RandomState(split.seed)` (see `prepare`).

The numbers are those of `arithmetic.philox`. The key is the first 64 bits of the SHA-256 of a name, seed, purpose and
all coordinates but the last, such as `5/dropout/2`; the last one is the counter's step.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from bnbench.arithmetic import philox
from bnbench.arithmetic.philox import Stream

Purpose = Literal["weights", "order", "dropout", "augmentation"]


def stream(seed: int, purpose: Purpose, coordinates: Sequence[int]) -> Stream:
    """Return the key and the step of a stream. The last coordinate must be below 2^32."""
    *rest, step = coordinates
    name = "/".join(map(str, (seed, purpose, *rest)))
    bits = hashlib.sha256(name.encode()).digest()
    return Stream((int.from_bytes(bits[:4], "big"), int.from_bytes(bits[4:8], "big")), step)


def uniform(seed: int, purpose: Purpose, coordinates: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Return uniform numbers in [0, 1), fp32: multiples of 2^-24, number i of word i."""
    return philox.uniform(stream(seed, purpose, coordinates), math.prod(shape)).view(*shape)


def normal(seed: int, purpose: Purpose, coordinates: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Return standard normal numbers, fp32."""
    return philox.normal(stream(seed, purpose, coordinates), math.prod(shape)).view(*shape)


def order(seed: int, epoch: int, images: int) -> Tensor:
    """Return the order of the training images in one epoch: a permutation of `images` indices, int64.

    Image i has the signed 64-bit key of words 2i (lower half) and 2i + 1; images are sorted by it, and by their
    index where two keys are equal.
    """
    low, high = philox.words(stream(seed, "order", (epoch,)), 2 * images).view(-1, 2).unbind(1)
    return torch.argsort(high << 32 | low, stable=True)


def dropout(seeds: Sequence[int], place: int, steps: range, count: int, device: torch.device) -> Tensor:
    """Return the numbers of `uniform` for dropout in runs and steps, drawn on a device: (steps, runs, count)."""
    streams = [stream(seed, "dropout", (place, step)) for step in steps for seed in seeds]
    return philox.torch_uniform(streams, count, device).view(len(steps), len(seeds), count)
