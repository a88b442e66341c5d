"""Cost estimates: arithmetic against counts by hand, memory against measured peaks."""

import json
import os
import subprocess
import sys

import pytest

from bnbench.params.dataset_schema import Dataset, Split
from bnbench.params.resolve import resolve
from bnbench.params.run_schema import Run
from bnbench.plan import cost
from tests.support import little
from tests.support.little import ROOT
from tests.support.parameters import PARAMS


@pytest.fixture(scope="module")
def run() -> Run:
    return resolve(PARAMS).studies[0].runs[0].model_copy(update={"model": "64-100-10", "batch_size": 10, "epochs": 3})


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return resolve(PARAMS).datasets["digits"]


def test_a_dense_net_multiplies_and_adds_once_a_weight() -> None:
    assert cost.flops("64-100-10", (1, 8, 8)) == 2 * (64 * 100 + 100 * 10)


def test_a_conv_net_by_hand() -> None:
    first = 2 * (5 * 5 * 3) * 8 * (9 * 9)  # 8 kernels over 3 channels at each of 9 x 9 positions
    second = 2 * (3 * 3 * 8) * 16 * (4 * 4)  # 9 x 9 pooled is 4 x 4
    dense = 2 * (16 * 2 * 2) * 10
    assert cost.flops("8C5-P2-16C3-P2-Dropout0.5-10D", (3, 9, 9)) == first + second + dense


def test_the_published_net_of_blocks_takes_0_759_gflop_an_image() -> None:
    assert cost.flops("64K-4C3B-10D", (3, 32, 32)) / 1e9 == pytest.approx(0.759, abs=0.001)


def test_steps_are_full_batches(run: Run, digits: Dataset) -> None:
    assert digits.train_images == 1797 - 240 - 360
    assert cost.steps(run, digits) == 119 * 3  # 1197 images: the last 7 do not fill a batch
    assert cost.steps(run.model_copy(update={"train_images": 105}), digits) == 10 * 3


def test_estimates_grow_with_runs_and_epochs(run: Run, digits: Dataset) -> None:
    one = cost.seconds([run], digits)
    assert 0 < one < cost.seconds([run] * 2, digits) < 2 * one
    assert cost.seconds([run.model_copy(update={"epochs": 6})], digits) == pytest.approx(2 * one)


def test_the_rate_of_this_machine_is_measured_once() -> None:
    assert 1e8 < cost.rate() == cost.rate()


PEAK = """
import json, resource, sys
import numpy as np
import torch
from bnbench.data.prepared import Part, Prepared
from bnbench.training.engine.choose import choose
from bnbench.training.engine.step import train_step
from bnbench.training.train import evaluate, start
from tests.support.little import run
torch.set_num_threads(1)
shape, parts, runs, settings = json.loads(sys.argv[1])
dice = np.random.default_rng(0)
data = [Part(dice.integers(0, 255, (n, *shape), dtype=np.uint8), dice.integers(0, 10, n)) for n in parts]
pack = start([f"{i:016x}" for i in range(runs)], [run(seed=i, **settings) for i in range(runs)],
             Prepared("x", "0" * 16, 10, tuple(shape), *data))
pack.bind()
for _ in range(2):
    train_step(pack)
evaluate(choose(pack), pack, "valid")
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # on Linux at least that of the process that started it
status = open("/proc/self/status").read().split() if sys.platform == "linux" else ["VmHWM:", peak]
print(int(status[status.index("VmHWM:") + 1]) / 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "train", "runs", "settings"),
    [
        ((1, 8, 8), 1200, 16, {"model": "64-100-100-10"}),
        ((1, 28, 28), 50000, 16, {"model": "784-100-100-10"}),
        ((1, 28, 28), 10000, 16, {"model": "32C5-P2-64C7-P2-10D"}),
        ((1, 28, 28), 10000, 8, {"model": "784-1000-1000-10", "optimizer": "adam", "keep_weights": "best"}),
    ],
)
def test_memory_is_estimated_to_a_quarter(
    shape: tuple[int, int, int], train: int, runs: int, settings: dict[str, str]
) -> None:
    part = train // 5
    arguments = json.dumps([shape, [train, part, part], runs, settings])
    path = os.pathsep.join([str(ROOT), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", PEAK, arguments],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    split = Split(valid=part, test=part, seed=0)
    about = {"title": "x", "format": "idx", "licence": "x", "classes": 10, "images": train + 2 * part}
    dataset = Dataset.model_validate({**about, "shape": shape, "split": split})
    packed = [little.run(seed=seed, **settings) for seed in range(runs)]
    assert cost.memory(packed, dataset) == pytest.approx(float(done.stdout), rel=0.25)
