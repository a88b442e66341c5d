"""Early stopping in a pack: the stopping epoch, the weights retained, and no effect on the other runs."""

from pathlib import Path
from typing import Any

import pytest

from bnbench.params.run_schema import Run
from bnbench.training import checkpoints
from bnbench.training.pack.pack import Outcome, Pack
from bnbench.training.train import start, train
from tests.support.little import digits, run, trained

pytestmark = pytest.mark.usefixtures("step_by_step")

SETTINGS: dict[str, Any] = {"model": "64-24-10", "epochs": 25, "train_images": 600, "momentum": 0, "batch_size": 60}
RUNS = [run(**SETTINGS, patience=3, seed=seed, learning_rate=rate) for seed in range(3) for rate in (0.05, 1.0)]


def _bits(outcome: Outcome) -> str:
    return repr((outcome.result, outcome.history))


def _stops_at(accuracies: list[float], patience: int) -> int:
    """Return the number of evaluations after which the last `patience` bring no improvement over those before."""
    for count in range(patience + 1, len(accuracies) + 1):
        if max(accuracies[count - patience : count]) <= max(accuracies[: count - patience]):
            return count
    return len(accuracies)


def _accuracies(outcome: Outcome) -> list[float]:
    return [row["valid_accuracy"] or 0.0 for row in outcome.history]


@pytest.mark.parametrize("patience", [1, 3, 6])
def test_a_run_stops_once_validation_accuracy_has_not_risen_for_so_many_epochs(patience: int) -> None:
    patient = trained([one.model_copy(update={"patience": None}) for one in RUNS])
    stopped = trained([one.model_copy(update={"patience": patience}) for one in RUNS])
    for outcome, whole in zip(stopped, patient, strict=True):
        epochs = _stops_at(_accuracies(whole), patience)
        assert outcome.result["epochs"] == epochs
        assert outcome.result["steps"] == 10 * epochs
        assert outcome.history == whole.history[:epochs]
    assert len({outcome.result["epochs"] for outcome in stopped}) > 2
    assert min(outcome.result["epochs"] for outcome in stopped) < 25


def test_neighbours_of_a_run_that_stops_are_the_same_as_alone_bit_for_bit() -> None:
    assert [_bits(outcome) for outcome in trained(RUNS)] == [_bits(trained([one])[0]) for one in RUNS]


def test_a_run_that_has_stopped_is_stored_at_once_and_trained_no_further() -> None:
    left: list[tuple[int, int]] = []
    done: list[tuple[str, int]] = []
    pack = start([f"{i:016x}" for i in range(len(RUNS))], RUNS, digits())

    def watch(pack: Pack) -> None:
        left.append((pack.step, len(pack.names)))

    train(pack, watch, lambda outcome: done.append((outcome.name, pack.step)))
    steps = dict(done)
    outcomes = {outcome.name: outcome for outcome in trained(RUNS)}
    assert steps == {name: outcome.result["steps"] for name, outcome in outcomes.items()}
    early = [step for step in steps.values() if step < pack.steps]
    assert early
    assert sum(count for _, count in left) == sum(steps.values()) - len(early)  # one that stops leaves at its last step


def test_the_weights_of_the_best_epoch_are_tested_after_a_stop() -> None:
    for outcome in trained([one.model_copy(update={"keep_weights": "best"}) for one in RUNS]):
        accuracies = _accuracies(outcome)
        assert outcome.result["valid_accuracy"] == max(accuracies)
        assert outcome.result["best_epoch"] == accuracies.index(max(accuracies)) + 1


@pytest.mark.parametrize("step", [5, 35, 60])
def test_patience_is_remembered_by_a_checkpoint(tmp_path: Path, step: int) -> None:
    expected = {outcome.name: _bits(outcome) for outcome in trained(RUNS)}
    pack = start(list(expected), RUNS, digits())
    early: list[Outcome] = []

    def stop(pack: Pack) -> None:
        if pack.step == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(pack, stop, early.append)
    checkpoints.save(tmp_path, pack)
    states = [checkpoints.load(tmp_path, name) for name in pack.names]
    runs: list[Run] = list(pack.runs)
    resumed = start(pack.names, runs, digits())
    checkpoints.restore(resumed, [state for state in states if state])
    train(resumed, lambda _pack: None, early.append)
    assert {outcome.name: _bits(outcome) for outcome in early} == expected
