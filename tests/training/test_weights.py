"""Saved weights of a run: stored by layer and name, and loaded into a network with the same predictions."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bnbench.core.errors import UserError
from bnbench.params.run_schema import Run
from bnbench.plan.identity import run_id
from bnbench.training import run_writer
from bnbench.training.pack.pack import Outcome
from tests.support.little import digits, run, trained

SHAPE = (1, 8, 8)
RUNS = [
    run(model=model, norm=norm, epochs=4, learning_rate=1.5, save_weights=True, keep_weights=keep)
    for model, norm, keep in [
        ("64-20-10", "batch", "best"),
        ("3C3-P2-10D", "batch", "last"),
        ("64-9-10", "none", "last"),
    ]
]


def _trained(one: Run) -> Outcome:
    """Train a run and return its outcome under its own id."""
    return replace(trained([one])[0], name=run_id(one, "data"))


@pytest.mark.parametrize("one", RUNS, ids=lambda one: one.model)
def test_a_network_read_back_has_the_accuracy_that_was_stored(tmp_path: Path, one: Run) -> None:
    outcome = _trained(one)
    run_writer.write(tmp_path, outcome, "data")
    settings, network = run_writer.read_network(tmp_path, outcome.name, SHAPE)
    assert settings == one
    x = torch.from_numpy(digits().test.images).movedim(1, -1).float() / 255
    predicted = network.forward(x[None]).argmax(-1)[0]
    accuracy = (predicted == torch.from_numpy(digits().test.labels)).double().mean()
    assert float(accuracy) == outcome.result["test_accuracy"]


def test_weights_of_a_pack_are_those_of_each_run_alone(tmp_path: Path) -> None:
    runs = [RUNS[0].model_copy(update={"seed": seed}) for seed in range(3)]
    for outcome in trained(runs):
        run_writer.write(tmp_path / "packed", outcome, "data")
    for seed, one in enumerate(runs):
        (outcome,) = trained([one])
        run_writer.write(tmp_path / str(seed), outcome, "data")
        alone = (tmp_path / str(seed) / outcome.name / "weights.safetensors").read_bytes()
        assert (tmp_path / "packed" / f"{seed:016x}" / "weights.safetensors").read_bytes() == alone


def test_a_run_keeps_no_file_of_weights_unless_told(tmp_path: Path) -> None:
    outcome = _trained(RUNS[0].model_copy(update={"save_weights": False}))
    run_writer.write(tmp_path, outcome, "data")
    assert not (tmp_path / outcome.name / "weights.safetensors").exists()
    with pytest.raises(UserError, match="save_weights: true"):
        run_writer.read_network(tmp_path, outcome.name, SHAPE)


def test_a_run_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"00ff.*run.json: no such file"):
        run_writer.read_network(tmp_path, "00ff", SHAPE)


@pytest.mark.parametrize("damage", ["cut", "empty", "another"])
def test_damaged_weights_are_refused(tmp_path: Path, damage: str) -> None:
    outcome, other = (_trained(one) for one in (RUNS[0], RUNS[2]))
    run_writer.write(tmp_path / "a", outcome, "data")
    run_writer.write(tmp_path / "b", other, "data")
    path = tmp_path / "a" / outcome.name / "weights.safetensors"
    another = (tmp_path / "b" / other.name / "weights.safetensors").read_bytes()
    path.write_bytes({"cut": path.read_bytes()[:-9], "empty": b"", "another": another}[damage])
    with pytest.raises(UserError, match=r"weights\.safetensors was altered"):
        run_writer.read_network(tmp_path / "a", outcome.name, SHAPE)
