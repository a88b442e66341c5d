"""The plan: stored, missing and orphaned runs, and what the workflow requests from Snakemake."""

import json
import time
from pathlib import Path

import pytest

from bnbench.data.identity import fingerprint
from bnbench.params.resolve import resolve
from bnbench.plan.plan import Plan
from bnbench.workflow import Workflow
from tests.support.parameters import toy
from tests.support.plans import AXES, ids, store


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


# --- the run store


def test_stored_missing_and_orphaned_are_told_apart(tmp_path: Path) -> None:
    path = toy(tmp_path)
    names = list(Plan(path, root=tmp_path).runs)
    store(tmp_path, [*names[:3], "f" * 16])
    (tmp_path / "results/runs" / names[4]).mkdir()  # a folder alone is not a finished run
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


# --- targets requested from Snakemake


def test_a_finished_plan_has_no_job_and_an_unfinished_one_a_job_of_its_packs(tmp_path: Path) -> None:
    path = toy(tmp_path)
    flow = Workflow(path, {}, tmp_path)
    (mark,) = flow.trained(None)
    job = json.loads(Path(mark).with_suffix(".json").read_text())
    assert job == json.loads(json.dumps([pack.model_dump(mode="json") for pack in flow.plan.packs]))
    assert Workflow(path, {}, tmp_path).trained(None) == [mark]
    Path(mark).touch()  # of a finished job whose runs were lost afterwards
    assert Workflow(path, {}, tmp_path).trained(None) == [mark]
    assert not Path(mark).exists()
    store(tmp_path, list(flow.plan.runs))
    assert Workflow(path, {}, tmp_path).trained(None) == []
    Path(mark).touch()  # of a job whose runs were never collected
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
    if shapes == 10_000:  # each run has its own shape
        axes += "        slope: [0.1, 0.2]\n"
    rates = ("learning_rate: [0.1, 1]", "learning_rate: [0.1, 1]" if shapes == 25 else "learning_rate: [0.1]")
    path = toy(tmp_path, (AXES, axes), rates)
    start = time.process_time()  # CPU time of this process, independent of the machine's load
    plan = Plan(path, root=tmp_path)
    packs, record = plan.packs, plan.record()
    seconds = time.process_time() - start
    assert len(record.runs) == sum(len(pack.runs) for pack in packs) == 10_000
    assert len(packs) >= shapes
    assert seconds < 3
