"""Published numbers reproduced on the real MNIST; needs its files in the folder BNBENCH_MIRROR."""

import os
from pathlib import Path

import pytest

from bnbench.data.prepare import prepare
from bnbench.data.prepared import Prepared
from bnbench.params import resolve
from bnbench.training.pack.pack import Outcome
from bnbench.training.train import start, train
from tests.support.little import run
from tests.support.parameters import PARAMS
from tests.support.watched import as_row

# gradient magnitude of eleven layers at iteration 10, without batch norm: reading notes on the BN paper, 2015
PUBLISHED = (3.23e-7, 8.32e-7, 3.36e-6, 1.52e-5, 6.49e-5, 2.72e-4, 1.20e-3, 6.30e-3, 2.98e-2, 1.25e-1, 3.89e-1)
WITH_NORM = (0.271, 0.155, 0.151, 0.154, 0.155, 0.145, 0.129, 0.139, 0.166, 0.210, 0.760)


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    raw = Path(os.environ.get("BNBENCH_MIRROR", "")) / "mnist"
    if "BNBENCH_MIRROR" not in os.environ or not raw.is_dir():
        pytest.skip("BNBENCH_MIRROR names no folder with mnist/")
    folder = tmp_path_factory.mktemp("mnist") / "prepared"
    prepare("mnist", resolve.dataset(PARAMS, "mnist"), raw, folder)
    return Prepared.read(folder)


def _magnitudes(mnist: Prepared, norm: str) -> list[list[float]]:
    """Return the L2 norms of the gradients of eleven layers at step 10, a list per seed."""
    model = "784-" + "100-" * 10 + "10"
    settings = {"model": model, "norm": norm, "activation": "sigmoid", "init": "normal", "init_deviation": 0.1}
    steps = {"batch_size": 200, "train_images": 2000, "epochs": 1, "learning_rate": 0.1, "momentum": 0.9}
    runs = [run(**settings, **steps, seed=seed, probes=["gradients"]) for seed in range(3)]
    outcomes: list[Outcome] = []
    train(start([f"{i:016x}" for i in range(3)], runs, mnist), lambda _pack: None, outcomes.append)
    rows = [[as_row(row) for row in outcome.probed] for outcome in outcomes]
    return [[row["value"] for row in one if row["quantity"] == "norm"] for one in rows]


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "published"), [("none", PUBLISHED), ("batch", WITH_NORM)])
def test_gradients_per_layer_are_within_a_factor_of_three_of_the_published(
    mnist: Prepared, norm: str, published: tuple[float, ...]
) -> None:
    for seed in _magnitudes(mnist, norm):
        assert len(seed) == 11
        assert max(max(a / b, b / a) for a, b in zip(seed, published, strict=True)) < 3


@pytest.mark.slow
def test_with_batch_norm_all_layers_gradients_are_within_one_order_of_magnitude(mnist: Prepared) -> None:
    for seed in _magnitudes(mnist, "batch"):
        assert max(seed) / min(seed) < 10
