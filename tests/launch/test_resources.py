"""Resources that a training job requests from Snakemake on this machine (on a cluster: `cluster/test_jobs.py`)."""

from math import ceil
from pathlib import Path
from types import SimpleNamespace

import pytest

from bnbench.launch.job_files import JobFiles
from bnbench.launch.resources import of_training
from bnbench.plan import cost
from bnbench.plan.plan import Plan
from tests.support.parameters import toy


@pytest.mark.parametrize("cores", [1, 2, 64])
def test_minutes_and_memory_are_those_of_packs_trained_side_by_side(tmp_path: Path, cores: int) -> None:
    plan = Plan(toy(tmp_path), root=tmp_path)
    jobs = JobFiles(plan, None)
    job = SimpleNamespace(job=Path(jobs.marks[0]).stem)
    asked = of_training(jobs, cores)
    largest = sorted(pack.memory for pack in plan.packs)[-cores:]
    assert asked["mem_mb"](job) == ceil(sum(largest))
    assert asked["runtime"](job) == ceil(cost.makespan([pack.seconds for pack in plan.packs], cores) / 60)
