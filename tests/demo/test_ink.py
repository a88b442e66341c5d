"""Conversion of drawings to the format of a data set's images."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from bnbench.demo.ink import SHARE, Ink, as_digits, as_mnist, drawn
from tests.support.strokes import DIGITS


def enlarged(image: Ink, factor: int) -> Ink:
    return np.kron(image, np.ones((factor, factor), np.uint8))


@pytest.mark.parametrize("digit", range(10))
def test_ink_fills_a_box_of_20_centred_by_mass_in_28(digit: int) -> None:
    image = as_mnist(drawn(DIGITS[digit]))
    rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
    assert image.shape == (28, 28)
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
    for axis in (0, 1):
        weights = image.sum(1 - axis, dtype=float)
        assert abs(np.average(np.arange(28), weights=weights) - 14) <= 0.51
    assert len(np.unique(image)) > 10  # antialiased


def test_position_and_size_of_a_drawing_do_not_matter() -> None:
    for strokes in DIGITS:
        shifted = [[(0.3 + 0.25 * x, 0.7 + 0.25 * y) for x, y in stroke] for stroke in strokes]
        assert np.abs(as_mnist(drawn(shifted)).astype(int) - as_mnist(drawn(strokes))).max() <= 30


def test_a_dot_and_a_line_are_drawings() -> None:
    dot, line = drawn([[(0.5, 0.5)]]), drawn([[(0.2, 0.5), (0.8, 0.5)]])
    assert np.ptp(np.flatnonzero(as_mnist(dot).any(1))) + 1 == 20
    assert np.ptp(np.flatnonzero(as_mnist(line).any(0))) + 1 == 20
    assert np.ptp(np.flatnonzero(as_mnist(line).any(1))) + 1 < 5


def test_paper_without_ink_is_refused() -> None:
    with pytest.raises(ValueError, match="no ink"):
        drawn([])
    with pytest.raises(ValueError, match="no ink"):
        as_mnist(np.zeros((9, 9), np.uint8))


@pytest.mark.skipif("BNBENCH_MIRROR" not in os.environ, reason="needs the files of MNIST")
def test_an_enlarged_and_shifted_image_of_mnist_is_restored() -> None:
    content = gzip.decompress((Path(os.environ["BNBENCH_MIRROR"]) / "mnist/t10k-images-idx3-ubyte.gz").read_bytes())
    images = np.frombuffer(content, np.uint8, 500 * 784, 16).reshape(-1, 28, 28)
    back = [as_mnist(np.pad(enlarged(image, 10), ((35, 0), (0, 90)))) for image in images]
    same = sum(bool((a == b).all()) for a, b in zip(back, images, strict=True))
    assert same >= 0.88 * len(images)  # 452 measured; the others lost their faintest edge when MNIST was created


def test_drawn_digits_are_like_those_of_scikit_learn() -> None:
    x, y = load_digits(return_X_y=True)
    images = [as_digits(drawn(strokes)) for strokes in DIGITS]
    assert {image.shape for image in images} == {(8, 8)}
    assert np.mean(images) / 255 == pytest.approx(SHARE, abs=0.03)
    assert np.mean(x) / 16 == pytest.approx(SHARE, abs=0.001)
    flat = np.array(images).reshape(10, 64) * (16 / 255)
    answers = KNeighborsClassifier(5).fit(x, y).predict(flat)
    assert (answers == np.arange(10)).sum() >= 9


def test_each_cell_counts_the_ink_of_its_four_by_four_pixels() -> None:
    bitmap = np.zeros((64, 40), np.uint8)
    bitmap[:32] = 255  # the upper half; the pixel in the lower corner only sets the bounding box
    bitmap[63, 39] = 255
    image = as_digits(bitmap)
    full = image[:4, 2:6]
    assert (full[:3] == 255).all()
    assert image[:3, [1, 6]].max() < 255  # 20 wide in 32: the outer cells are at most half full
    assert not image[:, [0, 7]].any()
    assert np.asarray(Image.fromarray(image)).dtype == np.uint8
