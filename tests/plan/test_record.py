"""The plan's file: it is read as it was written; an invalid one is refused with the key at fault."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bnbench.core.errors import UserError
from bnbench.core.files import write_sealed
from bnbench.params.study_schema import Figure
from bnbench.plan.plan import Plan
from bnbench.plan.record import PlanRecord
from tests.support.parameters import toy


def test_a_record_is_read_as_it_was_written_unset_options_unset(tmp_path: Path) -> None:
    plan = Plan(toy(tmp_path), root=tmp_path)
    path = tmp_path / "plan.json"
    plan.record().write(path)
    found = PlanRecord.read(path)
    assert found == plan.record()
    figures = [figure for study in found.studies.values() for figure in study.figures.values()]
    given = [figure for study in plan.resolved.studies for figure in study.study.figures.values()]
    assert all(isinstance(figure, Figure) for figure in figures)
    assert [figure.model_fields_set for figure in figures] == [figure.model_fields_set for figure in given]
    assert {name: run.config for name, run in found.runs.items()} == plan.runs
    assert {name: run.data for name, run in found.runs.items()} == {n: plan.key(run) for n, run in plan.runs.items()}


WRONG: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a key missing": (lambda plan: plan.pop("tables_id"), "tables_id: Field required"),
    "an unknown key": (lambda plan: plan.update(colour="red"), "colour: Extra inputs are not permitted"),
    "a study without title": (lambda plan: plan["studies"]["S"].pop("title"), r"studies\.S\.title: Field required"),
    "a work that is none": (lambda plan: plan["studies"]["S"].update(work=6), r"studies\.S\.work: Input should be"),
    "a run that is none": (lambda plan: plan["studies"]["S"]["runs"].append("f" * 16), "names run f{16}, which is not"),
    "a figure not in order": (lambda plan: plan["studies"]["S"].update(order=[]), "study S orders figures"),
    "a number as text": (
        lambda plan: next(iter(plan["runs"].values()))["config"].update(epochs="4"),
        r"runs\.[0-9a-f]{16}\.config\.epochs: Input should be a valid integer",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_record_of_another_form_is_refused_with_the_key_at_fault(tmp_path: Path, name: str) -> None:
    edit, message = WRONG[name]
    path = tmp_path / "plan.json"
    values = json.loads(json.dumps(Plan(toy(tmp_path), root=tmp_path).record().as_dict()))
    edit(values)
    write_sealed(path, values)
    with pytest.raises(UserError, match=rf"plan\.json: .*{message}.*snakemake rewrites whenever it starts"):
        PlanRecord.read(path)


def test_a_record_cannot_be_changed(tmp_path: Path) -> None:
    record = Plan(toy(tmp_path), root=tmp_path).record()
    with pytest.raises(ValueError, match="frozen"):
        record.tier = "full"
