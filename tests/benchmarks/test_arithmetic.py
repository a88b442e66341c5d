"""Arithmetic of the benchmarks: scaling of subsets, ratios and agreement between programs."""

import ctypes
import itertools
import os
import random
from pathlib import Path

import pytest
import torch
from benchmarks.arithmetic import Measured, difference, disagreement, seconds_of_all, spread
from benchmarks.grids import FOLDER, Grid, environment, evenly, key
from benchmarks.peers import multiply
from benchmarks.products import products

from benchmarks import cost as measured
from benchmarks import grids, table
from bnbench.arithmetic import library
from bnbench.arithmetic.build import shared_object
from bnbench.plan import cost
from bnbench.plan.rates import NOMINAL, Rates
from tests.support import little


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grids, "WORK", tmp_path)


def test_a_subset_is_scaled_by_the_number_of_runs() -> None:
    timed = Measured(99.0, {"a": 2.0, "b": 4.0})
    assert seconds_of_all(timed, list("abcdef"), workers=2) == 3.0 * 6 / 2


def test_all_runs_take_what_was_measured() -> None:
    assert seconds_of_all(Measured(3.5, {"a": 2.0, "b": 4.0}), ["a", "b"], workers=2) == 3.5
    assert seconds_of_all(Measured(7.0), ["a", "b"], workers=2) == 7.0


def test_a_row_that_takes_some_runs_is_held_against_those_alone() -> None:
    slow = Measured(10.0, {"a": 1.0, "b": 9.0})
    grid = {"keys": {"base": ["a", "b"], "some": ["a"]}, "rounds": [{"base": slow, "some": Measured(0.25)}]}
    assert table.ratio(grid, "some", "base", workers=2) == [1.0 / 2 / 0.25]


def test_runs_that_were_not_timed_give_no_time() -> None:
    with pytest.raises(ValueError, match="none of these runs"):
        seconds_of_all(Measured(1.0, {"a": 1.0}), ["b", "c"], workers=2)


def test_a_ratio_is_taken_within_a_round() -> None:
    rounds = [{"plain torch": Measured(8.0), "x": Measured(2.0)}, {"plain torch": Measured(3.0), "x": Measured(1.0)}]
    grid = {"title": "g", "keys": {"plain torch": ["a"], "x": ["a"]}, "rounds": rounds}
    assert table.ratio(grid, "x", "plain torch", 2) == [4.0, 3.0]
    assert "| x | 1 of 1 | 1.5 (1.0-2.0) | 3.50 (3.00-4.00) |" in table.markdown({"g": grid}, "cpu", 2)


def test_spread_of_one_round_is_the_value() -> None:
    assert spread([2.0], "{:.1f}") == "2.0"


def test_equal_trainings_agree_and_others_do_not() -> None:
    dice = random.Random(0)
    keys = [str(i) for i in range(60)]
    base = {k: dice.gauss(0.9, 0.02) for k in keys}
    same = {k: v + dice.gauss(0, 0.005) for k, v in base.items()}
    worse = {k: v - 0.005 for k, v in same.items()}
    assert disagreement(base, same) is None
    assert "mean test accuracy over 60 runs differs by" in str(disagreement(base, worse))
    found = difference(base, worse)
    assert found is not None
    assert found[2] == pytest.approx(3 * (2 * 0.005**2 / 2 / 60) ** 0.5, rel=0.2)  # three standard errors


def test_false_alarms_are_rare_for_few_runs_too() -> None:
    dice = random.Random(1)
    alarms = sum(
        disagreement(*({str(i): dice.gauss(0.9, 0.01) for i in range(6)} for _ in range(2))) is not None
        for _ in range(2000)
    )
    assert alarms < 20  # 5.4 are expected; about 60 with a bound of three standard errors over six runs


def test_a_divergence_of_one_program_alone_is_a_disagreement() -> None:
    assert "1 of 2 runs diverged" in str(disagreement({"a": None, "b": 0.9}, {"a": 0.9, "b": 0.9}))
    assert disagreement({"a": None, "b": 0.9}, {"a": None, "b": 0.9}) is None


def test_a_subset_is_even_and_whole_where_there_are_no_more() -> None:
    items = [str(i) for i in range(60)]
    assert evenly(items, 6) == ["5", "15", "25", "35", "45", "55"]
    assert evenly(items, 0) == evenly(items, 60) == evenly(items, 100) == items


def test_precision_makes_no_other_run_to_a_peer() -> None:
    config = little.defaults()
    assert key(config) == key(config | {"precision": "other"})
    assert key(config) != key(config | {"seed": 1})


def test_peers_are_kept_to_the_instruction_set_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BNBENCH_ARITHMETIC", raising=False)
    assert "ATEN_CPU_CAPABILITY" not in environment(own=False).keys() - os.environ.keys()
    assert grids.processor() == cost.cpu()
    monkeypatch.setenv("BNBENCH_ARITHMETIC", "avx2")
    asked = environment(own=False)
    assert asked["ATEN_CPU_CAPABILITY"] == "avx2"
    assert "--xla_cpu_max_isa=AVX2" in asked["XLA_FLAGS"]
    assert grids.processor() == f"{cost.cpu()}, avx2 alone"


def test_the_limits_own_products_are_those_of_the_library_they_are_compared_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(multiply, "LEAST", 1e-4)
    own = ctypes.CDLL(str(shared_object(library.instructions())))
    a, b, c, work = torch.randn(5, 7), torch.randn(7, 3), torch.empty(5, 3), torch.empty(64 * 8)
    multiply.compiled(own, "product", [0, 0, 5, 3, 7, 7, 3, 3], [a, b, c, work])()
    torch.testing.assert_close(c, a @ b)
    for kind, shape in (("dense", [5, 7, 3, 0, 0]), ("conv", [2, 3, 4, 3, 6])):
        assert len(multiply.OWN[kind](own, *shape)) == len(multiply.PRODUCTS)
        assert all(0 < multiply.seconds(work) < 1 for work in multiply.OWN[kind](own, *shape))


def test_each_rate_of_the_cost_model_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "LEAST", 1e-4)
    assert tuple(measured.OPERATIONS) == Rates._fields
    assert all(measure() >= 0 for measure in measured.OPERATIONS.values())


@pytest.mark.parametrize("case", range(len(measured.CASES)))
def test_the_cases_that_estimates_are_compared_on_are_valid_runs(case: int) -> None:
    assert measured.estimate(measured.CASES[case], NOMINAL) > 0


# multiplications of the first layer for one image
FIRST = {"a": 784 * 100, "b": 784 * 392, "c": 32 * 32 * 3 * 9 * 16}


@pytest.mark.parametrize("name", FIRST)
def test_the_limit_counts_the_arithmetic_of_every_run(name: str) -> None:
    grid = Grid.read(name)
    flops = 0.0
    for run in grid.runs.values():
        dataset = grid.plan.resolved.datasets[run.dataset]
        forward, trained = cost.flops(run.model, dataset.shape), cost.steps(run, dataset) * run.batch_size
        assert isinstance(dataset.split.valid, int)
        evaluated = run.epochs * dataset.split.valid + 10_000 + (run.train_images or dataset.train_images)
        flops += (3 * forward - 2 * FIRST[name]) * trained + forward * evaluated
    counted = 0.0
    for _kind, runs, images, inputs, outputs, size, height, times in products(grid):
        counted += 2 * times * runs * images * inputs * outputs * (size * height if size else 1) ** 2
    assert counted == pytest.approx(flops)


def test_every_grid_is_read_and_named() -> None:
    names = sorted(path.stem for path in FOLDER.glob("*.yaml"))
    found = [Grid.read(name) for name in names]
    assert [len(grid.runs) for grid in found[:3]] == [60, 24, 8]
    assert all(a.title != b.title for a, b in itertools.pairwise(found))
