"""Golden losses of small trainings, committed with the trainer version that produced them.

`TRAINER_VERSION` is part of each run id. If these losses change, training computes something else, and results from
before and after must not share an id: raise the version, then rewrite the losses with
`python -m tests.training.test_golden`.
"""

from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from bnbench.core.files import read_json, write_json
from bnbench.params.run_schema import Run
from bnbench.plan.identity import TRAINER_VERSION
from tests.support.little import run, trained

GOLDEN = Path(__file__).with_name("golden.json")
TOLERANCE = 1e-4  # relative: twelve steps in fp32 differ by some 1e-6 between processors
DENSE, CONV = "64-16-12-10", "4C3-P2-8C3-12D-10D"
NORMS = ("none", "batch", "center", "renorm", "ghost", "group", "layer")
SMALL: dict[str, Any] = {"steps": 12, "evaluate_every": 4, "train_images": 240, "batch_size": 12, "norm_groups": 4}
TRAININGS: dict[str, dict[str, Any]] = {
    **{f"dense, {norm}": {"model": DENSE, "norm": norm} for norm in NORMS},
    **{
        f"conv, {norm}": {"model": CONV, "norm": norm, "order": "post"} for norm in ("batch", "group", "local_response")
    },
    **{f"{name}, adam": {"model": DENSE, "activation": name, "optimizer": "adam"} for name in ("prelu", "sigmoid")},
    "dropout, weight decay": {"model": DENSE, "dropout": 0.3, "weight_decay": 0.01, "activation": "leaky_relu"},
    "statistics of the last epoch": {"model": DENSE, "population": "last_epoch", "activation": "tanh"},
    "numpy": {"model": DENSE, "norm": "batch", "backend": "numpy"},
}


def _run(name: str) -> Run:
    return run(**{"norm": "batch", "learning_rate": 0.05, "seed": 1, **SMALL, **TRAININGS[name]})


def _losses(name: str) -> list[float]:
    (outcome,) = trained([_run(name)])
    rows = [[row["train_loss"], row["valid_loss"]] for row in outcome.history]
    return [float(value) for value in chain(*rows) if isinstance(value, float)]


@pytest.mark.parametrize("name", TRAININGS)
def test_training_gives_the_losses_of_its_version(name: str) -> None:
    golden = read_json(GOLDEN)
    assert golden["trainer_version"] == TRAINER_VERSION, "write the losses of the new version: see this file's head"
    changed = f"{name}: training means something else now: raise TRAINER_VERSION (see this file's head)"
    assert _losses(name) == pytest.approx(golden["losses"][name], rel=TOLERANCE), changed


if __name__ == "__main__":
    losses = {name: _losses(name) for name in TRAININGS}
    write_json(GOLDEN, {"trainer_version": TRAINER_VERSION, "losses": losses})
