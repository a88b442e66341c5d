"""Random number streams depend on seed, purpose and coordinates, and on nothing else."""

import hashlib
import itertools
import subprocess
import sys
from typing import get_args

import pytest
import torch

from bnbench.data import random_streams
from bnbench.data.random_streams import Purpose
from bnbench.training.arithmetic import twister

PURPOSES: tuple[Purpose, ...] = get_args(Purpose)


def draws(seed: int, purpose: Purpose, *coordinates: int) -> tuple[float, ...]:
    return tuple(torch.rand(4, generator=random_streams.generator(seed, purpose, *coordinates)).tolist())


def test_streams_of_different_seeds_purposes_and_coordinates_differ() -> None:
    coordinates = [(), (0,), (1,), (11,), (1, 1), (1, 11), (11, 1), (1, 1, 1)]
    streams = list(itertools.product((0, 1, 11, 111), PURPOSES, coordinates))
    assert len({draws(seed, purpose, *at) for seed, purpose, at in streams}) == len(streams)


def test_a_stream_does_not_depend_on_earlier_draws() -> None:
    first = draws(3, "order", 1)
    torch.manual_seed(1)
    torch.rand(100)
    draws(4, "weights", 2)
    assert draws(3, "order", 1) == first


def test_drawing_leaves_the_global_generator_unchanged() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    random_streams.order(1, 1, 10)
    random_streams.uniform([1, 2], (0,), (3,))
    assert torch.equal(torch.rand(3), expected)


def test_a_stream_is_the_same_in_another_process() -> None:
    code = "from bnbench.data import random_streams as streams; print(streams.order(7, 2, 12).tolist())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(random_streams.order(7, 2, 12).tolist())


def test_a_stream_is_seeded_with_63_bits_of_the_hash_of_its_name() -> None:
    number = int(hashlib.sha256(b"5/dropout/2/9").hexdigest()[:16], 16) // 2
    expected = torch.rand(4, generator=torch.Generator().manual_seed(number))
    assert draws(5, "dropout", 2, 9) == tuple(expected.tolist())


@pytest.mark.parametrize("images", [1, 2, 1000])
def test_an_order_is_a_permutation_that_differs_between_epochs(images: int) -> None:
    orders = [random_streams.order(0, epoch, images) for epoch in range(5)]
    assert all(sorted(order.tolist()) == list(range(images)) for order in orders)
    if images == 1000:
        assert len({tuple(order.tolist()) for order in orders}) == 5


def test_every_image_is_at_every_position_equally_often() -> None:
    images, epochs = 5, 4000
    counts = torch.zeros(images, images)
    for epoch in range(epochs):
        counts[torch.arange(images), random_streams.order(0, epoch, images)] += 1
    expected = epochs / images
    chi_squared = float(((counts - expected) ** 2 / expected).sum())  # of (5 - 1)^2 = 16 degrees of freedom
    assert 3.9 < chi_squared < 39.3  # all but 1/1000 in each tail


def test_uniform_numbers_depend_on_the_run_alone_and_lie_in_0_to_1() -> None:
    together = random_streams.uniform([3, 8, 5], (1, 40), (50, 20))
    assert together.shape == (3, 50, 20)
    for row, seed in zip(together, (3, 8, 5), strict=True):
        assert torch.equal(row, random_streams.uniform([seed], (1, 40), (50, 20))[0])
    assert 0 <= float(together.min()) < 0.01
    assert 0.99 < float(together.max()) < 1
    assert float(together.mean()) == pytest.approx(0.5, abs=4 * (1 / 12 / together.numel()) ** 0.5)


@pytest.mark.parametrize("count", [1, 227, 624, 625, 2000])
def test_many_generators_at_once_draw_torchs_numbers_bit_for_bit(count: int) -> None:
    seeds = [0, 5489, 2**32 - 1, 2**32, *(random_streams.stream_seed(seed, "dropout", 3, 40) for seed in range(3))]
    drawn = twister.uniform(seeds, count, "cpu")
    for seed, row in zip(seeds, drawn, strict=True):
        assert torch.equal(row, torch.empty(count).uniform_(generator=torch.Generator().manual_seed(seed)))
    assert torch.equal(drawn[-1].view(1, count), random_streams.uniform([2], (3, 40), (count,)))
