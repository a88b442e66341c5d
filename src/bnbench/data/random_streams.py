"""Random number streams: one generator per seed, purpose and coordinates, never the global generator.

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
"""

import hashlib
from typing import Literal

import torch
from torch import Tensor

Purpose = Literal["weights", "order", "dropout", "augmentation"]


def stream_seed(seed: int, purpose: Purpose, *coordinates: int) -> int:
    """Return the 63-bit seed of a stream's generator: the upper bits of a SHA-256 of its name, `5/dropout/2/9`."""
    name = f"{seed}/{purpose}/{'/'.join(map(str, coordinates))}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1


def generator(seed: int, purpose: Purpose, *coordinates: int) -> torch.Generator:
    """Return a CPU generator at the start of a stream."""
    return torch.Generator().manual_seed(stream_seed(seed, purpose, *coordinates))


def order(seed: int, epoch: int, images: int) -> Tensor:
    """Return the order of the training images in one epoch: a permutation of `images` indices, int64."""
    return torch.randperm(images, generator=generator(seed, "order", epoch))


def uniform(seeds: list[int], coordinates: tuple[int, ...], shape: tuple[int, ...]) -> Tensor:
    """Return uniform numbers in [0, 1) for the dropout masks of several runs: (runs, *shape), float32.

    Args:
        seeds: the seeds of the runs.
        coordinates: layer and step.
        shape: the shape of one run's activations.
    """
    out = torch.empty(len(seeds), *shape)
    for row, seed in zip(out, seeds, strict=True):
        row.uniform_(generator=generator(seed, "dropout", *coordinates))
    return out
