"""Random number streams depend on seed, purpose and coordinates, and on nothing else."""

import hashlib
import itertools
import subprocess
import sys
from typing import get_args

import pytest
import torch

from bnbench.arithmetic import philox
from bnbench.data import random_streams
from bnbench.data.random_streams import Purpose

PURPOSES: tuple[Purpose, ...] = get_args(Purpose)


def draws(seed: int, purpose: Purpose, *coordinates: int) -> tuple[float, ...]:
    return tuple(random_streams.uniform(seed, purpose, coordinates, (4,)).tolist())


def test_streams_of_different_seeds_purposes_and_coordinates_differ() -> None:
    coordinates = [(0,), (1,), (11,), (1, 1), (1, 11), (11, 1), (1, 1, 1)]
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
    random_streams.uniform(1, "dropout", (0, 2), (3,))
    random_streams.normal(1, "weights", (0,), (3,))
    assert torch.equal(torch.rand(3), expected)


def test_a_stream_is_the_same_in_another_process() -> None:
    code = "from bnbench.data import random_streams as streams; print(streams.order(7, 2, 12).tolist())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(random_streams.order(7, 2, 12).tolist())


def test_a_streams_key_is_64_bits_of_the_hash_of_its_name_and_its_step_the_last_coordinate() -> None:
    bits = hashlib.sha256(b"5/dropout/2").hexdigest()
    assert random_streams.stream(5, "dropout", (2, 9)) == ((int(bits[:8], 16), int(bits[8:16], 16)), 9)


def test_an_order_sorts_signed_64_bit_keys() -> None:
    words = philox.words(random_streams.stream(3, "order", (2,)), 200).numpy().astype("<u4")
    assert random_streams.order(3, 2, 100).tolist() == words.view("<i8").argsort(kind="stable").tolist()


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


def test_uniform_numbers_have_24_bits_and_lie_in_0_to_1() -> None:
    drawn = random_streams.uniform(3, "dropout", (1, 40), (50, 20)).double()
    assert drawn.shape == (50, 20)
    assert 0 <= float(drawn.min()) < 0.01
    assert 0.99 < float(drawn.max()) < 1
    assert float(drawn.mean()) == pytest.approx(0.5, abs=4 * (1 / 12 / drawn.numel()) ** 0.5)
    assert torch.equal(drawn, (drawn * 2**24).round() / 2**24)


def test_dropouts_numbers_of_many_runs_and_steps_at_once_are_those_of_each_alone() -> None:
    seeds, steps, count = [3, 8, 2**40], range(7, 12), 33
    together = random_streams.dropout(seeds, 2, steps, count, torch.device("cpu"))
    for (i, step), (j, seed) in itertools.product(enumerate(steps), enumerate(seeds)):
        assert torch.equal(together[i, j], random_streams.uniform(seed, "dropout", (2, step), (count,)))
