"""Sine and cosine of degrees against NumPy's in extended precision."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from bnbench.arithmetic.angles import sine_and_cosine

PI = np.longdouble("3.14159265358979323846264338327950288")


def test_sine_and_cosine_are_within_3e_16_of_the_true_values() -> None:
    degrees = np.linspace(-180, 180, 200_001)
    sine, cosine = (found.numpy() for found in sine_and_cosine(torch.from_numpy(degrees)))
    radians = degrees.astype(np.longdouble) * PI / 180
    assert np.abs(sine - np.sin(radians)).max() < 3e-16
    assert np.abs(cosine - np.cos(radians)).max() < 3e-16


def test_multiples_of_a_right_angle_are_exact() -> None:
    sine, cosine = sine_and_cosine(torch.tensor([-180.0, -90, 0, 90, 180]).double())
    assert sine.tolist() == [0, -1, 0, 1, 0]
    assert cosine.tolist() == [-1, 0, 1, 0, -1]


@given(st.floats(-180, 180))
def test_an_angle_and_its_negative_have_the_same_cosine_and_opposite_sines_also_denormal_ones(degrees: float) -> None:
    sine, cosine = sine_and_cosine(torch.tensor([degrees, -degrees], dtype=torch.float64))
    assert sine[0] == -sine[1]
    assert cosine[0] == cosine[1]
    assert abs(float(sine[0]) ** 2 + float(cosine[0]) ** 2 - 1) < 1e-15
