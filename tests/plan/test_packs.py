"""Packs: each missing run once, one shape per pack, bounded by width and memory."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnbench.plan import cost, rates
from bnbench.plan.packs import IDLE, OF_A_RUN, PackRecord, Width, divided, split
from bnbench.plan.plan import Plan
from bnbench.plan.rates import Rates
from tests.support.little import run
from tests.support.parameters import toy
from tests.support.plans import store


def many(folder: Path, seed: int = 0) -> Plan:
    """Return a plan of 2 x 3 x 2 shapes of 3 x 7 runs, its axes in an order drawn from `seed`."""
    axes = {
        "norm": "[none, batch]",
        "batch_size": "[8, 32, 128]",
        "model": "[64-10, 64-50-10]",
        "learning_rate": "[0.1, 0.2, 1]",
        "seed": "[0, 1, 2, 3, 4, 5, 6]",
    }
    names = random.Random(seed).sample(list(axes), len(axes))
    old = "        norm: [none, batch]\n        learning_rate: [0.1, 1]\n        seed: [0, 1]\n"
    return Plan(toy(folder, (old, "".join(f"        {name}: {axes[name]}\n" for name in names))), root=folder)


def test_packs_hold_each_missing_run_once(tmp_path: Path) -> None:
    plan = many(tmp_path)
    store(tmp_path, list(plan.runs)[::5])
    packed = [name for pack in many(tmp_path).packs for name in pack.runs]
    assert sorted(packed) == sorted(set(plan.runs) - set(list(plan.runs)[::5]))


def test_a_pack_has_one_shape_and_a_bounded_width(tmp_path: Path) -> None:
    plan = many(tmp_path)
    for pack in plan.packs:
        shapes = {json.dumps(one.model_dump(exclude=OF_A_RUN)) for one in pack.runs.values()}
        assert len(shapes) == 1
        some = next(iter(pack.runs.values()))
        assert 1 <= len(pack.runs) <= cost.width(some, plan.resolved.datasets[some.dataset]).runs
        assert pack.data.startswith("data/prepared/digits-")


@pytest.mark.parametrize(
    ("seeds", "rates", "sizes"),
    [
        (1, 20, [(1, 7), (1, 6), (1, 7)]),  # as equal as possible
        (3, 5, [(1, 5), (1, 5), (1, 5)]),  # at least half a pack: one seed's runs per pack
        (5, 3, [(3, 8), (3, 7)]),  # fewer: several seeds together
    ],
)
def test_runs_of_a_seed_share_a_pack_where_they_fill_half_of_it(
    seeds: int, rates: int, sizes: list[tuple[int, int]]
) -> None:
    runs = {f"{s} {r}": run(seed=s, learning_rate=0.1 + r) for r in range(rates) for s in range(seeds)}
    parts = split(runs, Width(8))
    assert sorted(name for part in parts for name in part) == sorted(runs)
    assert [(len({one.seed for one in part.values()}), len(part)) for part in parts] == sizes
    for part in split(runs, Width(8, one_seed=True)):
        assert len({one.seed for one in part.values()}) == 1


def test_packs_are_wide_where_runs_are_short_and_of_one_seed_where_mini_batches_are_large(tmp_path: Path) -> None:
    digits = many(tmp_path).resolved.datasets["digits"]
    images = digits.model_copy(update={"shape": (3, 32, 32), "images": 20_000})
    assert cost.width(run(model="64-100-10", batch_size=8), digits) == (cost.WIDEST, False)
    assert cost.width(run(model="3072-100-10", batch_size=64, epochs=1), images) == (cost.WIDEST, True)
    long = cost.width(run(model="64K-4C3B-10D", batch_size=64, epochs=60), images)
    assert long == (1, True)


def test_widths_do_not_depend_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [pack.id for pack in many(tmp_path).packs]
    slow = Rates(*(1000 * seconds for seconds in rates.NOMINAL))
    monkeypatch.setattr(cost, "here", lambda: slow)
    assert sorted(pack.id for pack in many(tmp_path).packs) == sorted(found)


def test_a_gpus_packs_are_as_wide_as_its_arithmetic_allows_and_its_memory(tmp_path: Path) -> None:
    digits = many(tmp_path).resolved.datasets["digits"]
    images = digits.model_copy(update={"shape": (3, 32, 32), "images": 20_000})
    net = "64K-4C3B-256D-Dropout0.5-10D"
    widths = [cost.width(run(model=net, batch_size=size), images, "cuda").runs for size in (2, 16, 128)]
    assert cost.GPU_WIDEST >= widths[0] > widths[1] > widths[2] >= 1
    assert cost.width(run(model="64-100-10", batch_size=8), digits, "cuda").runs == cost.GPU_WIDEST
    plan = many(tmp_path)
    plan.device, plan.memory = "cuda", 1e6
    shapes = {each.model_dump_json(exclude={"seed", "learning_rate"}) for each in plan.runs.values()}
    assert len(plan.packs) == len(shapes)
    plan = many(tmp_path)
    plan.device, plan.memory = "cuda", 1
    assert len(plan.packs) == len(plan.runs)


def test_a_pack_that_would_not_fit_a_workers_memory_is_split(tmp_path: Path) -> None:
    plan = many(tmp_path)
    widest = max(pack.memory for pack in plan.packs)
    tight = many(tmp_path)
    tight.memory = (widest + plan.least) / 2
    assert len(tight.packs) > len(plan.packs)
    assert max(pack.memory for pack in tight.packs) <= tight.memory
    assert sorted(name for pack in tight.packs for name in pack.runs) == sorted(plan.runs)
    none = many(tmp_path)
    none.memory = 1  # below the memory of any process: one run per pack
    assert {len(pack.runs) for pack in none.packs} == {1}


def test_the_longest_pack_comes_first(tmp_path: Path) -> None:
    packs = many(tmp_path).packs
    seconds = [pack.seconds for pack in packs]
    assert seconds == sorted(seconds, reverse=True)
    assert min(seconds) > 0
    first, last = (next(iter(pack.runs.values())) for pack in (packs[0], packs[-1]))
    assert (first.batch_size, first.model) == (8, "64-50-10")
    assert (last.batch_size, last.model) == (128, "64-10")


def test_packs_are_the_same_again_and_whatever_the_order_of_the_axes(tmp_path: Path) -> None:
    first = many(tmp_path).packs
    assert many(tmp_path).packs == first
    for seed in (1, 2, 3):
        assert {pack.id for pack in many(tmp_path, seed).packs} == {pack.id for pack in first}


def test_a_pack_id_is_of_its_runs_alone() -> None:
    runs = {name: run(seed=i) for i, name in enumerate(("a", "b", "c"))}
    shuffled = {name: runs[name] for name in ("c", "a", "b")}
    assert PackRecord.of(runs, "here", 1.0).id == PackRecord.of(shuffled, "there", 2.0).id
    assert PackRecord.of(runs, "here", 1.0).id != PackRecord.of({"a": run()}, "here", 1.0).id


def packed(*shapes: tuple[int, float]) -> list[PackRecord]:
    """Return a pack for each number of runs and seconds of one of them."""
    names = [[f"{i:08x}{j:08x}" for j in range(count)] for i, (count, _) in enumerate(shapes)]
    return [
        PackRecord.of({name: run(seed=j) for j, name in enumerate(of)}, "data", count * each)
        for of, (count, each) in zip(names, shapes, strict=True)
    ]


SECONDS = st.one_of(st.sampled_from([1.0, 2.0]), st.floats(0.01, 30))
GRIDS = st.lists(st.tuples(st.integers(1, cost.WIDEST), SECONDS), min_size=1, max_size=12).filter(
    lambda shapes: sum(count for count, _ in shapes) >= 8
)


@settings(max_examples=60, deadline=None)
@given(GRIDS, st.integers(2, 16))
def test_workers_are_busy_to_within_a_tenth_of_the_ideal_or_as_single_runs_allow(
    shapes: list[tuple[int, float]], workers: int
) -> None:
    parts = divided(packed(*shapes), workers)
    singles = [each for count, each in shapes for _ in range(count)]
    ideal = max(sum(singles) / workers, max(singles))
    took = cost.makespan([part.seconds for part in parts], workers)
    assert took <= max((1 + IDLE) * ideal, cost.makespan(singles, workers)) * (1 + 1e-9)


@pytest.mark.parametrize("workers", range(2, 17))
def test_a_grid_of_many_short_runs_keeps_every_worker_busy(workers: int) -> None:
    parts = divided(packed(*[(cost.WIDEST, 0.5)] * 10, *[(cost.WIDEST, 0.3)] * 10, (7, 1.0)), workers)
    seconds = [part.seconds for part in parts]
    assert cost.makespan(seconds, workers) <= (1 + IDLE) * sum(seconds) / workers
    assert len(parts) <= 21 + 4 * workers  # few: guided self-scheduling ends with about so many small parts


@settings(max_examples=60, deadline=None)
@given(GRIDS, st.integers(1, 16))
def test_divided_packs_hold_the_same_runs_and_are_the_same_again(shapes: list[tuple[int, float]], workers: int) -> None:
    packs = packed(*shapes)
    parts = divided(packs, workers)
    assert sorted(name for part in parts for name in part.runs) == sorted(name for pack in packs for name in pack.runs)
    assert sum(part.seconds for part in parts) == pytest.approx(sum(pack.seconds for pack in packs))
    assert [part.id for part in divided(reversed(packs), workers)] == [part.id for part in parts] or len(
        {each for _, each in shapes}
    ) < len(shapes)


def test_one_worker_trains_packs_as_they_are() -> None:
    packs = packed((32, 1.0), (3, 20.0), (8, 0.1))
    assert {pack.id for pack in divided(packs, 1)} == {pack.id for pack in packs}
