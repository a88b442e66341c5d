"""Preprocessing against scikit-learn and plain NumPy; its statistics are of the training images alone."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from bnbench.arithmetic import library
from bnbench.data import preprocess
from bnbench.data.preprocess import EPSILON, PREPROCESSING
from bnbench.training.train import tensors
from tests.support.builds import BUILDS, in_each
from tests.support.little import digits, run, trained

TRAIN = torch.from_numpy(digits().train.images).movedim(1, -1).contiguous()
TEST = torch.from_numpy(digits().test.images).movedim(1, -1).contiguous()


def _flat(x: Tensor) -> "np.typing.NDArray[np.float64]":
    return x.flatten(1).double().numpy()


def _prepared(name: str, x: Tensor = TEST, train: Tensor = TRAIN) -> Tensor:
    out = PREPROCESSING[name](train)(x)
    assert out.dtype == torch.float32
    assert out.shape == x.shape
    return out


def test_raw_pixels_are_unchanged_and_unit_pixels_divided_by_255() -> None:
    assert torch.equal(_prepared("raw"), TEST.float())
    assert torch.equal(_prepared("unit") * 255, _prepared("raw").div(255).mul(255))


@pytest.mark.parametrize(("name", "spread"), [("center", False), ("standard", True)])
def test_each_pixels_mean_and_standard_deviation_are_those_of_scikit_learn(name: str, spread: bool) -> None:
    scaler = StandardScaler(with_std=spread).fit(_flat(TRAIN) / 255)
    np.testing.assert_allclose(_flat(_prepared(name)), scaler.transform(_flat(TEST) / 255), atol=1e-5)


def test_zscore_has_a_mean_of_0_and_a_standard_deviation_of_1_per_channel() -> None:
    colours = torch.stack([TRAIN[..., 0], TRAIN[..., 0].flip(1) // 2], -1)
    values = _prepared("zscore", colours, colours).double().flatten(0, 2)
    torch.testing.assert_close(values.mean(0), torch.zeros(2).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(values.std(0, correction=0), torch.ones(2).double(), atol=1e-6, rtol=0)


def test_pca_and_zca_whiten_as_by_a_singular_value_decomposition() -> None:
    x = _flat(TRAIN) / 255
    mean = x.mean(0)
    _, singular, components = np.linalg.svd(x - mean, full_matrices=False)
    variance = singular**2 / (len(x) - 1)
    projected = (_flat(TEST) / 255 - mean) @ components.T / np.sqrt(variance + EPSILON)
    np.testing.assert_allclose(np.abs(_flat(_prepared("pca"))), np.abs(projected), atol=1e-5)
    np.testing.assert_allclose(_flat(_prepared("zca")), projected @ components, atol=1e-5)


@pytest.mark.parametrize("name", ["pca", "zca"])
def test_whitened_training_images_have_the_covariance_that_epsilon_leaves(name: str) -> None:
    covariance = np.cov(_flat(_prepared(name, TRAIN)), rowvar=False)
    eigenvalues = np.sort(np.linalg.eigvalsh(np.cov(_flat(TRAIN) / 255, rowvar=False)))
    left = np.sort(np.linalg.eigvalsh(covariance))
    np.testing.assert_allclose(left, eigenvalues / (eigenvalues + EPSILON), atol=1e-5)
    if name == "pca":
        np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-5)
        assert (np.diff(np.diag(covariance)) < 1e-5).all()  # components in order of decreasing variance


def test_signs_of_components_are_fixed_by_their_largest_weight() -> None:
    whiten = PREPROCESSING["pca"](TRAIN)
    zero, one = torch.zeros(1, 8, 8, 1), torch.eye(64).view(64, 8, 8, 1) * 255
    weights = _flat(whiten(one) - whiten(zero))  # one row per pixel, one column per component
    assert (weights[np.abs(weights).argmax(0), np.arange(64)] >= 0).all()


@pytest.mark.parametrize("name", list(PREPROCESSING))
def test_statistics_are_of_the_chosen_training_images_alone(name: str) -> None:
    images = tensors(digits(), run(preprocessing=name, train_images=300), "cpu")
    assert torch.equal(images["test"].x, _prepared(name, TEST, TRAIN[:300]))
    assert torch.equal(images["train"].x, _prepared(name, TRAIN[:300], TRAIN[:300]))


@pytest.mark.parametrize(("name", "model"), [("pca", "64-20-10"), ("zca", "64-20-10"), ("zca", "4C3-P2-10D")])
def test_a_net_learns_from_whitened_images(name: str, model: str) -> None:
    (outcome,) = trained([run(preprocessing=name, model=model, epochs=8)])
    assert outcome.result["test_accuracy"] > 0.9


def _random(images: int, height: int, width: int, channels: int = 1) -> Tensor:
    """Return random images, whose first position and last channel are constant."""
    dice = np.random.RandomState(images)
    x = torch.from_numpy(dice.randint(0, 256, (images, height, width, channels)).astype(np.uint8))
    x[:, 0, 0], x[..., -1] = 9, 77
    return x


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(1, 60), st.integers(1, 7), st.integers(1, 7), st.integers(1, 3))
def test_every_build_gives_the_same_bytes_whatever_the_sizes(
    images: int, height: int, width: int, channels: int
) -> None:
    train = _random(images, height, width, channels)
    names = [name for name in PREPROCESSING if name != "pca" or images >= height * width * channels]
    made = in_each(lambda: [PREPROCESSING[name](train)(train).numpy() for name in names])
    assert len(made) == len(BUILDS)
    assert all(np.isfinite(x).all() for x in made["plain"])
    for found in made.values():
        assert [x.tobytes() for x in found] == [x.tobytes() for x in made["plain"]]


@pytest.mark.parametrize("name", list(PREPROCESSING))
def test_an_image_is_prepared_alone_as_among_others(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare = PREPROCESSING[name](TRAIN)
    together = prepare(TEST)
    assert torch.equal(prepare(TEST[7:8])[0], together[7])
    monkeypatch.setattr(preprocess, "IMAGES", 7)
    assert torch.equal(PREPROCESSING[name](TRAIN)(TEST), together)


@pytest.mark.parametrize("name", ["center", "zscore", "standard"])
def test_means_and_deviations_are_the_doubles_nearest_to_their_true_values(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preprocess, "VALUES", 100)
    train = _random(41, 3, 5, 2)
    rows = train.flatten(0, 2) if name == "zscore" else train.flatten(1)
    means, deviations = preprocess._moments(rows)
    for column, mean, deviation in zip(rows.T.tolist(), means.tolist(), deviations.tolist(), strict=True):
        true_mean = Fraction(sum(column), len(column))
        variance = sum((value - true_mean) ** 2 for value in column) / len(column)
        assert mean == float(true_mean)
        assert deviation == (float(variance) ** 0.5 if variance else float("inf"))


@pytest.mark.parametrize(("name", "constant"), [("standard", np.s_[:, 0, 0]), ("zscore", np.s_[..., -1])])
def test_what_is_constant_in_training_becomes_0(name: str, constant: Any) -> None:
    train = _random(20, 4, 4, 2)
    out = PREPROCESSING[name](train)(_random(20, 4, 4, 2) + 1)
    assert (out[constant] == 0).all()
    assert out.isfinite().all()


def test_fewer_images_than_inputs_are_whitened_in_the_space_that_they_span() -> None:
    train = _random(12, 6, 6)
    x = _flat(train) / 255
    _, singular, components = np.linalg.svd(x - x.mean(0), full_matrices=False)
    factors = 1 / np.sqrt(singular[:-1] ** 2 / 11 + EPSILON)  # the last singular value is 0
    expected = (x - x.mean(0)) @ components[:-1].T * factors @ components[:-1]
    np.testing.assert_allclose(_flat(_prepared("zca", train, train)), expected, atol=1e-5)


@pytest.mark.parametrize("name", list(PREPROCESSING))
def test_without_compiled_operations_the_values_are_the_same_within_rounding(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = _prepared(name)
    monkeypatch.setattr(library, "lacking", lambda: "no C compiler is installed")
    if name in ("pca", "zca"):
        torch.testing.assert_close(_prepared(name), compiled, rtol=0, atol=1e-5)
    else:
        assert torch.equal(_prepared(name), compiled)
