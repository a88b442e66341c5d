"""Sums of pixels, products in doubles and resampling: exact, or against NumPy and PyTorch, in every build."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import grid_sample

from bnbench.arithmetic import library
from bnbench.arithmetic.images import CHUNK, pixel_products, product, sample
from tests.support.builds import BUILDS, in_each

UNIT = 2.0**-53
SIZES = st.integers(1, 70)
SPECIAL = (math.nan, math.inf, -math.inf, -0.0, 1e-45, -1e-40, 3e38)
# no deadline: the first example may build the library
drawn = settings(max_examples=40, deadline=None, derandomize=True)


def _bytes(images: int, pixels: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).randint(0, 256, (images, pixels)).astype(np.uint8))


def _doubles(rows: int, columns: int, seed: int) -> Tensor:
    dice = np.random.RandomState(seed)
    return torch.from_numpy(dice.randn(rows, columns) * 2.0 ** dice.randint(-30, 30, (rows, columns)))


def _images(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).uniform(0, 255, shape).astype(np.float32))


def _transforms(images: int, seed: int) -> Tensor:
    """Return rotations, scalings and shifts, some of them far out of the image."""
    dice = np.random.RandomState(seed)
    return torch.from_numpy((dice.randn(images, 6) * [1, 1, 5, 1, 1, 5]).astype(np.float32))


@drawn
@given(SIZES, st.integers(1, 130), st.integers(0, 2**16))
def test_sums_of_products_of_pixels_are_exact(images: int, pixels: int, seed: int) -> None:
    x = _bytes(images, pixels, seed)
    assert torch.equal(pixel_products(x), x.long().T @ x.long())


def test_sums_over_several_chunks_of_the_brightest_images_are_exact() -> None:
    x = torch.full((2 * CHUNK + 1, 17), 255, dtype=torch.uint8)
    assert (pixel_products(x) == (2 * CHUNK + 1) * 255 * 255).all()


@drawn
@given(SIZES, SIZES, st.integers(1, 130), st.integers(0, 2**16))
def test_a_product_is_within_its_bound_of_the_exact_one(rows: int, columns: int, inner: int, seed: int) -> None:
    a, b = _doubles(rows, inner, seed), _doubles(inner, columns, seed + 1)
    found = product(a, b)
    for i, j in ((0, 0), (rows - 1, columns - 1), (rows // 2, columns // 3)):
        exact = sum(Fraction(x) * Fraction(y) for x, y in zip(a[i].tolist(), b[:, j].tolist(), strict=True))
        assert abs(Fraction(float(found[i, j])) - exact) <= inner * UNIT * float(a[i].abs() @ b[:, j].abs())


def test_an_element_of_a_product_is_one_chain_of_fused_operations() -> None:
    a, b = _doubles(13, 50, 0), _doubles(50, 19, 1)
    for i in range(13):
        for j in range(19):
            chain = 0.0
            for x, y in zip(a[i].tolist(), b[:, j].tolist(), strict=True):
                chain = float(Fraction(x) * Fraction(y) + Fraction(chain))
            assert float(product(a, b)[i, j]) == chain


def test_a_row_of_a_product_does_not_depend_on_the_other_rows() -> None:
    a, b = _doubles(25, 40, 2), _doubles(40, 33, 3)
    together = product(a, b)
    assert all(torch.equal(product(a[i : i + 1], b)[0], together[i]) for i in range(25))
    assert torch.equal(
        product(a.T.contiguous().T, b.T.contiguous().T), together
    )  # views are multiplied as their copies


def _by_torch(x: Tensor, transforms: Tensor) -> Tensor:
    """Resample by PyTorch in doubles."""
    height, width = x.shape[1:3]
    column = torch.arange(width).double() - (width - 1) / 2
    row = (torch.arange(height).double() - (height - 1) / 2)[:, None]
    a, b, c, d, e, f = transforms.double()[..., None, None].unbind(1)
    grid = torch.stack([(a * column + b * row + c) * 2 / width, (d * column + e * row + f) * 2 / height], -1)
    sampled = grid_sample(x.double().movedim(-1, 1), grid, "bilinear", "border", align_corners=False)
    return sampled.movedim(1, -1)


@drawn
@given(st.integers(1, 4), st.integers(1, 40), st.integers(1, 40), st.integers(1, 5), st.integers(0, 2**16))
def test_images_are_resampled_as_by_pytorch(images: int, height: int, width: int, channels: int, seed: int) -> None:
    x, transforms = _images((images, height, width, channels), seed), _transforms(images, seed)
    wanted = _by_torch(x, transforms)
    # a coordinate is off by at most 4 roundings of 2^-24 times its size, below 2^8, and neighbours differ by 255
    assert float((sample(x, transforms) - wanted).abs().max()) < 4 * 2.0**-24 * 2**8 * 2 * 255


def test_the_identity_flips_quarter_turns_and_whole_shifts_are_exact() -> None:
    for size in (6, 7):
        x = _images((1, size, size, 3), size)
        one, half = [1.0, 0, 0, 0, 1, 0], [-1.0, 0, 0, 0, -1, 0]
        flip, turn, shift = [-1.0, 0, 0, 0, 1, 0], [0.0, 1, 0, -1, 0, 0], [1.0, 0, 2, 0, 1, 0]
        shifted = torch.cat([x[:, :, 2:], x[:, :, -1:], x[:, :, -1:]], 2)
        wanted = [x, x.flip(1, 2), x.flip(2), x.rot90(-1, (1, 2)), shifted]
        for rows, image in zip((one, half, flip, turn, shift), wanted, strict=True):
            assert torch.equal(sample(x, torch.tensor([rows])), image)


def test_an_image_of_one_colour_stays_one() -> None:
    x = torch.full((20, 9, 11, 1), 77.7)
    assert torch.equal(sample(x, _transforms(20, 4)), x)


def test_an_image_is_resampled_alone_as_among_others() -> None:
    x, transforms = _images((30, 9, 19, 3), 5), _transforms(30, 5)
    together = sample(x, transforms)
    assert all(torch.equal(sample(x[i : i + 1], transforms[i : i + 1])[0], together[i]) for i in range(30))


def test_nan_spreads_to_the_pixels_that_it_takes_part_in_and_a_nan_coordinate_is_the_first_pixel() -> None:
    x = _images((1, 8, 8, 1), 6)
    x[0, 3, 3] = math.nan
    found = sample(x, torch.tensor([[1.0, 0, 0.5, 0, 1, 0]]))  # between columns 2 and 3, and 3 and 4
    rows, columns = torch.where(found[0, ..., 0].isnan())
    assert set(columns.tolist()) == {2, 3}
    assert set(rows.tolist()) <= {2, 3}  # the row above has weight 0 for it, and 0 NaN is NaN
    assert torch.equal(sample(x, torch.full((1, 6), math.nan)), x[:, :1, :1].expand(x.shape))


@drawn
@given(SIZES, SIZES, SIZES, st.integers(0, 2**16), st.lists(st.sampled_from(SPECIAL), max_size=5))
def test_every_build_gives_the_same_bytes_also_of_nan_infinities_and_denormals(
    rows: int, columns: int, inner: int, seed: int, special: list[float]
) -> None:
    dice = np.random.RandomState(seed)
    a, b = _doubles(rows, inner, seed), _doubles(inner, columns, seed + 1)
    x, transforms = _images((2, rows, columns, 3), seed), _transforms(2, seed)
    for value in special:
        a[dice.randint(rows), dice.randint(inner)] = value
        x[dice.randint(2), dice.randint(rows), dice.randint(columns)] = value
        transforms[dice.randint(2), dice.randint(6)] = value

    def compute() -> list[bytes]:
        found = [product(a, b), sample(x, transforms), pixel_products(_bytes(rows, columns, seed))]
        return [array.nan_to_num(nan=1234.5).numpy().tobytes() for array in found]  # a NaN's sign is not defined

    by_build = in_each(compute)
    assert len(by_build) == len(BUILDS)
    assert all(found == by_build["plain"] for found in by_build.values())


def test_without_compiled_operations_torchs_give_the_same_within_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, a, b = _bytes(CHUNK + 5, 10, 7), _doubles(20, 30, 8), _doubles(30, 10, 9)
    x, transforms = _images((3, 12, 17, 3), 10), _transforms(3, 10)

    def compute() -> tuple[Tensor, Tensor, Tensor]:
        return pixel_products(pixels), product(a, b), sample(x, transforms)

    compiled = compute()
    monkeypatch.setattr(library, "lacking", lambda: "no C compiler is installed")
    without = compute()
    assert torch.equal(without[0], compiled[0])
    torch.testing.assert_close(without[1], compiled[1], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(without[2], compiled[2], rtol=0, atol=0.01)
