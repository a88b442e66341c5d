"""Every figure is found under its own study and no other, for all names that the schema allows."""

import itertools
import json
import random
import re
import string
from pathlib import Path

import pytest
from snakemake.io import apply_wildcards, regex_from_filepattern

from bnbench.figures.draw import SUFFIXES, draw
from bnbench.report.render import write
from bnbench.tables import labels
from bnbench.tables.collect import collect
from tests.support.little import ROOT
from tests.support.miniature import miniature
from tests.support.shell import contents
from tests.support.store import FIGURES, STUDIES, as_record, fill_store, make_plan

LETTERS = string.ascii_letters
FIRST = [
    "svg",
    "augmentation",
    "digits",
    "E1",
    "E1_learning",
    "learning_rate",
    "rate",
    "a",
    "b",
    "a_b",
    "S",
    "S_a",
    "S-a",
    "A0",
    "figure",
    "0123456789abcdef",
]


def names(count: int, seed: int) -> list[str]:
    """Return names that the schema allows: some that collide when joined, and random ones."""
    dice = random.Random(seed)
    found = [name for name in FIRST if name[0] in LETTERS]
    while len(found) < count:
        found.append(dice.choice("abS") + "".join(dice.choices("ab_-", k=dice.randint(0, 4))))
    return list(dict.fromkeys(found))


def pattern(rule: str) -> str:
    """Return the pattern by which a rule separates the study's name from the figure's."""
    text = (ROOT / "workflow" / "rules" / f"{rule}.smk").read_text()
    found = re.search(r'patterns=\["(.+)"\]', text)
    assert found
    return found[1]


def test_pairs_of_names_have_places_of_their_own_and_are_read_from_them() -> None:
    found, shape = {}, re.compile(regex_from_filepattern(pattern("figures")))
    for study, figure in itertools.product(names(60, 0), names(60, 1)):
        for place, pair in (
            (labels.figure_place(study, figure), (study, figure)),
            (labels.contact_sheet(study, figure), (f"augmentation.{study}", figure)),
        ):
            assert place not in found
            found[place] = pair
            match = shape.fullmatch(f"{place}.svg")
            assert match
            assert match.groupdict() == dict(zip(("study", "figure"), pair, strict=True))
    assert len(found) > 4000


@pytest.mark.parametrize("rule", ["prepare", "download", "augment"])
def test_data_and_logs_have_places_of_their_own(rule: str) -> None:
    text = (ROOT / "workflow" / "rules" / f"{rule}.smk").read_text()
    for shape in re.findall(r'"((?:data|logs)/[^"]*\{key\}[^"]*)"', text):
        parts = re.findall(r"\{(\w+)\}", shape)[:-1]
        expression, found = re.compile(regex_from_filepattern(shape)), set()
        for values in itertools.product(names(40, 0), repeat=len(parts)):
            filled = apply_wildcards(shape, dict(zip(parts, values, strict=True)) | {"key": "0123456789abcdef"})
            assert filled not in found, shape
            found.add(filled)
            match = expression.fullmatch(filled)
            assert match
            assert [match[part] for part in parts] == list(values)


def test_studies_whose_joined_names_are_equal_keep_their_figures_apart(tmp_path: Path) -> None:
    base, axes = STUDIES["A1"]
    plan = make_plan({"S": (base, axes), "S_a": (base | {"learning_rate": 0.02}, axes)})
    for study, figure in (("S", "a_b"), ("S_a", "b")):
        options = FIGURES["A1"]["accuracy"] | {"title": f"Of {study}"}
        plan["studies"][study] |= {"figures": {figure: options}, "order": [figure]}
    fill_store(plan, tmp_path / "runs")
    collect(as_record(plan), tmp_path / "runs", tmp_path / "tables")
    draw(as_record(plan), tmp_path / "tables", tmp_path / "figures", 1)
    write(as_record(plan), tmp_path / "tables", tmp_path / "figures", tmp_path)
    drawn = contents(tmp_path / "figures")
    places = ("S/a_b", "S_a/b")
    assert set(drawn) == {f"{place}.{suffix}" for place in places for suffix in SUFFIXES}
    assert b"Of S\n" not in drawn["S_a/b.md"]
    page = (tmp_path / "report.html").read_text()
    assert [page.count(f"<strong>Of {study}</strong>") for study in ("S", "S_a")] == [1, 1]
    anchors = re.findall(r'\bid="([^"]+)"', page)
    assert len(anchors) == len(set(anchors))


def test_a_study_that_is_gone_leaves_no_folder(tmp_path: Path) -> None:
    base, axes = STUDIES["A1"]
    plan = make_plan({"S": (base, axes)})
    plan["studies"]["S"] |= {"figures": FIGURES["A1"], "order": list(FIGURES["A1"])}
    fill_store(plan, tmp_path / "runs")
    collect(as_record(plan), tmp_path / "runs", tmp_path / "tables")
    draw(as_record(plan), tmp_path / "tables", tmp_path / "figures", 1)
    assert (tmp_path / "figures" / "S").is_dir()
    plan["studies"]["S"] |= {"figures": {}, "order": []}
    draw(as_record(plan), tmp_path / "tables", tmp_path / "figures", 1)
    assert not list((tmp_path / "figures").iterdir())


@pytest.mark.slow
def test_snakemakes_report_files_a_figure_under_its_study(tmp_path: Path) -> None:
    project = miniature(tmp_path / "project")
    project.edit("studies:\n  S:", "studies:\n  E1:")
    project.edit("      f:\n", "      learning_rate:\n")
    project.run("snakemake --cores 2")
    project.run("snakemake --report flow.html")
    page = (project.folder / "flow.html").read_text()
    found = re.search(r"var categories = (\{.*\});$", page, re.MULTILINE)
    assert found
    assert json.loads(found[1])["E1"] == {"Other": ["reports/figures/E1/learning_rate.svg"]}
    assert "Figure learning_rate of study E1." in page
