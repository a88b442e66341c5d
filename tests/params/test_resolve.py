"""Resolving a parameter file: precedence of the sources of a setting, equal runs, file and line of errors."""

import random
from collections import ChainMap
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from bnbench.core.errors import UserError
from bnbench.params.resolve import dataset, resolve
from bnbench.params.run_schema import Run
from tests.support.little import defaults
from tests.support.parameters import PARAMS, line_of, refusal, toy

BASE = "    base: {epochs: 4}\n"
AXES = "        seed: [0, 1]\n"

# sources of a setting, the weakest first: a text of the toy file, and its replacement
LEVELS: dict[str, tuple[str, str]] = {
    "training": (f"\n  epochs: {defaults()['epochs']}\n", "\n  epochs: {}\n"),
    "tier": ("quick: {about: toy}", "quick: {{about: toy, base: {{epochs: {}}}}}"),
    "study": (BASE, "    base: {{epochs: {}}}\n"),
    "tier of the study": ("    figures:\n", "    tiers: {{quick: {{base: {{epochs: {}}}}}}}\n    figures:\n"),
    "grid": (AXES, f"{AXES}        epochs: [{{}}]\n"),
}


def runs_of(path: Path, study: str = "S", tier: str | None = None) -> list[Run]:
    return next(one.runs for one in resolve(path, tier).studies if one.name == study)


@pytest.mark.parametrize("strongest", range(len(LEVELS)), ids=list(LEVELS))
def test_the_strongest_source_of_a_setting_wins(tmp_path: Path, strongest: int) -> None:
    edits = [(old, new.format(100 + i)) for i, (old, new) in enumerate(LEVELS.values()) if i <= strongest]
    if strongest < list(LEVELS).index("study"):
        edits.append((BASE, ""))
    assert {run.epochs for run in runs_of(toy(tmp_path, *edits))} == {100 + strongest}


@pytest.mark.parametrize("seed", range(5))
def test_each_setting_comes_from_its_strongest_source_independently_of_other_settings(
    tmp_path: Path, seed: int
) -> None:
    draw = random.Random(seed)
    names = ("epochs", "batch_size", "train_images", "dropout", "weight_decay", "slope", "diverged_above")
    levels: list[dict[str, Any]] = [
        {name: draw.randint(1, 50) / (100 if name == "dropout" else 1) for name in names if draw.random() < 0.5}
        for _ in range(4)
    ]
    for level in levels:  # integer settings stay integers, and a batch is no larger than the training set
        level |= {name: int(value) for name, value in level.items() if name != "dropout"}
        level |= {"train_images": level["train_images"] + 50} if "train_images" in level else {}
    tier, study, variant, grid = levels
    text = "".join(f"        {name}: [{value}]\n" for name, value in grid.items())
    path = toy(
        tmp_path,
        ("quick: {about: toy}", f"quick: {{about: toy, base: {tier}}}"),
        (BASE, f"    base: {study}\n"),
        ("    figures:\n", f"    tiers: {{quick: {{base: {variant}}}}}\n    figures:\n"),
        (AXES, AXES + text),
    )
    expected = ChainMap(grid, variant, study, tier, defaults())
    for run in runs_of(path):
        assert {name: getattr(run, name) for name in names} == {name: expected[name] for name in names}


def test_another_tier_uses_its_own_settings(tmp_path: Path) -> None:
    variant = "    tiers:\n      small: {base: {batch_size: 32}, grid: {product: {seed: [7]}}}\n    figures:\n"
    path = toy(tmp_path, ("    figures:\n", variant), (BASE, "    base: {slope: 0.5}\n"))
    quick, small = runs_of(path), runs_of(path, tier="small")
    assert [len(quick), len(small)] == [8, 4]
    assert {(run.epochs, run.batch_size, run.slope) for run in quick} == {(8, 64, 0.5)}
    assert {(run.epochs, run.batch_size, run.slope, run.seed) for run in small} == {(5, 32, 0.5, 7)}


def test_a_grid_gives_its_runs_in_the_order_of_the_file(tmp_path: Path) -> None:
    study = resolve(toy(tmp_path)).studies[0]
    assert study.varies == ["norm", "learning_rate", "seed"]
    seen = [(run.norm, run.learning_rate, run.seed) for run in study.runs]
    assert seen == list(product(["none", "batch"], [0.1, 1.0], [0, 1]))


def test_equal_runs_of_a_grid_are_one_run(tmp_path: Path) -> None:
    path = toy(
        tmp_path, (AXES, f"{AXES}      include: [{{norm: [none, batch], learning_rate: [0.1, 2], seed: [0]}}]\n")
    )
    runs = [run.model_dump_json() for run in runs_of(path)]
    assert len(runs) == len(set(runs)) == 8 + 2


@pytest.mark.parametrize(
    "edit",
    [
        ("  small: {about: larger, base: {epochs: 5}}", "  small: {about: x, base: {epochs: 6, slope: 0.3}}"),
        (BASE, "    base: {epochs: 4, slope: 0.01, dropout: 0.0}  # as training has it\n"),
        (AXES, "        seed: [0x0, +1]\n"),
        ("learning_rate: [0.1, 1]", "learning_rate: [1e-1, 1.0]"),
        ("    figures:\n", "    tiers: {small: {base: {slope: 9}}, full: {base: {slope: 8}}}\n    figures:\n"),
        ("  small: {about: larger, base: {epochs: 5}}", "  small: {about: larger}\n  full: {about: more}"),
        ("title: A figure", "title: Another"),
    ],
)
def test_an_edit_that_changes_no_setting_of_a_run_changes_no_run(tmp_path: Path, edit: tuple[str, str]) -> None:
    before = runs_of(toy(tmp_path))
    after = runs_of(toy(tmp_path, edit))
    assert [run.model_dump_json() for run in after] == [run.model_dump_json() for run in before]


# a batch larger than the training set, in every source of a setting
TOO_LARGE = "9999"
PLACES: dict[str, tuple[tuple[str, str], str]] = {
    "training": ((f"\n  batch_size: {defaults()['batch_size']}\n", "\n  batch_size: 9999\n"), "training.batch_size"),
    "tier": (
        ("  quick: {about: toy}", "  quick:\n    about: toy\n    base:\n      batch_size: 9999"),
        "tiers.quick.base.batch_size",
    ),
    "study": ((BASE, "    base:\n      epochs: 4\n      batch_size: 9999\n"), "studies.S.base.batch_size"),
    "tier of the study": (
        ("    figures:\n", "    tiers:\n      quick:\n        base:\n          batch_size: 9999\n    figures:\n"),
        "studies.S.tiers.quick.base.batch_size",
    ),
    "product": ((AXES, f"{AXES}        batch_size: [4,\n          9999]\n"), "studies.S.grid.product.batch_size[1]"),
    "zip": (
        (AXES, f"{AXES}      zip:\n        slope: [0, 1]\n        batch_size: [4, 9999]\n"),
        "studies.S.grid.zip.batch_size[1]",
    ),
    "around": ((AXES, f"{AXES}      around:\n        batch_size: [9999]\n"), "studies.S.grid.around.batch_size[0]"),
    "include": (
        (AXES, f"{AXES}      include:\n        - seed: [5]\n        - batch_size: [4, 9999]\n"),
        "studies.S.grid.include[1].batch_size[1]",
    ),
    "grid of the tier": (
        ("    figures:\n", "    tiers: {quick: {grid: {product: {\n      batch_size: [9999]}}}}\n    figures:\n"),
        "studies.S.tiers.quick.grid.product.batch_size[0]",
    ),
}


@pytest.mark.parametrize(("edit", "key"), PLACES.values(), ids=PLACES)
def test_an_error_in_a_value_is_located_where_the_value_was_set(
    tmp_path: Path, edit: tuple[str, str], key: str
) -> None:
    path = toy(tmp_path, edit)
    expected = "a batch of 9999 is larger than the training set of 1197 images (study S, tier quick)"
    assert refusal(path) == f"params.yaml:{line_of(path, TOO_LARGE)}: {key}: {expected}"


# an edit that breaks a rule; the text that marks its line; the message after the line number
REFUSED: dict[str, tuple[tuple[str, str], str, str]] = {
    "an unknown setting": (
        (BASE, "    base: {epocs: 4}\n"), "epocs", "studies.S.base.epocs: unknown key; known here: dataset, ",
    ),
    "its nearest name": ((BASE, "    base: {epocs: 4}\n"), "epocs", "; did you mean 'epochs'?"),
    "an unknown key of a study": (
        (BASE, "    bas: {epochs: 4}\n"), "bas:",
        "; did you mean 'base'?",
    ),
    "text for a number": (
        ("learning_rate: [0.1, 1]", "learning_rate: [0.1, swift]"), "swift",
        "studies.S.grid.product.learning_rate[1]: expected a number, got 'swift'",
    ),
    "a number in quotes": (
        (BASE, "    base: {learning_rate: '1_0e-3'}\n"), "1_0e-3",
        "expected a number, got '1_0e-3'; write 10e-3, without quotes or underscores",
    ),
    "half an epoch": ((BASE, "    base: {epochs: 2.5}\n"), "2.5", "studies.S.base.epochs: expected a whole number"),
    "a rate of zero": ((BASE, "    base: {learning_rate: 0}\n"), "rate: 0}", "expected a number above 0, got 0"),
    "infinity": ((BASE, "    base: {learning_rate: .inf}\n"), ".inf", "expected a finite number, got inf"),
    "an unknown norm": (
        ("norm: [none, batch]", "norm: [none, bacth]"), "bacth",
        "studies.S.grid.product.norm[1]: expected 'none'",
    ),
    "the nearest norm": (("norm: [none, batch]", "norm: [none, bacth]"), "bacth", "; did you mean 'batch'?"),
    "an unknown schedule": (
        (BASE, "    base: {schedule: {kind: stp}}\n"), "stp",
        "schedule.kind: expected 'constant', 'step', 'plateau', got 'stp'; did you mean 'step'?",
    ),
    "half a schedule": (
        (BASE, "    base: {schedule: {kind: step, factor: [1]}}\n"), "kind: step",
        "schedule.from_epoch: required, but missing",
    ),
    "a single value for an axis": (
        ("norm: [none, batch]", "norm: batch"), "norm: batch\n",
        "studies.S.grid.product.norm: expected a list, as `norm: [\"batch\"]`, got 'batch'",
    ),
    "an axis without values": (
        ("norm: [none, batch]", "norm: []"), "norm: []", "norm: expected a list of at least 1 value, got []",
    ),
    "a value twice": ((AXES, "        seed: [0, 1, 0]\n"), "1, 0]", "studies.S.grid.product.seed: 0 occurs twice"),
    "a grid that excludes all": (
        (AXES, f"{AXES}      exclude: [{{norm: none}}, {{norm: batch}}]\n"), "    grid:",
        "studies.S.grid: the grid is empty; exclude fewer runs",
    ),
    "lists of two lengths": (
        (AXES, f"{AXES}      zip: {{slope: [0, 1], dropout: [0]}}\n"), "    grid:", "zip joins lists of one length",
    ),
    "a setting in two parts": (
        (AXES, f"{AXES}      zip: {{seed: [3]}}\n"), "    grid:", "seed varies in product and zip; keep it in one of",
    ),
    "too many runs": (
        (AXES, f"        seed: [{', '.join(map(str, range(317)))}]\n        epochs: {list(range(1, 101))}\n"),
        "    grid:", "the grid has 126800 runs; at most 10000 (max_runs); use fewer values, or allow them by "
        "`max_runs: 126800` at the top of the file",
    ),
    "no such data set": (
        (BASE, "    base: {dataset: digit}\n"), "dataset: digit}",
        "studies.S.base.dataset: no data set 'digit' under datasets (defined: digits); did you mean 'digits'?",
    ),
    "another width": (
        (BASE, "    base: {model: 784-10}\n"), "784-10",
        "images of 1x8x8 have 64 inputs, not 784\n    784-10\n    ^ here",
    ),
    "a variance of one value": (
        (BASE, "    base: {batch_size: 1}\n"), "size: 1}", "use batch_size >= 2 or norm: none",
    ),
    "steps that fall": (
        (BASE, "    base: {schedule: {kind: step, from_epoch: [3, 2], factor: [1, 1]}}\n"), "[3, 2]",
        "the epochs of a step schedule must increase, got [3, 2]; sort them",
    ),
    "a step after the end": (
        (BASE, "    base: {epochs: 4, schedule: {kind: step, from_epoch: [99], factor: [1]}}\n"), "[99]",
        "a step from epoch 99, but the run has 4 epochs",
    ),
    "a sweep over nothing": (
        ("        x: learning_rate\n", ""),
        "      f:",
        "a figure of kind sweep needs x, as `x: learning_rate`",
    ),
    "a sweep over a typing error": (
        ("        x: learning_rate\n", "        x: learning_rat\n"), "x: learning_rat",
        "studies.S.figures.f.x: 'learning_rat' is no setting of a run",
    ),
    "an unknown tier": (("tier: quick", "tier: quik"), "quik", "tier: expected 'quick', 'small' or 'full', got 'quik'"),
}  # fmt: skip


@pytest.mark.parametrize(("edit", "mark", "message"), REFUSED.values(), ids=REFUSED)
def test_a_violation_is_reported_with_its_line(tmp_path: Path, edit: tuple[str, str], mark: str, message: str) -> None:
    path = toy(tmp_path, edit)
    seen = refusal(path)
    number = next(i for i, line in enumerate(path.read_text().splitlines(keepends=True), 1) if mark in line)
    assert seen.startswith(f"params.yaml:{number}: ")
    assert message in seen


def test_every_violation_of_the_schema_is_listed_a_line_each(tmp_path: Path) -> None:
    path = toy(tmp_path, (BASE, "    base: {epochs: x, slope: -1}\n"), ("work: E", "work: 3"), ("  classes: 10", ""))
    keys = [line.split(": ")[1] for line in refusal(path).splitlines()]
    assert sorted(keys) == [
        "datasets.digits.classes",
        "studies.S.base.epochs",
        "studies.S.base.slope",
        "studies.S.work",
    ]


def test_a_tier_without_an_entry_is_refused(tmp_path: Path) -> None:
    assert "params.yaml:2: tiers: tier 'full' has no entry here; add one" in refusal(toy(tmp_path), "full")


def test_a_data_set_by_name() -> None:
    assert dataset(PARAMS, "mnist").classes == 10
    with pytest.raises(UserError, match="no data set 'minst' under datasets; did you mean 'mnist'"):
        dataset(PARAMS, "minst")
