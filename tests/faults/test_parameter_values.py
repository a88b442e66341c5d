"""Values of the parameter file: numbers are finite, names plain, defaults checked, sizes limited."""

import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from pydantic import BaseModel, ValidationError

from bnbench.cluster.site_file import Site
from bnbench.core.errors import DataError
from bnbench.data.download import download
from bnbench.params.fields import Strict
from bnbench.params.resolve import dataset, resolve
from bnbench.params.schema import Params
from bnbench.plan.plan import Plan
from tests.support.little import defaults
from tests.support.parameters import line_of, refusal, toy
from tests.support.shell import bnbench, with_mirror

BASE = "    base: {epochs: 4}\n"
AXES = "        seed: [0, 1]\n"
PUBLISHED = "    published: [{what: x, value: @, y: test_accuracy}]\n"
BEYOND = [".nan", ".inf", "-.inf", "1e999", "-1e400", "99999999999999999999", "9223372036854775808"]

# --- numbers

HUE = "        hue: norm\n"
# the text that is replaced, its replacement with @ for the number; the key that the message names
NUMBERS: dict[str, tuple[tuple[str, str], str]] = {
    "low": ((HUE, f"{HUE}        low: @\n"), "studies.S.figures.f.low"),
    "at": ((HUE, f"{HUE}        pick: {{at: @}}\n"), "studies.S.figures.f.pick.at"),
    "step": ((HUE, f"{HUE}        pick: {{step: @}}\n"), "studies.S.figures.f.pick.step"),
    "value": ((AXES, AXES + PUBLISHED), "studies.S.published[0].value"),
    "values": ((AXES, AXES + PUBLISHED.replace("@", "[1, @]")), "studies.S.published[0].value[1]"),
    "epochs": ((BASE, "    base: {epochs: @}\n"), "studies.S.base.epochs"),
    "rate": (("learning_rate: [0.1, 1]", "learning_rate: [0.1, @]"), "studies.S.grid.product.learning_rate[1]"),
    "split": (("valid: 240", "valid: @"), "datasets.digits.split.valid"),
    "max_runs": (("tier: quick\n", "tier: quick\nmax_runs: @\n"), "max_runs"),
}


@pytest.mark.parametrize("number", BEYOND)
@pytest.mark.parametrize(("edit", "key"), NUMBERS.values(), ids=NUMBERS)
def test_a_number_that_is_none_or_beyond_64_bits_is_refused_with_line_and_key(
    tmp_path: Path, edit: tuple[str, str], key: str, number: str
) -> None:
    path = toy(tmp_path, (edit[0], edit[1].replace("@", number)))
    lines = refusal(path).splitlines()
    assert any(line.startswith(f"params.yaml:{line_of(path, number)}: {key}: ") for line in lines)


def kinds(annotation: Any) -> Iterator[Any]:
    """Yield all types named in an annotation, at any depth."""
    yield annotation
    origin = get_origin(annotation)
    inner = get_args(annotation)[:1] if origin is Annotated else get_args(annotation)
    if origin in (Annotated, Union, UnionType, list, dict, tuple):
        for part in inner:
            yield from kinds(part)


def models(kind: type[BaseModel]) -> set[type[BaseModel]]:
    """Return a model and all models nested in it."""
    found = {kind}
    for info in kind.model_fields.values():
        for part in kinds(info.annotation):
            if isinstance(part, type) and issubclass(part, BaseModel) and part not in found:
                found |= models(part)
    return found


def test_every_model_of_the_parameter_and_site_files_refuses_what_is_not_finite() -> None:
    found = models(Params) | models(Site)
    assert len(found) > 15
    for model in found:
        assert issubclass(model, Strict), model
        for name, info in model.model_fields.items():
            if not any(part is float for part in kinds(info.annotation)):
                continue
            for value in (math.nan, math.inf, -math.inf, [math.inf], [1.0, math.nan]):
                with pytest.raises(ValidationError, match=rf"{name}"):
                    model.model_validate({name: value})


# --- sizes


def test_many_aliases_are_refused_at_once(tmp_path: Path) -> None:
    path = toy(tmp_path, (AXES, f"        seed: [&x 0, {', '.join(['*x'] * 60_000)}]\n"))
    assert "over 1000 aliases (as *x); write the values out" in refusal(path)


@pytest.mark.parametrize("opening", ["[", "{a: "])
def test_deep_nesting_is_refused(tmp_path: Path, opening: str) -> None:
    assert "more than 50 deep" in refusal(toy(tmp_path, (AXES, f"        seed: {opening * 5000}\n")))


def test_a_file_without_end_is_not_read_to_its_end() -> None:
    program = Path(sys.executable).with_name("bnbench")
    limited = ["bash", "-c", f"ulimit -v 4000000; exec '{program}' plan --params /dev/zero"]
    done = subprocess.run(limited, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2, done.stderr
    assert "/dev/zero: more than 1000000 bytes" in done.stderr


def seeds(folder: Path, count: int, limit: str = "") -> Path:
    return toy(folder, (AXES, f"        seed: {list(range(count))}\n"), ("tier: quick\n", f"tier: quick\n{limit}"))


def test_a_grid_of_more_runs_than_allowed_is_refused_with_count_limit_and_remedy(tmp_path: Path) -> None:
    path = seeds(tmp_path, 5000)
    where = f"params.yaml:{line_of(path, '    grid:')}: studies.S.grid: "
    remedy = "use fewer values, or allow them by `max_runs: 20000` at the top of the file"
    assert refusal(path) == f"{where}the grid has 20000 runs; at most 10000 (max_runs); {remedy}"
    assert "the grid has 8 runs; at most 7 (max_runs)" in refusal(seeds(tmp_path, 2, "max_runs: 7\n"))


def test_studies_count_together(tmp_path: Path) -> None:
    path = seeds(tmp_path, 2, "max_runs: 15\n")
    text = path.read_text()
    path.write_text(text + text[text.index("\n  S:\n") + 1 :].replace("  S:", "  T:", 1))
    assert "the grid has 8 runs, all studies of tier quick together 16; at most 15 (max_runs)" in refusal(path)


def test_ten_thousand_runs_are_planned(tmp_path: Path) -> None:
    assert len(Plan(seeds(tmp_path, 2500), root=tmp_path).runs) == 10_000


def test_the_limit_of_runs_changes_no_run(tmp_path: Path) -> None:
    before = list(Plan(toy(tmp_path), root=tmp_path).runs)
    assert list(Plan(seeds(tmp_path, 2, "max_runs: 8\n"), root=tmp_path).runs) == before


def test_of_very_many_violations_the_first_are_told(tmp_path: Path) -> None:
    lines = refusal(toy(tmp_path, (AXES, f"        seed: [{', '.join(['x'] * 5000)}]\n"))).splitlines()
    assert len(lines) < 300
    assert lines[-1] == "... and 4800 more"


# --- features of other YAML versions


def test_a_merge_key_is_told_with_what_to_write(tmp_path: Path) -> None:
    path = toy(
        tmp_path, ("quick: {about: toy}", "quick: {about: toy, base: &b {slope: 0.1, norm: none}}"),
        (BASE, "    base: {<<: *b, dropout: 0.2}\n"),
    )  # fmt: skip
    rule = "`<<` merges mappings in YAML 1.1 alone, and this file is YAML 1.2"
    told = f'{rule}; in place of `<<: *b` write its keys out: slope: 0.1, norm: "none"'
    assert refusal(path) == f"params.yaml:{line_of(path, '<<')}: studies.S.base: {told}"


def test_a_merge_of_several_mappings_is_told_too(tmp_path: Path) -> None:
    path = toy(tmp_path, (BASE, "    base:\n      <<: [{slope: 1}, {dropout: 0.2}]\n"))
    assert "write the keys of the merged mappings out here" in refusal(path)
    assert refusal(path).startswith(f"params.yaml:{line_of(path, '<<')}: ")


# --- names of files, mirrors

FILES = {
    "too long": ("x" * 300, "a file name that has 300 bytes; at most 200 in each name"),
    "long characters": ("\u00e9" * 150, "a file name that has 300 bytes"),
    "deep": ("/".join(["\u00e9" * 90] * 6), "1000 with its folders"),
    "a line break": ("a\\nb", "a file name that has a control character"),
    "a tab": ("a\\tb", "a file name that has a control character"),
    "NUL": ("a\\0b", "control character U+0000"),
    "above": ("../a", "a file name that leaves the folder"),
}


@pytest.mark.parametrize("kind", ["files", "archive"])
@pytest.mark.parametrize(("name", "told"), FILES.values(), ids=FILES)
def test_a_file_name_that_no_file_can_have_is_refused_with_its_line(
    tmp_path: Path, kind: str, name: str, told: str
) -> None:
    path = toy(tmp_path, ("    classes: 10", f"    {kind}:\n      \"{name}\": 'md5:{'0' * 32}'\n    classes: 10"))
    message = refusal(path)
    line = line_of(path, f'"{name}"')
    assert message.startswith((f"params.yaml:{line}: datasets.digits.{kind}", f"params.yaml:{line - 1}: datasets"))
    assert told in message
    assert "\n" not in message


@pytest.mark.parametrize("mirror", ["", "a\\nb", "http://h/\\t"])
def test_a_mirror_that_cannot_be_written_in_a_line_is_refused_with_its_line(tmp_path: Path, mirror: str) -> None:
    path = toy(tmp_path, ("    classes: 10", f'    mirrors:\n      - "{mirror}"\n    classes: 10'))
    assert refusal(path).startswith(f"params.yaml:{line_of(path, 'mirrors') + 1}: datasets.digits.mirrors[0]: ")


@pytest.mark.parametrize(
    ("mirror", "told"),
    [("~nouser/x", "this machine knows no home folder ~nouser"), (f"/tmp/{'x' * 300}", "File name too long")],
)
def test_a_mirror_that_cannot_be_looked_at_is_passed_over_and_told(tmp_path: Path, mirror: str, told: str) -> None:
    with_mirror(tmp_path, mirror)
    message = bnbench("download", "digits", "--out", "raw", folder=tmp_path)
    assert message.startswith("3: bnbench download: digits: no mirror gave a.gz")
    assert told in message


def test_a_mirror_from_the_environment_is_told_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_mirror(tmp_path, "/nowhere")
    monkeypatch.setenv("BNBENCH_MIRROR", "~nouser/x")
    with pytest.raises(DataError, match="this machine knows no home folder ~nouser"):
        download("digits", dataset(tmp_path / "params.yaml", "digits"), tmp_path / "raw")


# --- unused defaults and bases

OVERRIDDEN = f"\n  model: {defaults()['model']}"
UNUSED: dict[str, tuple[list[tuple[str, str]], str]] = {
    "a default": (
        [(OVERRIDDEN, "\n  model: 64Q-4C3B"), (BASE, "    base: {epochs: 4, model: 64-10}\n")],
        "training.model: '64Q' is no layer",
    ),
    "a base of a tier that is not in use": (
        [("base: {epochs: 5}}", "base: {epochs: 5, dataset: digts}}")], "tiers.small.base.dataset: no data set 'digts'",
    ),
    "a base that the grid overrides": (
        [(BASE, "    base: {augmentation: turnd}\n"), (AXES, f"{AXES}        augmentation: [none]\n")],
        "studies.S.base.augmentation: no augmentation 'turnd'",
    ),
    "a study's variant": (
        [("    figures:\n", "    tiers: {small: {base: {model: 64-10-}}}\n    figures:\n")],
        "studies.S.tiers.small.base.model: '' is no layer",
    ),
    "a variant's grid": (
        [("    figures:\n", "    tiers: {small: {grid: {product: {model: [64-10, x]}}}}\n    figures:\n")],
        "studies.S.tiers.small.grid.product.model[1]: 'x' is no layer",
    ),
    "what a grid leaves out": (
        [(AXES, f"{AXES}      exclude: [{{dataset: digts}}]\n")], "studies.S.grid.exclude[0].dataset: no data set",
    ),
    "a figure's filter": (
        [("        hue: norm\n", "        hue: norm\n        where: {dataset: digts}\n")],
        "studies.S.figures.f.where.dataset: no data set",
    ),
    "a schedule": (
        [("base: {epochs: 5}}", "base: {schedule: {kind: step, from_epoch: [3, 2], factor: [1, 1]}}}")],
        "tiers.small.base.schedule: the epochs of a step schedule must increase, got [3, 2]; sort them",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("edits", "told"), UNUSED.values(), ids=UNUSED)
def test_a_value_is_checked_where_nothing_uses_it(tmp_path: Path, edits: list[tuple[str, str]], told: str) -> None:
    path = toy(tmp_path, *edits)
    message = refusal(path)
    assert message.startswith("params.yaml:")
    assert message.partition(": ")[2].startswith(told)


def test_the_projects_own_file_is_accepted_in_every_tier() -> None:
    for tier in ("quick", "small", "full"):
        assert resolve(Path(__file__).parents[2] / "params.yaml", tier).studies
