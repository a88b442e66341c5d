"""Job and record files of the peers. They are plain JSON, so that no peer has to import bnbench.

A run is a dictionary: its settings as in params.yaml, and also `run_id`, `layers` (the model's shorthand, parsed:
[["conv", kernels, size], ["pool", size], ["dense", units], ...]), `shape` (channels, height, width of an image) and
`data`, the folder that `bnbench prepare` filled.
"""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Run = dict[str, Any]
Measured = dict[str, float]
FINAL = ("train", "test")  # parts evaluated at the end of a run; the validation part is evaluated after each epoch
EVALUATED = 1000  # images evaluated at a time


def each(train: Callable[[Run], dict[str, Any]]) -> None:
    """Train the runs of a job one by one and write their records; the command line is `JOB OUT`."""
    for run in json.loads(Path(sys.argv[1]).read_bytes()):
        write(Path(sys.argv[2]), run, train(run))


def write(out: Path, run: Run, result: dict[str, Any]) -> None:
    """Write a run's record: its settings, history and final results."""
    out.mkdir(parents=True, exist_ok=True)
    config = {key: value for key, value in run.items() if key not in ("layers", "shape", "data", "run_id")}
    text = json.dumps({"run_id": run["run_id"], "config": config, **result})
    (out / f"{run['run_id']}.json").write_text(text)


def part(run: Run, name: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return images (N, C, H, W) in 0..1, (N, pixels) for a dense net, and labels; `train` is cut to `train_images`."""
    images, labels = (np.load(Path(run["data"]) / f"{name}_{array}.npy") for array in ("images", "labels"))
    if name == "train" and run["train_images"]:
        images, labels = images[: run["train_images"]], labels[: run["train_images"]]
    if not convolves(run):
        images = images.reshape(len(images), -1)
    return images.astype(np.float32) / np.float32(255), labels


def convolves(run: Run) -> bool:
    """Return whether the first layer is a conv or pooling layer, which takes images."""
    return bool(run["layers"][0][0] != "dense")


def he_std(fan_in: int) -> float:
    """Return the standard deviation of He's Gaussian initial weights."""
    return math.sqrt(2 / fan_in)
