"""Memory estimates compared with measured peaks."""

import json
import os
import subprocess
import sys

import pytest

from bnbench.params.dataset_schema import Dataset, Split
from bnbench.plan import memory
from tests.support import little
from tests.support.little import ROOT

PEAK = """
import json, resource, sys
import numpy as np
import torch
from bnbench.data.prepared import Part, Prepared
from bnbench.training.engine.choose import choose
from bnbench.training.train import evaluate, start
from tests.support.little import run
torch.set_num_threads(1)
shape, parts, runs, settings = json.loads(sys.argv[1])
dice = np.random.default_rng(0)
data = [Part(dice.integers(0, 255, (n, *shape), dtype=np.uint8), dice.integers(0, 10, n)) for n in parts]
pack = start([f"{i:016x}" for i in range(runs)], [run(seed=i, **settings) for i in range(runs)],
             Prepared("x", "0" * 16, 10, tuple(shape), *data))
engine = choose(pack)
for _ in range(2):
    engine.step(pack)
evaluate(engine, pack, "valid")
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
    assert memory.peak(packed, dataset) == pytest.approx(float(done.stdout), rel=0.25)
