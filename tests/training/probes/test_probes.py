"""Probes in general: off by default, the same in a pack as alone and after a resume, retained when a run diverges."""

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pyarrow.parquet as pq
import pytest

from bnbench.core.errors import UserError
from bnbench.params.run_schema import ProbeName, Run
from bnbench.plan.identity import TRAINER_VERSION, run_id
from bnbench.plan.record import PlanRecord
from bnbench.tables import collect
from bnbench.tables.files import read, read_csv
from bnbench.training import checkpoints, run_writer
from bnbench.training.pack.pack import Outcome, Pack
from bnbench.training.probes import PROBES
from bnbench.training.train import start, train
from tests.support.little import digits, run, trained
from tests.support.store import as_record, make_plan

pytestmark = pytest.mark.usefixtures("step_by_step")

DENSE = [*get_args(ProbeName)]
CONV = [name for name in DENSE if name != "hyperplanes"]
SMALL = {"train_images": 600, "batch_size": 60, "epochs": 2, "dropout": 0.2}
SHAPES: list[dict[str, Any]] = [
    {"model": "64-33-7-10", "norm": "none", "activation": "relu", "probes": DENSE},
    {"model": "64-33-7-10", "norm": "batch", "activation": "sigmoid", "optimizer": "adam", "probes": DENSE},
    {
        "model": "3C3-P2-5C3-13D-10D",
        "norm": "batch",
        "order": "post",
        "probes": CONV,
        "keep_weights": "best",
        "epochs": 1,
    },
    {"model": "64-16-8-10", "norm": "renorm", "population": "last_epoch", "renorm_rmax_ramp": [0, 1], "probes": DENSE},
    {"model": "64-16-8-10", "norm": "center", "population": "batch", "probes": DENSE},
    {"model": "64-16-8-10", "norm": "group", "probes": DENSE},
]


def _name(settings: dict[str, Any]) -> str:
    return f"{settings['model']} {settings['norm']}"


def _grid(settings: dict[str, Any]) -> list[Run]:
    return [run(**SMALL | settings, seed=seed, learning_rate=rate) for seed in range(2) for rate in (0.01, 0.3)]


def _bits(outcome: Outcome) -> str:
    return repr((outcome.result, outcome.history, [tuple(row) for row in outcome.probed]))


def test_every_name_of_the_schema_has_its_probe_and_every_probe_its_name() -> None:
    assert set(DENSE) == set(PROBES)


@pytest.mark.parametrize("settings", SHAPES, ids=_name)
def test_probes_see_the_same_in_a_pack_as_alone_bit_for_bit(settings: dict[str, Any]) -> None:
    runs = _grid(settings)
    packed = trained(runs)
    assert {row[0] for row in packed[0].probed} >= set(settings["probes"]) - {"drift"}
    assert [_bits(outcome) for outcome in packed] == [_bits(trained([one])[0]) for one in runs]


@pytest.mark.parametrize("settings", SHAPES, ids=_name)
def test_looking_changes_nothing_of_what_is_seen(settings: dict[str, Any]) -> None:
    runs = _grid(settings)
    blind = trained([one.model_copy(update={"probes": []}) for one in runs])
    for outcome, other in zip(trained(runs), blind, strict=True):
        assert (outcome.result, outcome.history) == (other.result, other.history)
        assert other.probed == []


def _stopped(runs: list[Run], step: int) -> Pack:
    pack = start([f"{i:016x}" for i in range(len(runs))], runs, digits())

    def stop(pack: Pack) -> None:
        if pack.step == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(pack, stop, lambda _outcome: None)
    return pack


@pytest.mark.parametrize("step", [3, 10, 14])
def test_a_resumed_run_stores_the_same_probes_byte_for_byte(tmp_path: Path, step: int) -> None:
    runs = _grid(SHAPES[1])[:2]
    for outcome in trained(runs):
        run_writer.write(tmp_path / "whole", outcome, "data")
    pack = _stopped(runs, step)
    checkpoints.save(tmp_path / "checkpoints", pack)
    for name, one in zip(pack.names, runs, strict=True):
        state = checkpoints.load(tmp_path / "checkpoints", name)
        assert state is not None
        alone = start([name], [one], digits())
        checkpoints.restore(alone, [state])
        train(alone, lambda _pack: None, lambda outcome: run_writer.write(tmp_path / "resumed", outcome, "data"))
    for path in (tmp_path / "whole").glob("*/*"):
        assert path.read_bytes() == (tmp_path / "resumed" / path.relative_to(tmp_path / "whole")).read_bytes()
    assert len(list((tmp_path / "resumed").glob("*/probes.parquet"))) == 2


def test_a_run_that_diverges_keeps_what_its_probes_saw_before(tmp_path: Path) -> None:
    calm = run(**SMALL, model="64-32-10", norm="none", probes=["hyperplanes", "smoothness"])
    wild = calm.model_copy(update={"learning_rate": 1e30})
    outcomes = trained([calm, wild])
    assert _bits(outcomes[0]) == _bits(trained([calm])[0])
    assert outcomes[1].result["status"] == "diverged"
    assert {row[0] for row in outcomes[1].probed} == {"hyperplanes", "smoothness"}
    for outcome in outcomes:
        run_writer.write(tmp_path, outcome, "data")
    table = pq.read_table(tmp_path / outcomes[1].name / "probes.parquet")
    assert len(table) == len(outcomes[1].probed)
    assert table["value"].null_count > 0  # values that were not finite


def test_a_run_without_probes_has_no_file_of_them(tmp_path: Path) -> None:
    (outcome,) = trained([run(model="64-10", epochs=1)])
    run_writer.write(tmp_path, outcome, "data")
    assert sorted(path.name for path in (tmp_path / outcome.name).iterdir()) == ["history.json", "run.json"]


def _collected(folder: Path, runs: list[Run]) -> tuple[PlanRecord, list[Outcome]]:
    """Write a store with these runs, each trained alone; return the plan that requests them, and their outcomes."""
    outcomes = [replace(trained([one])[0], name=run_id(one, "data")) for one in runs]
    for outcome in outcomes:
        run_writer.write(folder / "runs", outcome, "data")
    study = make_plan()["studies"]["A1"] | {"runs": [outcome.name for outcome in outcomes]}
    runs_by_id = {outcome.name: {"config": outcome.run.model_dump(), "data": "data"} for outcome in outcomes}
    plan = make_plan() | {"trainer_version": TRAINER_VERSION, "studies": {"S": study}, "runs": runs_by_id}
    return as_record(plan), outcomes


def test_the_table_of_probes_has_each_number_once_under_its_run(tmp_path: Path) -> None:
    runs = [run(**SMALL, model="64-12-9-10", probes=names) for names in ([], ["neurons", "dead_units"])]
    plan, outcomes = _collected(tmp_path, runs)
    collect.collect(plan, tmp_path / "runs", tmp_path / "tables")
    table = read(tmp_path / "tables", "probes")
    assert set(table["run_id"]) == {outcomes[1].name}
    assert len(table) == len(outcomes[1].probed) == 2 * 5 + 2 * 2  # units at evaluations; quantities of layers
    neurons = table[(table["probe"] == "neurons") & (table["step"] == 10)]
    assert neurons["value"].tolist() == [row[-1] for row in outcomes[1].probed if row[0] == "neurons"][:5]
    again = read_csv(tmp_path / "tables" / "probes.csv")
    assert again["value"].tolist() == pytest.approx(table["value"].tolist())
    assert set(read(tmp_path / "tables", "runs")["probes"]) == {"none", "neurons dead_units"}


def test_a_run_whose_probes_are_gone_is_named(tmp_path: Path) -> None:
    plan, outcomes = _collected(tmp_path, [run(**SMALL, model="64-12-9-10", probes=["dead_units"])])
    (tmp_path / "runs" / outcomes[0].name / "probes.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=rf"run {outcomes[0].name}.*probes.parquet"):
        collect.collect(plan, tmp_path / "runs", tmp_path / "tables")


def test_a_table_of_no_probes_is_empty_and_whole(tmp_path: Path) -> None:
    plan, _ = _collected(tmp_path, [run(**SMALL, model="64-10")])
    collect.collect(plan, tmp_path / "runs", tmp_path / "tables")
    header = "run_id,probe,step,epoch,part,layer,quantity,item,at,value"
    assert (tmp_path / "tables" / "probes.csv").read_text().strip().replace('"', "") == header
