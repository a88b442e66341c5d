"""Augmentation from the parameter file to the report: declared, planned, named and shown; invalid ones are refused."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnbench.core.errors import UserError
from bnbench.data.augment import augment
from bnbench.data.identity import augmented_fingerprint
from bnbench.data.prepare import prepare
from bnbench.figures.augmentation_sheet import GAP, tile
from bnbench.figures.draw import draw
from bnbench.params.resolve import resolve
from bnbench.plan.plan import Plan
from bnbench.report.render import write
from bnbench.tables.collect import collect
from bnbench.workflow import Workflow
from tests.data.test_augment import definition
from tests.data.test_prepare import digits_set
from tests.support.parameters import line_of, refusal, toy
from tests.support.store import as_record, fill_store, make_plan

MOVES = "augmentations:\n  moved: {rotate: 70, shift: 0.1, flip: true, copies: 3, seed: 0}\n"
DECLARED = ("studies:\n", MOVES + "studies:\n")
VARIED = ("        norm: [none, batch]\n", "        augmentation: [none, moved]\n")


def test_an_augmentation_decides_the_run_id_by_its_definition(tmp_path: Path) -> None:
    plans = []
    for index, change in enumerate(("rotate: 70", "rotate: 60", "rotate: 70.0")):
        folder = tmp_path / str(index)
        folder.mkdir()
        declared = (DECLARED[0], DECLARED[1].replace("rotate: 70", change))
        plans.append(Plan(toy(folder, declared, VARIED), root=folder))
    first, other, same = (set(plan.runs) for plan in plans)
    assert first == same
    assert len(first) == 8
    assert {plans[0].runs[name].augmentation for name in first & other} == {"none"}
    assert len(first & other) == 4


def test_packs_name_the_moved_images_and_count_their_steps(tmp_path: Path) -> None:
    long = ("base: {epochs: 4}", "base: {epochs: 4000}")  # the time of a start is no share of it
    flow = Workflow(toy(tmp_path, DECLARED, VARIED, long), {}, tmp_path)
    packs = {pack.augmented: pack for pack in flow.plan.packs}
    datasets, augmentations = flow.plan.resolved.datasets, flow.plan.resolved.augmentations
    where = f"data/augmented/digits/moved-{augmented_fingerprint(datasets['digits'], augmentations['moved'])}"
    assert set(packs) == {None, where}
    assert packs[where].augmented == where
    assert 2 < packs[where].seconds / packs[None].seconds < 4
    assert flow.augmented == [where]


def test_a_plan_without_augmentation_asks_for_none(tmp_path: Path) -> None:
    flow = Workflow(toy(tmp_path, DECLARED), {}, tmp_path)
    assert flow.augmented == []
    assert {pack.augmented for pack in flow.plan.packs} == {None}


def test_data_sets_of_the_same_files_are_downloaded_once() -> None:
    flow = Workflow(Path(__file__).parents[2] / "params.yaml", {})
    small, large = flow.plan.raw("catsdogs32"), flow.plan.raw("catsdogs224")
    assert small == large
    assert small is not None
    assert small.startswith("data/raw/catsdogs32-")
    assert flow.plan.keys["catsdogs32"] != flow.plan.keys["catsdogs224"]
    assert flow.plan.raw("digits") is None


def test_a_known_format_needs_the_parameter_file_alone() -> None:
    resolved = resolve(Path(__file__).parents[2] / "params.yaml")
    mnist, fashion = (resolved.datasets[name] for name in ("mnist", "fashion_mnist"))
    assert mnist.files.keys() == fashion.files.keys()
    assert not set(mnist.files.values()) & set(fashion.files.values())
    assert (fashion.format, fashion.shape, fashion.train_images) == ("idx", (1, 28, 28), 50_000)


def test_the_split_of_work_e_is_declared() -> None:
    cifar = resolve(Path(__file__).parents[2] / "params.yaml").datasets["cifar10"]
    assert (cifar.train_images, cifar.split.test, cifar.split.valid) == (45_000, 5_000, "test")


BAD = {
    "unknown transform": ("rotate: 70", "rotate: 70, shear: 3", "unknown key; known here: rotate, shift, flip"),
    "angle too large": ("rotate: 70", "rotate: 181", "expected a number of at most 180, got 181"),
    "angle below zero": ("rotate: 70", "rotate: -5", "expected a number of at least 0, got -5"),
    "no angle": ("rotate: 70", "rotate: .nan", "expected a"),
    "shift of all": ("shift: 0.1", "shift: 1", "expected a number below 1, got 1"),
    "one copy": ("copies: 3", "copies: 1", "at least 2, got 1"),
    "another word": ("copies: 3", "copies: onlin", "did you mean 'online'"),
    "flip of text": ("flip: true", "flip: yes", "expected true or false, got 'yes'"),
    "missing": ("flip: true, ", "", "flip: required, but missing"),
    "reserved": ("moved: {", "none: {", "'none' is the name for no augmentation"),
}


@pytest.mark.parametrize("name", BAD)
def test_an_augmentation_that_cannot_be_is_refused_with_its_line(tmp_path: Path, name: str) -> None:
    old, new, message = BAD[name]
    assert old in MOVES
    path = toy(tmp_path, (DECLARED[0], DECLARED[1].replace(old, new)))
    told = refusal(path)
    line = line_of(path, "augmentations:" if name == "reserved" else "rotate:")
    assert message in told
    assert told.startswith(f"params.yaml:{line}: augmentations")
    assert len(told.splitlines()) == 1


def test_an_augmentation_that_is_not_declared_is_named_with_the_nearest(tmp_path: Path) -> None:
    path = toy(tmp_path, DECLARED, (VARIED[0], VARIED[1].replace("moved", "mooved")))
    told = refusal(path)
    assert "no augmentation 'mooved' (defined: none, moved)" in told
    assert "did you mean 'moved'?" in told
    assert told.startswith(f"params.yaml:{line_of(path, 'mooved')}:")


def test_weights_are_not_chosen_by_the_test_images(tmp_path: Path) -> None:
    split = ("split: {valid: 240, test: 360, seed: 0}", "split: {valid: test, test: 360, seed: 0}")
    told = refusal(toy(tmp_path, split, ("base: {epochs: 4}", "base: {epochs: 4, keep_weights: best}")))
    assert "use keep_weights: last" in told
    Plan(toy(tmp_path, split), root=tmp_path)


def test_a_mosaic_has_each_image_at_its_place() -> None:
    sheet = np.random.RandomState(0).randint(0, 256, (2, 3, 3, 48, 48)).astype(np.uint8)
    mosaic = tile(sheet)
    side = 2 * 48 + GAP
    assert mosaic.shape == (2 * side, 3 * side, 3)
    one = mosaic[side + GAP // 2 : 2 * side - GAP // 2 : 2, 2 * side + GAP // 2 : 3 * side - GAP // 2 : 2]
    assert np.array_equal(one, sheet[1, 2].transpose(1, 2, 0))
    assert tile(np.zeros((1, 2, 1, 224, 224), np.uint8)).shape == (112 + GAP, 2 * (112 + GAP))


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """Return a plan with two augmentations, and the folder of its tables and figures."""
    folder = tmp_path_factory.mktemp("shown")
    prepare("digits", digits_set(), None, folder / "digits")
    entries = []
    for name, what in (("three", definition()), ("fresh", definition(copies="online"))):
        augment(digits_set(), what, folder / "digits", folder / name)
        entries.append({"dataset": "digits", "augmentation": name, "folder": str(folder / name)})
    runs: dict[str, Any] = {"augmentation": ["none", "three", "fresh"], "seed": [0, 1]}
    plan = make_plan({"E9": ({}, runs)}, augmentations=entries)
    fill_store(plan, folder / "runs")
    collect(as_record(plan), folder / "runs", folder / "results" / "tables")
    draw(as_record(plan), folder / "results" / "tables", folder / "reports" / "figures", 1)
    return plan, folder


def test_the_report_shows_each_contact_sheet_with_its_caption(shown: tuple[dict[str, Any], Path]) -> None:
    plan, folder = shown
    write(as_record(plan), folder / "results" / "tables", folder / "reports" / "figures", folder / "reports")
    page = (folder / "reports" / "report.html").read_text()
    text = re.sub(r"\s+", " ", page)
    assert 'id="augmentation-1"' in page
    assert "6 training images at the left, and at the right of each its first 2 augmented copies" in text
    assert "its first 6 versions, one per epoch of the run with seed 0" in text
    assert "-70 to 70 degrees" in text
    assert (folder / "reports" / "report.pdf").read_bytes().startswith(b"%PDF")
    assert (folder / "reports/figures/augmentation.digits/three.png").read_bytes().startswith(b"\x89PNG")


def test_a_contact_sheet_that_is_missing_is_named(shown: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    plan, folder = shown
    shutil.copytree(folder / "reports", tmp_path, dirs_exist_ok=True)
    (tmp_path / "figures" / "augmentation.digits" / "three.svg").unlink()
    with pytest.raises(UserError, match=r"augmentation.digits/three\.svg: no such file"):
        write(as_record(plan), folder / "results" / "tables", tmp_path / "figures", tmp_path)


def test_sheets_of_an_earlier_plan_go(shown: tuple[dict[str, Any], Path]) -> None:
    plan, folder = shown
    figures = folder / "reports" / "figures"
    before = (figures / "augmentation.digits/three.svg").read_bytes()
    draw(as_record(plan | {"augmentations": []}), folder / "results" / "tables", figures, 1)
    assert not list(figures.glob("augmentation*"))
    draw(as_record(plan), folder / "results" / "tables", figures, 1)
    assert (figures / "augmentation.digits/three.svg").read_bytes() == before
