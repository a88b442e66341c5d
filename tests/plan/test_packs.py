"""Packs: each missing run once, one shape per pack, bounded by width and memory."""

import json
import random
from pathlib import Path

import pytest

from bnbench.plan import cost
from bnbench.plan.packs import OF_A_RUN, PackRecord, split
from bnbench.plan.plan import Plan
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
        assert 1 <= len(pack.runs) <= cost.width(some, plan.resolved.datasets[some.dataset])
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
    parts = split(runs, 8)
    assert sorted(name for part in parts for name in part) == sorted(runs)
    assert [(len({one.seed for one in part.values()}), len(part)) for part in parts] == sizes


def test_packs_are_wide_where_calls_take_long_and_narrow_where_arithmetic_does(tmp_path: Path) -> None:
    digits = many(tmp_path).resolved.datasets["digits"]
    mnist = digits.model_copy(update={"shape": (1, 28, 28)})
    small = cost.width(run(model="64-100-10", batch_size=8), digits)
    dense = cost.width(run(model="784-100-100-10", batch_size=60), mnist)
    conv = cost.width(run(model="32C5-P2-64C7-P2-10D", batch_size=100), mnist)
    assert cost.WIDEST == small >= dense >= cost.NARROWEST > conv == 1


def test_a_gpus_packs_are_as_wide_as_its_arithmetic_allows_and_its_memory(tmp_path: Path) -> None:
    digits = many(tmp_path).resolved.datasets["digits"]
    images = digits.model_copy(update={"shape": (3, 32, 32), "images": 20_000})
    net = "64K-4C3B-256D-Dropout0.5-10D"
    widths = [cost.width(run(model=net, batch_size=size), images, "cuda") for size in (2, 16, 128)]
    assert cost.GPU_WIDEST >= widths[0] > widths[1] > widths[2] >= 1
    assert cost.width(run(model="64-100-10", batch_size=8), digits, "cuda") == cost.GPU_WIDEST
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
    tight.memory = (widest + cost.PROCESS_MIB) / 2
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
