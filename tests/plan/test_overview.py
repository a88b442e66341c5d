"""The overview of a plan and its estimates."""

import json
from pathlib import Path

import pytest

from bnbench.plan import cost
from bnbench.plan.overview import gpu_hours
from bnbench.plan.plan import Plan
from tests.support.parameters import toy


def test_packs_trained_on_a_gpu_correct_the_hours_there(tmp_path: Path) -> None:
    plan = Plan(toy(tmp_path), root=tmp_path)
    guessed = gpu_hours(plan)
    for pack in plan.packs:
        assert guessed[pack.id] == pytest.approx(
            cost.gpu_seconds(list(pack.runs.values()), plan.resolved.datasets["digits"]) / 3600
        )
    (tmp_path / "results" / "timings").mkdir(parents=True)
    record = {"runs": [], "cpu": "another", "device": "cuda", "seconds": 3.0, "estimated": 10.0}
    (tmp_path / "results" / "timings" / "pack.json").write_text(json.dumps(record))
    assert gpu_hours(plan) == {pack.id: pytest.approx(0.3 * pack.seconds / 3600) for pack in plan.packs}
