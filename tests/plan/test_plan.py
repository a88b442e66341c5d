"""The plan: what a run's id depends on, how runs are packed, what is stored, missing or orphaned."""

import hashlib
import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

from bnbench.core.files import digest, write_json
from bnbench.data.identity import fingerprint
from bnbench.params.resolve import resolve
from bnbench.params.run_schema import Run
from bnbench.plan import cost, identity
from bnbench.plan.identity import StageIds, run_id
from bnbench.plan.overview import gpu_hours
from bnbench.plan.packs import OF_A_RUN, PackRecord, split
from bnbench.plan.plan import Plan
from bnbench.workflow import Workflow
from tests.support.little import run
from tests.support.parameters import toy

AXES = "        seed: [0, 1]\n"
# another value of each setting than training's default
OTHERS: dict[str, Any] = {
    "dataset": "other", "train_images": 500, "augmentation": "other",
    "preprocessing": "zscore", "model": "64-10", "norm": "none",
    "order": "post", "norm_epsilon": 0.5, "norm_keep": 0.5, "activation": "tanh", "slope": 0.5, "init": "glorot",
    "dropout": 0.5, "loss": "sum", "optimizer": "adam", "learning_rate": 0.5, "momentum": 0.5, "beta1": 0.5,
    "beta2": 0.5, "adam_epsilon": 0.5, "weight_decay": 0.5, "schedule": {"kind": "plateau", "factor": 0.5, "window": 2},
    "batch_size": 5, "epochs": 5, "steps": 5, "evaluate_every": 5, "evaluate_test": True, "keep_weights": "best",
    "diverged_above": 5.0, "seed": 5, "norm_dense": False, "norm_gamma": 2.0, "norm_beta": 0.0, "population": "batch",
    "norm_groups": 5, "norm_parts": 5, "renorm_rmax": 5.0, "renorm_dmax": 0.5, "renorm_rmax_ramp": [5, 6],
    "renorm_dmax_ramp": [5, 6], "lrn_size": 3, "lrn_alpha": 0.5, "lrn_beta": 0.5, "lrn_k": 0.5, "backend": "numpy",

    "init_deviation": 0.5, "save_weights": True, "patience": 5, "probes": ["population"], "precision": "fast",
}  # fmt: skip


def ids(folder: Path, *edits: tuple[str, str]) -> list[str]:
    folder.mkdir(exist_ok=True)
    return list(Plan(toy(folder, *edits), root=folder).runs)


def store(folder: Path, names: list[str]) -> None:
    for name in names:
        write_json(folder / "results" / "runs" / name / "run.json", {})


# --- run ids


def test_a_run_id_is_a_hash_of_settings_data_and_version() -> None:
    one = run()
    parts = [one.model_dump(), "data", identity.TRAINER_VERSION]
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    assert run_id(one, "data") == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_a_hash_is_of_these_bytes_whatever_the_versions_of_libraries() -> None:
    text = '[{"a":[1e-05,1e-20,1e+22,0.1,1000.0,5,null,true],"b":"\u00e9"}]'
    value = {"b": "\u00e9", "a": [1e-5, 1e-20, 1e22, 0.1, 1e3, 5, None, True]}
    assert digest(value) == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_each_setting_is_part_of_the_run_id() -> None:
    settings = list(Run.model_fields)
    assert set(settings) <= set(OTHERS), "name another value of the new setting"
    changed = {name: run_id(run(**{name: OTHERS[name]}), "data") for name in settings}
    assert len({run_id(run(), "data"), *changed.values()}) == 1 + len(settings)


def test_the_data_and_the_trainers_version_are_part_of_the_run_id(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {run_id(run(), "data"), run_id(run(), "other")}
    monkeypatch.setattr(identity, "TRAINER_VERSION", identity.TRAINER_VERSION + 1)
    assert len(seen | {run_id(run(), "data")}) == 3


@pytest.mark.parametrize(
    ("edit", "same"),
    [
        (("valid: 240", "valid: 241"), False),
        (("seed: 0}", "seed: 1}"), False),
        (("split: {valid: 240, test: 360", "split: {valid: 240, test: 361"), False),
        (("title: Digits", "title: Numerals"), True),
        (("licence: free", "licence: CC0"), True),
        (("    classes: 10", "    mirrors: [/mirror]\n    classes: 10"), True),
        (("title: A study", "title: Another"), True),
        (("question: Does it?", "question: Is it so?"), True),
        (("title: A figure", "title: Another"), True),
        (("work: E", "work: B"), True),
        (("about: toy", "about: little"), True),
        (("studies:\n", "# a comment\nstudies:\n"), True),
        (("    base: {epochs: 4}\n", "    base: {epochs: 4, slope: 0.01}\n"), True),
    ],
)
def test_run_ids_follow_the_data_and_no_words_or_places(tmp_path: Path, edit: tuple[str, str], same: bool) -> None:
    before, after = ids(tmp_path), ids(tmp_path, edit)
    assert (before == after) if same else not set(before) & set(after)


def test_run_ids_do_not_hang_on_the_folder_the_tier_or_other_studies(tmp_path: Path) -> None:
    first = ids(tmp_path / "a")
    assert ids(tmp_path / "b") == first
    assert ids(tmp_path / "c", ("studies:\n  S:\n", "studies:\n  Renamed:\n")) == first
    small = ("  small: {about: larger, base: {epochs: 5}}", "  small: {about: same}")
    other = Plan(toy(tmp_path, small), "small", tmp_path)
    assert list(other.runs) == first


def test_a_run_of_two_studies_is_one(tmp_path: Path) -> None:
    text = toy(tmp_path).read_text()
    study = text[text.index("\n  S:\n") + 1 :]
    twin = study.replace("  S:", "  T:", 1).replace("seed: [0, 1]", "seed: [1, 2]")
    (tmp_path / "params.yaml").write_text(text + twin)
    plan = Plan(tmp_path / "params.yaml", root=tmp_path)
    assert [len(plan.studies[name]) for name in "ST"] == [8, 8]
    assert len(plan.runs) == len(plan.missing) == sum(len(pack.runs) for pack in plan.packs) == 12
    shared = set(plan.studies["S"]) & set(plan.studies["T"])
    assert {plan.runs[name].seed for name in shared} == {1}
    assert set(plan.record().runs) == set(plan.runs)


# --- packs


def many(folder: Path, seed: int = 0) -> Plan:
    """A plan of 2 x 3 x 2 shapes of 3 x 7 runs, its axes in an order drawn from `seed`."""
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
        (1, 20, [(1, 7), (1, 6), (1, 7)]),  # as equal as can be
        (3, 5, [(1, 5), (1, 5), (1, 5)]),  # half a pack and more: a seed's runs by themselves
        (5, 3, [(3, 8), (3, 7)]),  # fewer: seeds together
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
    none.memory = 1  # less than any process takes: run by run
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


# --- the run store


def test_stored_missing_and_orphaned_are_told_apart(tmp_path: Path) -> None:
    path = toy(tmp_path)
    names = list(Plan(path, root=tmp_path).runs)
    store(tmp_path, [*names[:3], "f" * 16])
    (tmp_path / "results/runs" / names[4]).mkdir()  # a folder alone is no finished run
    plan = Plan(path, root=tmp_path)
    assert plan.stored == {*names[:3], "f" * 16}
    assert list(plan.missing) == names[3:]
    assert plan.others == {"f" * 16}


def test_a_value_taken_out_leaves_orphans_and_one_put_in_is_missing_alone(tmp_path: Path) -> None:
    store(tmp_path, ids(tmp_path))
    fewer = Plan(toy(tmp_path, (AXES, "        seed: [1]\n")), root=tmp_path)
    assert (len(fewer.runs), len(fewer.missing), len(fewer.others)) == (4, 0, 4)
    assert fewer.packs == []
    more = Plan(toy(tmp_path, (AXES, "        seed: [0, 1, 2]\n")), root=tmp_path)
    assert {one.seed for one in more.missing.values()} == {2}
    assert (len(more.missing), len(more.others)) == (4, 0)
    back = Plan(toy(tmp_path), root=tmp_path)
    assert (len(back.missing), len(back.others)) == (0, 0)


# --- identities of what is made from runs


def identities(folder: Path, *edits: tuple[str, str]) -> StageIds:
    plan = Plan(toy(folder, *edits), root=folder)
    return plan.ids


@pytest.mark.parametrize(
    ("edit", "changed"),
    [
        ((AXES, "        seed: [0, 1, 2]\n"), "tables figures report"),
        (("    base: {epochs: 4}", "    base: {epochs: 3}"), "tables figures report"),
        (("valid: 240", "valid: 241"), "tables figures report"),
        (("work: E", "work: B"), "tables figures report"),
        (("  S:\n", "  T:\n"), "tables figures report"),
        (("title: A figure", "title: Another"), "figures report"),
        (("y: test_accuracy", "y: test_loss"), "figures report"),
        (("        hue: norm\n", ""), "figures report"),
        (("title: A study", "title: Another"), "report"),
        (("question: Does it?", "question: Is it so?"), "report"),
        (("about: toy", "about: little"), "report"),
        (("licence: free", "licence: CC0"), "report"),
        (("title: Digits", "title: Numerals"), "figures report"),
        (("studies:\n", "# a comment\nstudies:\n"), ""),
        (("    classes: 10", "    mirrors: [/mirror]\n    classes: 10"), ""),
        (("base: {epochs: 5}", "base: {epochs: 6}"), ""),
    ],
)
def test_only_what_shows_a_change_gets_another_identity(tmp_path: Path, edit: tuple[str, str], changed: str) -> None:
    before, after = identities(tmp_path), identities(tmp_path, edit)
    names = ("tables", "figures", "report")
    assert [name for name, a, b in zip(names, before, after, strict=True) if a != b] == changed.split()


def test_identities_do_not_hang_on_what_is_stored(tmp_path: Path) -> None:
    before = identities(tmp_path)
    store(tmp_path, ids(tmp_path)[:3])
    assert identities(tmp_path) == before


# --- what Snakemake asks for


def test_a_finished_plan_has_no_job_and_an_unfinished_one_a_job_of_its_packs(tmp_path: Path) -> None:
    path = toy(tmp_path)
    flow = Workflow(path, {}, tmp_path)
    (mark,) = flow.trained(None)
    job = json.loads(Path(mark).with_suffix(".json").read_text())
    assert job == json.loads(json.dumps([pack.model_dump(mode="json") for pack in flow.plan.packs]))
    assert Workflow(path, {}, tmp_path).trained(None) == [mark]
    Path(mark).touch()  # of a job that ran, but whose runs were lost since
    assert Workflow(path, {}, tmp_path).trained(None) == [mark]
    assert not Path(mark).exists()
    store(tmp_path, list(flow.plan.runs))
    assert Workflow(path, {}, tmp_path).trained(None) == []
    Path(mark).touch()  # of a job that was never collected
    assert Workflow(path, {}, tmp_path).trained(None) == [mark]
    assert Path(mark).exists()


def test_the_plans_file_is_named_by_its_content(tmp_path: Path) -> None:
    first = Workflow(toy(tmp_path), {}, tmp_path).record(None)
    assert Workflow(toy(tmp_path), {}, tmp_path).record(None) == first
    assert Workflow(toy(tmp_path, ("title: A study", "title: B")), {}, tmp_path).record(None) != first
    content = json.loads(Path(first).read_text())
    assert sorted(content["studies"]["S"]["runs"]) == list(content["runs"])


def test_prepared_folders_carry_the_datas_fingerprint(tmp_path: Path) -> None:
    path = toy(tmp_path)
    key = fingerprint(resolve(path).datasets["digits"])
    assert Workflow(path, {}, tmp_path).prepared == [f"data/prepared/digits-{key}"]
    assert Workflow(path, {"tier": "small"}, tmp_path).plan.resolved.tier == "small"


# --- size


@pytest.mark.parametrize("shapes", [25, 10_000])
def test_ten_thousand_runs_are_planned_in_seconds(tmp_path: Path, shapes: int) -> None:
    sizes, seeds = ([4, 8, 16, 32, 64], 100) if shapes == 25 else (list(range(4, 504)), 1)
    epochs = range(1, 10_000 // (4 * len(sizes) * seeds) + 1)
    axes = f"        seed: {list(range(seeds))}\n        batch_size: {sizes}\n        epochs: {list(epochs)}\n"
    if shapes == 10_000:  # each run of a shape of its own
        axes += "        slope: [0.1, 0.2]\n"
    rates = ("learning_rate: [0.1, 1]", "learning_rate: [0.1, 1]" if shapes == 25 else "learning_rate: [0.1]")
    path = toy(tmp_path, (AXES, axes), rates)
    begun = time.process_time()  # of this process: others do not count
    plan = Plan(path, root=tmp_path)
    packs, record = plan.packs, plan.record()
    seconds = time.process_time() - begun
    assert len(record.runs) == sum(len(pack.runs) for pack in packs) == 10_000
    assert len(packs) >= shapes
    assert seconds < 3


def test_packs_trained_on_a_gpu_correct_the_hours_there(tmp_path: Path) -> None:
    plan = Plan(toy(tmp_path), root=tmp_path)
    guessed = gpu_hours(plan)
    for pack in plan.packs:
        assert guessed[pack.id] == pytest.approx(
            cost.seconds(list(pack.runs.values()), plan.resolved.datasets["digits"], 1, cost.GPU_RATE) / 3600
        )
    (tmp_path / "results" / "timings").mkdir(parents=True)
    record = {"runs": [], "cpu": "another", "device": "cuda", "seconds": 3.0, "estimated": 10.0}
    (tmp_path / "results" / "timings" / "pack.json").write_text(json.dumps(record))
    assert gpu_hours(plan) == {pack.id: pytest.approx(0.3 * pack.seconds / 3600) for pack in plan.packs}
