"""Fixtures shared by the tests. bnbench comes before torch: it sets how MKL rounds."""

import bnbench  # noqa: F401, I001

from typing import Any

import pytest
import torch

from bnbench.data import Prepared
from tests import little


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits() -> Prepared:
    """scikit-learn's digits as a prepared data set."""
    return little.digits()


@pytest.fixture
def defaults() -> dict[str, Any]:
    """The training defaults of params.yaml."""
    return little.defaults()
