"""The NumPy backend: the same training as PyTorch's within rounding, and accurate enough for the published net."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from bnbench.core.yaml_reader import read
from bnbench.data.download import download
from bnbench.data.prepare import prepare
from bnbench.data.prepared import Prepared
from bnbench.params.dataset_schema import Dataset
from bnbench.training import checkpoints
from bnbench.training.engine.step import train_step
from bnbench.training.pack.pack import Outcome
from bnbench.training.train import start, train
from tests.support.little import ROOT, digits, run, trained

STEP = {"kind": "step", "from_epoch": [2], "factor": [0.5]}
VARIED: dict[str, dict[str, Any]] = {
    "none": {"activation": "relu", "optimizer": "adam", "learning_rate": 0.003, "dropout": 0.3},
    "batch": {"activation": "sigmoid", "population": "last_epoch", "weight_decay": 1e-3},
    "center": {"activation": "tanh", "order": "post", "norm_gamma": 0.5},
    "renorm": {"activation": "leaky_relu", "renorm_rmax_ramp": [0, 1], "renorm_dmax_ramp": [0, 1], "slope": 0.2},
    "ghost": {"activation": "prelu", "norm_parts": 4, "population": "batch", "slope": 0.2},
    "group": {"activation": "relu", "norm_groups": 4, "norm_beta": 0.1, "keep_weights": "best"},
    "layer": {"activation": "sigmoid", "optimizer": "adam", "learning_rate": 0.003, "loss": "sum", "momentum": 0.5},
}


@pytest.mark.parametrize("norm", VARIED)
def test_both_backends_give_the_same_history(norm: str) -> None:
    common = {"model": "64-32-20-10", "norm": norm, "batch_size": 60, "epochs": 2, "evaluate_every": 5}
    settings = {"learning_rate": 0.05, "schedule": STEP, "evaluate_test": True, **common, **VARIED[norm]}
    for seed in (0, 1):
        fast, slow = (trained([run(seed=seed, backend=name, **settings)])[0] for name in ("torch", "numpy"))
        assert len(fast.history) == 8
        for one, other in zip(fast.history, slow.history, strict=True):
            losses = {name: value for name, value in one.items() if not name.endswith("accuracy")}
            assert losses == pytest.approx({name: other[name] for name in losses}, rel=2e-4)
            for part, images in (("train", 300), ("valid", 240), ("test", 360)):  # tolerance: one image
                assert one[f"{part}_accuracy"] == pytest.approx(other[f"{part}_accuracy"], abs=1.01 / images)
        assert fast.result["test_loss"] == pytest.approx(slow.result["test_loss"], rel=2e-4)
        assert fast.result["parameters"] == slow.result["parameters"]


def test_a_run_that_was_saved_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    settings = run(model="64-16-10", backend="numpy", optimizer="adam", dropout=0.2, epochs=1, population="last_epoch")
    names = ["0" * 16]
    pack = start(names, [settings], digits())
    pack.bind()
    for _ in range(9):
        train_step(pack)
    checkpoints.save(tmp_path, pack)
    again = start(names, [settings], digits())
    saved = checkpoints.load(tmp_path, names[0])
    assert saved
    checkpoints.restore(again, [saved])
    outcomes: list[Outcome] = []
    train(again, lambda _pack: None, outcomes.append)
    assert again.arrays["values"].dtype == torch.float64
    assert outcomes == trained([settings])


def test_a_run_that_diverges_is_recorded_as_by_pytorch() -> None:
    wild: dict[str, Any] = {"norm": "center", "learning_rate": 50.0}
    fast, slow = (trained([run(backend=name, **wild)])[0] for name in ("torch", "numpy"))
    assert (fast.result["status"], slow.result["status"]) == ("diverged", "diverged")
    assert slow.result["diverged_step"] == fast.result["diverged_step"]
    assert slow.result["test_loss"] is None


def test_there_is_no_way_back_outside_training() -> None:
    pack = start(["0" * 16], [run(model="64-16-10", backend="numpy")], digits())
    pack.bind()
    logits = pack.network.forward(torch.zeros(1, 3, 8, 8, 1))
    with pytest.raises(RuntimeError, match="in training alone"):
        pack.network.backward(logits)


@pytest.mark.slow
@pytest.mark.skipif("BNBENCH_MIRROR" not in os.environ, reason="needs MNIST in BNBENCH_MIRROR")
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_the_three_layer_net_reaches_97_percent_on_mnist(norm: str, tmp_path: Path) -> None:
    mnist = Dataset.model_validate(read(ROOT / "params.yaml").values["datasets"]["mnist"])
    download("mnist", mnist, tmp_path / "raw")
    prepare("mnist", mnist, tmp_path / "raw", tmp_path / "prepared")
    settings = run(
        dataset="mnist", model="784-100-10", norm=norm, backend="numpy", optimizer="adam", learning_rate=0.001,
        beta2=0.99, batch_size=100, epochs=5,
    )  # fmt: skip
    outcome = trained([settings], Prepared.read(tmp_path / "prepared"))[0]
    assert outcome.result["test_accuracy"] >= 0.97
