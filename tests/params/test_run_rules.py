"""Contradictory settings of a run are refused before training, with reason, line and remedy."""

from pathlib import Path

import pytest

from bnbench.params.resolve import resolve
from tests.support.parameters import line_of, refusal, toy

BASE = "base: {epochs: 4}"


@pytest.mark.parametrize(
    ("base", "key", "reason"),
    [
        ("epochs: 4, patience: 0", "patience", "expected a number of at least 1, got 0"),
        ("epochs: 4, patience: 4", "patience", "a patience of 4 can never stop a run of 4 evaluations"),
        ("epochs: 1, evaluate_every: 9, patience: 2", "patience", "can never stop a run of 2 evaluations"),
        ("epochs: 4, probes: [gradient]", "probes", "gradients"),
        ("epochs: 4, probes: [neurons, neurons]", "probes", "'neurons' occurs twice"),
        (
            "epochs: 4, model: 64-20-10, probes: [neurons]",
            "probes",
            "measures hidden layer 2, but 64-20-10 has 1",
        ),
        ("epochs: 4, model: 64-10, probes: [dead_units]", "probes", "dead_units measures hidden layer 1"),
        ("epochs: 4, model: 8C3-10D, probes: [hyperplanes]", "probes", "hyperplanes cut the inputs of a dense first"),
        (
            "epochs: 1, batch_size: 200, probes: [gradients]",
            "probes",
            "gradients first measures at step 10, but the run has 5 steps",
        ),
        ("epochs: 4, model: 8C3-10D, preprocessing: pca", "preprocessing", "use zca or a dense net"),
        ("epochs: 4, train_images: 63, batch_size: 9, preprocessing: pca", "preprocessing", "use more, or zca"),
        ("epochs: 4, init_deviation: 0", "init_deviation", "expected a number above 0, got 0"),
        ("epochs: 4, schedule: {kind: step, from_epoch: [5], factor: [0.1]}", "schedule", "a step from epoch 5"),
    ],
)
def test_contradictory_settings_are_refused_with_the_reason(tmp_path: Path, base: str, key: str, reason: str) -> None:
    path = toy(tmp_path, (BASE, f"base: {{{base}}}"))
    message = refusal(path)
    assert reason in message
    assert f"params.yaml:{line_of(path, base)}: studies.S.base.{key}" in message


@pytest.mark.parametrize(
    "base",
    [
        "epochs: 4, patience: 3",
        "epochs: 4, train_images: 64, batch_size: 9, preprocessing: pca",
        "epochs: 4, probes: [gradients, neurons, hyperplanes]",
    ],
)
def test_consistent_settings_are_accepted(tmp_path: Path, base: str) -> None:
    assert resolve(toy(tmp_path, (BASE, f"base: {{{base}}}"))).studies
