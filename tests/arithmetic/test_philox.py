"""Random numbers: published words of Philox4x32-10, the same from the compiled operation, torch and every build."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bnbench.arithmetic import library, philox
from bnbench.arithmetic.philox import Stream
from tests.arithmetic.test_products import UNIT, drawn, numbers
from tests.support.builds import Array, blank, everywhere

WORD = st.integers(0, 2**32 - 1)
STREAMS = st.builds(Stream, st.tuples(WORD, WORD), WORD)
COUNTS = st.integers(1, 700)

# key, counter, words: kat_vectors of the authors' library Random123
KNOWN = [
    ("00000000 00000000", "00000000 " * 4, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff", "ffffffff " * 4, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("a4093822 299f31d0", "243f6a88 85a308d3 13198a2e 03707344", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def _words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("key", "counter", "expected"), KNOWN)
def test_the_published_words(key: str, counter: str, expected: str) -> None:
    drawn = philox.philox(torch.tensor(_words(key)), torch.tensor(_words(counter)))
    assert drawn.tolist() == _words(expected)


def test_the_published_words_are_the_first_of_the_stream_of_zeros() -> None:
    assert philox.words(Stream((0, 0), 0), 4).tolist() == _words(KNOWN[0][2])


def compiled(op: str, stream: Stream, count: int) -> Array:
    return everywhere(op, [count, *stream.key, stream.step], [blank(count)])[0]


@drawn
@given(STREAMS, COUNTS)
def test_words_and_uniform_numbers_are_torchs_bit_for_bit(stream: Stream, count: int) -> None:
    (expected,) = philox.torch_words([stream], count)
    words = np.zeros(count, np.int32)
    library.run("words", [count, *stream.key, stream.step], [torch.from_numpy(words)])
    assert words.view(np.uint32).tolist() == expected.tolist()
    uniform = compiled("uniform", stream, count)
    assert np.array_equal(uniform, (expected.numpy() >> 8) / 2**24)
    assert np.array_equal(uniform, philox.torch_uniform([stream], count)[0].numpy())


@drawn
@given(STREAMS, COUNTS)
def test_normal_numbers_are_within_their_bound_of_float64(stream: Stream, count: int) -> None:
    a, b = philox.torch_words([stream], count + 1)[0].numpy()[: (count + 1) // 2 * 2].reshape(-1, 2).T
    radius = np.sqrt(-2 * np.log(((a >> 8) + 1) / 2**24))
    angle = 2 * np.pi * (b >> 5) / 2**27
    exact = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).ravel()[:count]
    assert np.abs(compiled("normal", stream, count) - exact).max() <= 6e-7
    assert np.abs(philox.torch_normal(stream, count).numpy() - exact).max() <= 6e-7


def test_normal_numbers_are_normal_and_independent() -> None:
    count = 200_000
    drawn = compiled("normal", Stream((7, 3), 0), count).astype(float)
    assert stats.kstest(drawn, "norm").pvalue > 0.01
    for a, b in ((drawn[::2], drawn[1::2]), (drawn[:-2], drawn[2:]), (drawn[::2] ** 2, drawn[1::2] ** 2)):
        assert abs(np.corrcoef(a, b)[0, 1]) < 4 / len(a) ** 0.5


@pytest.mark.parametrize(("op", "face"), [("words", philox.words), ("uniform", philox.uniform)])
def test_without_a_compiler_words_and_uniform_numbers_are_the_same(
    op: str, face: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(face)
    stream = Stream((1, 2), 3)
    expected = face(stream, 100)
    monkeypatch.setattr(library, "lacking", lambda: "no compiler")
    assert torch.equal(face(stream, 100), expected), op
    assert philox.normal(stream, 5).shape == (5,)


@drawn
@given(STREAMS, COUNTS, st.sampled_from([0.0, 0.1, 0.5, 0.9]))
def test_dropout_in_training_is_a_mask_of_the_uniform_numbers(stream: Stream, count: int, rate: float) -> None:
    x, dy = numbers(count, seed=1), numbers(count, seed=2)
    step = np.array([stream.step], np.uint32).view(np.float32)  # bits of an integer
    sizes, constants = [count, *stream.key], [rate, 1 / (1 - rate)]
    _, y, factor, _ = everywhere("dropout", sizes, [x, blank(count), blank(count), step], constants)
    kept = philox.torch_uniform([stream], count)[0].numpy() >= np.float32(rate)
    assert np.array_equal(factor, np.where(kept, np.float32(1 / (1 - rate)), 0))
    assert np.array_equal(y, x * factor)
    dx = everywhere("multiply", [count], [dy, factor, blank(count)])[2]
    assert np.array_equal(dx, dy * factor)


def test_dropouts_step_may_be_another_one_in_each_step_of_a_replay() -> None:
    steps, count = torch.arange(5, 9, dtype=torch.int32), 30
    x, y, factor = torch.ones(count), torch.empty(4, count), torch.empty(4, count)
    arrays: list[library.Array] = [x, library.EachStep(y), library.EachStep(factor), library.EachStep(steps)]
    library.replay(library.listed([library.call("dropout", [count, 1, 2], arrays, [0.5, 2.0])]), 4)
    expected = philox.torch_uniform([Stream((1, 2), step) for step in range(5, 9)], count) >= 0.5
    assert torch.equal(y, 2 * expected)


def test_the_uniform_numbers_have_the_mean_and_variance_of_their_distribution() -> None:
    uniform = compiled("uniform", Stream((5, 6), 0), 100_000).astype(float)
    assert uniform.mean() == pytest.approx(0.5, abs=4 / (12 * len(uniform)) ** 0.5)
    assert uniform.max() <= 1 - 2 * UNIT
