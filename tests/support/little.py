"""Small data sets and runs for the tests."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from bnbench.core import yaml_reader
from bnbench.data.prepared import Part, Prepared
from bnbench.params.run_schema import Run
from bnbench.training.pack.pack import Outcome
from bnbench.training.train import start, train

ROOT = Path(__file__).parents[2]


@cache
def digits() -> Prepared:
    """Return the digits with a fixed split: 1,197 to train, 240 to validate, 360 to test."""
    x, y = load_digits(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(y))
    images = np.round(x[order] * 255 / 16).astype(np.uint8).reshape(-1, 1, 8, 8)
    labels = y[order].astype(np.int64)
    parts = [Part(images[a:b], labels[a:b]) for a, b in ((0, 1197), (1197, 1437), (1437, 1797))]
    return Prepared("digits", "0" * 16, 10, (1, 8, 8), parts[0], parts[1], parts[2])


@cache
def _training() -> dict[str, Any]:
    return dict(yaml_reader.read(ROOT / "params.yaml").values["training"])


def defaults() -> dict[str, Any]:
    """Return a copy of the training defaults of params.yaml."""
    return dict(_training())


def run(**settings: Any) -> Run:
    """Return a run with these settings and the defaults of params.yaml for the rest."""
    return Run.model_validate(defaults() | settings)


def trained(runs: list[Run], data: Prepared | None = None) -> list[Outcome]:
    """Train a pack of runs and return their outcomes in the order of the runs."""
    names = [f"{i:016x}" for i in range(len(runs))]
    outcomes: list[Outcome] = []
    train(start(names, runs, data or digits()), lambda _pack: None, outcomes.append)
    return sorted(outcomes, key=lambda outcome: outcome.name)
