"""A small plausible plan and a synthetic run store, as training would leave it."""

import itertools
import math
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import numpy as np

from bnbench.core.files import digest, read_json, write_json, write_sealed
from bnbench.core.yaml_reader import read
from bnbench.plan.record import PlanRecord
from bnbench.store.run_record import conclude, identity

BASE: dict[str, Any] = read(Path(__file__).parents[2] / "params.yaml").values["training"]
Config = dict[str, Any]
Axes = dict[str, list[Any]]
PLATEAU = {"kind": "plateau", "factor": 0.9995, "window": 3}
DENSE, CONV = "64-100-100-10", "8C3-P2-16C3-P2-10D"
STUDIES: dict[str, tuple[Config, Axes]] = {
    "A1": (
        {"model": "64-32-10", "optimizer": "adam", "learning_rate": 0.01, "schedule": PLATEAU, "epochs": 20},
        {"norm": ["none", "batch"], "seed": [0, 1, 2, 3, 4]},
    ),
    "E1": (
        {},
        {
            "model": [DENSE, CONV],
            "norm": ["none", "batch"],
            "batch_size": [4, 16, 64],
            "learning_rate": [0.01, 0.1, 1.0],
            "seed": [0, 1, 2, 3, 4],
        },
    ),
}
FIGURES: dict[str, dict[str, dict[str, Any]]] = {
    "A1": {
        "accuracy": {
            "kind": "curves", "title": "Validation accuracy over training", "y": "valid_accuracy",
            "hue": "norm",
        },
        "loss": {"kind": "curves", "title": "Training loss over training", "y": "train_loss", "hue": "norm"},
    },
    "E1": {
        "learning_rate": {
            "kind": "sweep", "title": "Test accuracy against learning rate", "x": "learning_rate",
            "y": "test_accuracy", "hue": "norm", "col": "batch_size", "row": "model",
        },
        "batch_size": {
            "kind": "sweep", "title": "Test accuracy against batch size, at a learning rate of 0.1",
            "x": "batch_size", "y": "test_accuracy", "hue": "norm", "col": "model",
            "where": {"learning_rate": 0.1},
        },
        "curves": {
            "kind": "curves", "title": "Validation accuracy over training, batches of 16, learning rate 1",
            "y": "valid_accuracy", "hue": "norm", "col": "model",
            "where": {"learning_rate": 1, "batch_size": 16},
        },
    },
}  # fmt: skip
TITLES = {
    "A1": ("A small dense net with and without batch norm", "Does batch norm make a dense net learn faster?"),
    "E1": (
        "Learning rate and batch size, with and without batch norm",
        "Does batch norm widen the range of learning rates that work, and does it need large batches?",
    ),
}


def configs(base: Config, axes: Axes) -> list[Config]:
    """Return every combination of the axes, each merged into the base."""
    products = itertools.product(*axes.values())
    return [{**BASE, **base, **dict(zip(axes, values, strict=True))} for values in products]


def make_plan(studies: dict[str, tuple[Config, Axes]] | None = None, **changes: Any) -> dict[str, Any]:
    """Return a plan of `studies` (name -> base, axes); `changes` replace its top-level values."""
    plan: dict[str, Any] = {
        "tier": "quick", "about": "scikit-learn's 8x8 digits; seconds on a laptop", "trainer_version": 1,
        "tables_id": "aa11", "figures_id": "bb22", "report_id": "cc33",
        "datasets": {"digits": {"title": "Digits (8x8)", "licence": "CC BY 4.0 (UCI)", "shape": [1, 8, 8]}},
        "studies": {}, "runs": {}, "augmentations": [],
    }  # fmt: skip
    for name, (base, axes) in (studies or STUDIES).items():
        title, question = TITLES.get(name, (f"Study {name}", "What happens?"))
        runs = {identity(config, "d1", 1): {"config": config, "data": "d1"} for config in configs(base, axes)}
        plan["runs"] |= runs
        plan["studies"][name] = {
            "title": title, "question": question, "work": name[0] if name[0] in "ABCDE" else "E",
            "varies": list(axes), "data": ["digits"],
            "figures": FIGURES.get(name, {}), "order": list(FIGURES.get(name, {})), "published": [], "runs": list(runs),
        }  # fmt: skip
    return plan | changes


def as_record(plan: dict[str, Any]) -> PlanRecord:
    """Return the plan as stages read it, without its file's digest; figures are shown in the order of their keys."""
    studies = {name: study | {"order": list(study["figures"])} for name, study in plan["studies"].items()}
    content = {key: value for key, value in plan.items() if key != "digest"}
    return PlanRecord.model_validate(content | {"studies": studies})


def fill_store(plan: dict[str, Any], store: Path) -> None:
    """Write `run.json` and `history.json` of each run of `plan`, and their provenance beside the store."""
    write_origin(store.parent / "provenance", plan["runs"])
    for run_id, run in plan["runs"].items():
        config = run["config"]
        write_run(store, run_id, config, diverges=config["seed"] < diverging(config))


def write_origin(folder: Path, run_ids: Iterable[str], **changes: Any) -> None:
    """Write the provenance of these runs as one pack; `changes` replace values of the environment."""
    environment = {
        "processor": "Xeon", "device": "cpu", "gpu": None, "threads": 1, "engine": "programs", "instructions": "avx2",
        "arithmetic": 1, "products": "fp32", "comparable": True, "reason": None,
    }  # fmt: skip
    names = sorted(run_ids)
    record = {"runs": names, "git": None, "source": "5" * 16, "libraries": {"torch": "2.13.0", "scikit-learn": "1.7.1"}}
    write_sealed(folder / f"{digest(names)}.json", record | {"environment": environment | changes})


def diverging(config: Config) -> int:
    """Return the number of seeds that diverge: at high rates without norm, more for smaller batches."""
    if config["norm"] != "none" or config["learning_rate"] < 0.5:
        return 0
    return {4: 5, 16: 2, 64: 1 if config["model"] == DENSE else 0}.get(config["batch_size"], 0)


def write_run(store: Path, run_id: str, config: Config, diverges: bool) -> None:
    """Write one run; a diverging one stops after a third of its epochs."""
    dice = random.Random(str([config[name] for name in ("model", "norm", "batch_size", "learning_rate", "seed")]))
    distance = abs(math.log10(config["learning_rate"]) + (0.7 if config["norm"] == "batch" else 1.2))
    top = 0.975 - 0.03 * distance**2 - 0.25 / config["batch_size"] + dice.gauss(0, 0.004)
    top -= 0.01 if config["norm"] == "none" else 0.0
    epochs = max(1, config["epochs"] // 3) if diverges else config["epochs"]
    curve = [0.1 + (top - 0.1) * (1 - math.exp(-0.9 * epoch)) for epoch in range(1, epochs + 1)]
    loss: list[float | None] = [2.3 * math.exp(-5 * value) * 3 for value in curve]
    accuracy: list[float | None] = list(curve)
    if diverges:
        loss[-1] = accuracy[-1] = None
    history: dict[str, Any] = {
        "step": [18 * epoch for epoch in range(1, epochs + 1)],
        "epoch": [float(epoch) for epoch in range(1, epochs + 1)],
        "learning_rate": [config["learning_rate"]] * epochs,
    }
    results: dict[str, float | None] = {}
    for part in ("train", "valid", "test", "official"):
        if part == "official":  # there is none
            results |= {f"{part}_loss": None, f"{part}_accuracy": None}
            continue
        if part != "test":  # by default the test set is evaluated once, at the end
            history |= {f"{part}_loss": loss, f"{part}_accuracy": accuracy}
        results |= {f"{part}_loss": loss[-1], f"{part}_accuracy": accuracy[-1]}
    outcome = {
        "run_id": run_id, "config": config, "data": "d1", "trainer_version": 1,
        "status": "diverged" if diverges else "ok", "steps": 18 * epochs, "epochs": epochs,
        "best_epoch": epochs, "diverged_step": 18 * epochs if diverges else None,
        "last_finite_loss": 12.5 if diverges else None, "parameters": 17610, **results,
        "confusion": None if diverges else {"test": confusion(config["norm"], config["seed"])},
    }  # fmt: skip
    write_json(store / run_id / "history.json", history)
    conclude(store / run_id, outcome)


def confusion(norm: str, seed: int) -> list[list[int]]:
    """Return a confusion matrix of four classes of 10, 20, 30 and 40 images: true class by predicted one."""
    dice = np.random.default_rng([len(norm), seed])
    found = np.stack([dice.multinomial(10 * (i + 1), np.roll([0.7, 0.2, 0.1, 0], i)) for i in range(4)])
    return cast(list[list[int]], found.tolist())


def rewrite(folder: Path, **changes: Any) -> None:
    """Change values of a stored run and renew its digests, so that it stays valid."""
    conclude(folder, read_json(folder / "run.json") | changes)
