"""The final model of work E on the real CIFAR-10, if the folder BNBENCH_MIRROR has it."""

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bnbench.data.prepare import prepare
from bnbench.data.prepared import PARTS, Part, Prepared
from bnbench.params import resolve
from bnbench.params.architecture import Conv, Dense, check
from bnbench.params.run_schema import Constant, Run
from bnbench.plan import memory
from bnbench.training.nets.network import Network
from tests.support.little import trained
from tests.support.parameters import PARAMS

IMAGES = 32  # a complete epoch takes hours on one core


def final(**changes: Any) -> Run:
    """Return E8's run of seed 0 in the full tier."""
    (study,) = (study for study in resolve.resolve(PARAMS, "full").studies if study.name == "E8")
    return next(run for run in study.runs if run.seed == 0).model_copy(update=changes)


def test_the_final_model_has_twelve_conv_layers_in_three_blocks_and_its_parameters() -> None:
    run = final()
    assert run.model == "256K-4C3B-1024D-Dropout0.5-10D"
    model = check(run.model, (3, 32, 32), 10)
    kernels = [layer.filters for layer in model.layers if isinstance(layer, Conv)]
    assert kernels == [256] * 4 + [512] * 4 + [1024] * 4
    channels = [3, *kernels]
    # batch norm before the activation: no bias, one gamma and one beta per channel
    count = sum(9 * a * b + 2 * b for a, b in zip(channels, kernels, strict=False))
    count += 1024 * 4 * 4 * 1024 + 2 * 1024 + 1024 * 10 + 10
    assert [layer.units for layer in model.layers if isinstance(layer, Dense)] == [1024, 10]
    assert Network(run, (3, 32, 32)).parameters == count
    assert memory.parameters(run.model, (3, 32, 32)) == pytest.approx(count, rel=0.001)


def few(whole: Prepared) -> Prepared:
    """Return the first images of each part of the data."""
    train, valid, test = (
        Part(part.images[:IMAGES], part.labels[:IMAGES]) for part in map(whole.__getattribute__, PARTS)
    )
    return replace(whole, train=train, valid=valid, test=test, official=None)


@pytest.mark.slow
def test_the_final_model_trains_on_real_images_with_finite_loss(tmp_path: Path) -> None:
    raw = Path(os.environ.get("BNBENCH_MIRROR", ""))
    if "BNBENCH_MIRROR" not in os.environ or not (raw / "cifar-10-batches-py").is_dir():
        pytest.skip("BNBENCH_MIRROR names no folder with cifar-10-batches-py/")
    prepare("cifar10", resolve.dataset(PARAMS, "cifar10"), raw, tmp_path / "prepared")
    whole = Prepared.read(tmp_path / "prepared")
    run = final(augmentation="none", epochs=1, schedule=Constant(kind="constant"))
    (outcome,) = trained([run], few(whole))
    assert outcome.result["status"] == "ok"
    assert outcome.result["steps"] == IMAGES // 16
    assert math.isfinite(outcome.result["train_loss"])
    assert math.isfinite(outcome.history[-1]["train_loss"] or math.nan)
    assert sum(map(sum, outcome.result["confusion"]["test"])) == IMAGES
