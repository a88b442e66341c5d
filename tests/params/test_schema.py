"""The schema allows exactly the implemented values; the JSON schema for editors matches the program's."""

from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
import torch
from pydantic import BaseModel, TypeAdapter

from bnbench.cli import main, parser
from bnbench.core import yaml_reader
from bnbench.data import formats
from bnbench.data.preprocess import PREPROCESSING
from bnbench.figures import kinds
from bnbench.params.dataset_schema import Dataset
from bnbench.params.fields import Tier
from bnbench.params.messages import EXPECTED
from bnbench.params.run_schema import Run, Schedule
from bnbench.params.study_schema import Figure
from bnbench.store import run_record
from bnbench.tables.column_names import COLUMNS
from bnbench.training.nets.layers import INITS
from bnbench.training.pack import schedules
from bnbench.training.pack.optimizers import OPTIMIZERS
from tests.support.little import ROOT

JSON_SCHEMA = ROOT / "workflow" / "schemas" / "params.schema.json"


def words(annotation: Any) -> Iterator[str]:
    """Yield the literal words that an annotation allows."""
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    elif get_origin(annotation) is Annotated:
        yield from words(get_args(annotation)[0])
    else:
        for argument in get_args(annotation):
            yield from words(argument)


def named(model: type[BaseModel], field: str) -> set[str]:
    found = set(words(model.model_fields[field].annotation))
    assert found, f"{field} has no literal words"
    return found


def implemented_formats() -> Iterator[str]:
    """Return the modules of `data/formats` that have a reader."""
    for module in iter_modules(formats.__path__):
        if hasattr(import_module(f"{formats.__name__}.{module.name}"), "read"):
            yield module.name


TABLES: dict[str, tuple[type[BaseModel], str, Iterable[str]]] = {
    "initial weights": (Run, "init", INITS),
    "optimisers": (Run, "optimizer", OPTIMIZERS),
    "preprocessing": (Run, "preprocessing", PREPROCESSING),
    "figures": (Figure, "kind", [module.name for module in iter_modules(kinds.__path__)]),
    "formats": (Dataset, "format", implemented_formats()),
    "statuses": (run_record.Outcome, "status", ("ok", "diverged", "out_of_memory", "crashed")),
}


@pytest.mark.parametrize(("model", "field", "table"), TABLES.values(), ids=TABLES)
def test_the_schema_allows_what_is_implemented_and_nothing_else(
    model: type[BaseModel], field: str, table: Iterable[str]
) -> None:
    assert named(model, field) == set(table)


# an example of each kind of schedule, and the factor of its second epoch after an increased loss
SCHEDULES: dict[str, tuple[dict[str, Any], float]] = {
    "constant": ({}, 1.0),
    "step": ({"from_epoch": [2], "factor": [0.25]}, 0.25),
    "plateau": ({"factor": 0.5, "window": 1}, 0.5),
}


def test_each_kind_of_schedule_has_an_example() -> None:
    models = [one for one in get_args(get_args(Schedule)[0]) if isinstance(one, type)]
    assert {kind for model in models for kind in named(model, "kind")} == set(SCHEDULES)


@pytest.mark.parametrize("kind", list(SCHEDULES))
def test_each_kind_of_schedule_gives_its_factor(kind: str) -> None:
    settings, expected = SCHEDULES[kind]
    schedule: Any = TypeAdapter(Schedule).validate_python({"kind": kind, **settings})
    arrays = schedules.memory(schedule, 1)
    schedules.advance(schedule, arrays, 0, torch.tensor([1.0], dtype=torch.float64))
    schedules.advance(schedule, arrays, 1, torch.tensor([2.0], dtype=torch.float64))
    assert arrays["factor"].tolist() == [expected]


def test_the_tiers_of_the_command_line_are_the_schemas() -> None:
    plan = parser().parse_args(["plan"])
    assert plan.tier is None
    for tier in get_args(Tier):
        assert parser().parse_args(["plan", "--tier", tier]).tier == tier
    with pytest.raises(SystemExit):
        parser().parse_args(["plan", "--tier", "huge"])


def test_the_file_of_the_project_has_every_tier_and_every_setting_once() -> None:
    values = yaml_reader.read(ROOT / "params.yaml").values
    assert set(values["tiers"]) == set(get_args(Tier))
    assert list(values["training"]) == list(Run.model_fields)


def test_each_setting_has_a_name_for_readers() -> None:
    assert set(Run.model_fields) <= set(COLUMNS)


def test_each_message_of_the_schema_can_be_filled_in() -> None:
    numbers = dict.fromkeys(("gt", "ge", "lt", "le", "min_length", "max_length"), 3)
    texts = {"expected": "'a'", "expected_tags": "'a'", "pattern": "^a$", "name": "seed", "value": "1"}
    for message in EXPECTED.values():
        assert "{" not in message.format(**numbers, **texts).replace("{kind: constant}", "")


def test_the_json_schema_in_the_workflow_is_what_the_command_writes(tmp_path: Path) -> None:
    assert main(["schema", "--out", str(tmp_path / "schema.json")]) == 0
    remedy = "run `bnbench schema --out workflow/schemas/params.schema.json`"
    assert JSON_SCHEMA.read_bytes() == (tmp_path / "schema.json").read_bytes(), remedy


def test_editors_are_pointed_to_the_json_schema() -> None:
    first = (ROOT / "params.yaml").read_text().splitlines()[0]
    assert first == f"# yaml-language-server: $schema={JSON_SCHEMA.relative_to(ROOT)}"
