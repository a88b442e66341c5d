"""Randomness as an argument: one stream per purpose, derived from the run's own seed alone.

So a run's weights do not depend on its norm, its data order does not depend on its learning rate, and nothing
depends on which other runs share its pack or on how often it was interrupted.
"""

import hashlib
from typing import Literal

import torch
from torch import Tensor

Purpose = Literal["weights", "order", "dropout", "augmentation"]


def number(seed: int, purpose: Purpose, *place: int) -> int:
    """What the generator of one draw is seeded with: the run's seed, what it is for, where (layer, epoch or step)."""
    key = f"{seed}/{purpose}/{'/'.join(map(str, place))}"
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 1


def generator(seed: int, purpose: Purpose, *place: int) -> torch.Generator:
    """A generator for one draw."""
    return torch.Generator().manual_seed(number(seed, purpose, *place))


def order(seed: int, epoch: int, images: int) -> Tensor:
    """The order of the training images in one epoch, a permutation of `images` indices."""
    return torch.randperm(images, generator=generator(seed, "order", epoch))


def uniform(seeds: list[int], place: tuple[int, ...], shape: tuple[int, ...]) -> Tensor:
    """Numbers in [0, 1) for dropout, `shape` for each run: (runs, *shape)."""
    out = torch.empty(len(seeds), *shape)
    for row, seed in zip(out, seeds, strict=True):
        row.uniform_(generator=generator(seed, "dropout", *place))
    return out
