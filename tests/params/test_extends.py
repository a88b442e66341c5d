"""Files that extend another: the same runs as one file written out, and errors with the file that states the value."""

import json
from pathlib import Path

import jsonschema
import pytest

from bnbench.core.errors import UserError
from bnbench.core.yaml_reader import read as read_alone
from bnbench.params.extends import read
from bnbench.params.resolve import augmentation, dataset, resolve
from bnbench.plan.plan import Plan
from tests.support.little import ROOT, defaults
from tests.support.parameters import TOY, line_of, toy

STUDIES = TOY.partition("\nstudies:\n")[2]
OWN = "extends: ../base/params.yaml\ntier: quick\n"


def pair(folder: Path, own: str = "", *edits: tuple[str, str]) -> Path:
    """Write the toy file with edits, and a file of the toy's studies that extends it; return the path of the latter."""
    (folder / "base").mkdir()
    (folder / "own").mkdir()
    toy(folder / "base", *edits)
    path = folder / "own" / "mine.yaml"
    path.write_text(f"{OWN}{own}studies:\n{STUDIES}")
    return path


def test_the_runs_are_those_of_one_file_written_out(tmp_path: Path) -> None:
    alone = Plan(toy(tmp_path), root=tmp_path)
    extending = Plan(pair(tmp_path), root=tmp_path)
    assert list(extending.runs) == list(alone.runs)
    assert extending.studies == alone.studies
    assert extending.ids.tables == alone.ids.tables
    assert extending.ids.report == alone.ids.report


def test_studies_tier_and_the_limit_of_runs_are_not_inherited(tmp_path: Path) -> None:
    path = pair(tmp_path, "", ("tier: quick\n", "tier: small\nmax_runs: 1\n"), ("studies:\n  S:", "studies:\n  T:"))
    resolved = resolve(path)
    assert [study.name for study in resolved.studies] == ["S"]
    assert resolved.tier == "quick"
    assert len(resolved.studies[0].runs) == 8


def test_an_own_entry_replaces_the_inherited_one_of_its_name(tmp_path: Path) -> None:
    own = "training: {batch_size: 32}\ntiers: {small: {about: mine}, full: {about: more}}\n"
    own += "augmentations: {turned: {rotate: 9, shift: 0, flip: false, copies: 2, seed: 0}}\n"
    path = pair(tmp_path, own)
    before, after = resolve(toy(tmp_path)), resolve(path)
    expected = [run.model_copy(update={"batch_size": 32}) for run in before.studies[0].runs]
    assert after.studies[0].runs == expected
    assert {tier: about["about"] for tier, about in after.values["tiers"].items()} == {
        "quick": "toy", "small": "mine", "full": "more",
    }  # fmt: skip
    assert resolve(path, "small").studies[0].runs[0].epochs == 4  # without the inherited base of 5 epochs
    assert augmentation(path, "turned").rotate == 9
    assert dataset(path, "digits") == after.datasets["digits"]


def test_a_file_may_extend_one_that_extends_another(tmp_path: Path) -> None:
    middle = pair(tmp_path, "training: {batch_size: 32, dropout: 0.5}\n")
    path = tmp_path / "params.yaml"
    path.write_text(f"extends: own/mine.yaml\ntier: quick\ntraining: {{dropout: 0.25}}\nstudies:\n{STUDIES}")
    run = resolve(path).studies[0].runs[0]
    assert (run.batch_size, run.dropout, run.epochs) == (32, 0.25, 4)
    middle.write_text(middle.read_text().replace("batch_size: 32", "batch_size: many"))
    assert f"own/mine.yaml:{line_of(middle, 'many')}: training.batch_size: expected a whole" in error(path)


OTHER = ("tier: quick", "tier: small")  # an edit of the extended file that changes nothing here
# lines of the extending file; an edit of the extended file; file at fault; the text that marks its line; its key
FAULTS: dict[str, tuple[str, tuple[str, str], str, str, str]] = {
    "an inherited default": ("", ("\n  dropout: 0", "\n  dropout: 2"), "base", "dropout: 2", "training.dropout"),
    "an own default": ("training: {dropout: 2}\n", OTHER, "own", "dropout: 2", "training.dropout"),
    "an inherited data set": ("", ("classes: 10", "classes: 1"), "base", "classes: 1", "datasets.digits.classes"),
    "a setting that neither has": (
        "training: {dropout: 0.5}\n", (f"\n  epochs: {defaults()['epochs']}\n", "\n"),
        "own", "training:", "training.epochs",
    ),
    "an unknown key": ("", ("tier: quick", "tier: quick\ntrainnig: 1"), "base", "trainnig", "trainnig"),
    "an unknown own key": ("trainnig: 1\n", OTHER, "own", "trainnig", "trainnig"),
    "a model that does not fit": ("training: {model: 9-10}\n", OTHER, "own", "9-10", "training.model"),
    "a tier that neither has": ("", ("quick: {", "full: {"), "base", "tiers:", "tiers"),
}  # fmt: skip


def error(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        resolve(path)
    return str(caught.value)


@pytest.mark.parametrize(("own", "edit", "owner", "mark", "key"), FAULTS.values(), ids=FAULTS)
def test_an_error_names_the_file_and_line_that_states_the_value(
    tmp_path: Path, own: str, edit: tuple[str, str], owner: str, mark: str, key: str
) -> None:
    path = pair(tmp_path, own, edit)
    at_fault = {"own": path, "base": path.parent / "../base/params.yaml"}[owner]
    assert error(path).startswith(f"{at_fault}:{line_of(at_fault, mark)}: {key}: ")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("../base/param.yaml", "there is no file {folder}/own/../base/param.yaml; correct the path or leave `extends`"),
        ("../base", "there is no file {folder}/own/../base; correct the path"),
        ("3", "expected a path, as `extends: ../params.yaml`, got 3"),
        ("''", "expected a path, as `extends: ../params.yaml`, got ''"),
        ("mine.yaml", "in a circle: {folder}/own/mine.yaml -> {folder}/own/mine.yaml; leave `extends` out of one"),
    ],
)
def test_what_cannot_be_extended_is_refused_with_its_line(tmp_path: Path, value: str, message: str) -> None:
    path = pair(tmp_path)
    path.write_text(path.read_text().replace("../base/params.yaml", value))
    assert error(path).startswith(f"{path}:1: extends: ")
    assert message.format(folder=tmp_path) in error(path)


def test_a_circle_of_two_is_refused(tmp_path: Path) -> None:
    path = pair(tmp_path, "", ("tier: quick\n", "tier: quick\nextends: ../own/mine.yaml\n"))
    base = path.parent / "../base/params.yaml"
    circle = f"{path} -> {base} -> {base.parent}/../own/mine.yaml"
    assert error(path).startswith(f"{base}:2: extends: files extend each other in a circle: {circle}; leave")


def test_a_stage_of_dvc_refuses_a_file_whose_other_half_dvc_does_not_compare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pair(tmp_path)
    monkeypatch.setenv("DVC_STAGE", "data")
    base = path.parent / "../base/params.yaml"
    rule = f"DVC compares {path} alone, so `dvc repro` would miss changes of {base}; start `snakemake` itself, or copy"
    assert error(path).startswith(f"{path}:1: extends: {rule}")
    assert resolve(base)


def test_editors_accept_an_extending_file_and_miss_keys_in_another() -> None:
    schema = json.loads((ROOT / "workflow" / "schemas" / "params.schema.json").read_text())
    example = read_alone(ROOT / "examples" / "minimal" / "params.yaml").values
    jsonschema.validate(example, schema)
    jsonschema.validate(read(ROOT / "examples" / "minimal" / "params.yaml").values, schema)
    jsonschema.validate(read_alone(ROOT / "params.yaml").values, schema)
    del example["extends"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(example, schema)
