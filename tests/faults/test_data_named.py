"""Titles, captions and published values name the data used if a tier uses other data than its study is about."""

from pathlib import Path

import pytest

from bnbench.core.yaml_reader import read
from bnbench.figures.draw import draw
from bnbench.params.resolve import asked_data
from bnbench.report.render import write
from bnbench.tables.collect import collect
from tests.support.little import ROOT
from tests.support.store import FIGURES, STUDIES, as_record, fill_store, make_plan

PHOTOS = {"title": "Photos (224x224)", "licence": "free", "shape": [3, 224, 224]}


def told(folder: Path, asked: list[str]) -> tuple[str, str]:
    """Return a figure's caption and the report of a study whose runs use digits and whose `data` is `asked`."""
    plan = make_plan({"A1": STUDIES["A1"]})
    plan["datasets"]["photos"] = PHOTOS
    published = [{"what": "Accuracy", "value": 0.953, "where": {"norm": "batch"}}]
    figures = {"loss": FIGURES["A1"]["loss"]}
    plan["studies"]["A1"] |= {"data": asked, "published": published, "figures": figures, "order": ["loss"]}
    fill_store(plan, folder / "runs")
    collect(as_record(plan), folder / "runs", folder / "tables")
    draw(as_record(plan), folder / "tables", folder / "figures", 1)
    write(as_record(plan), folder / "tables", folder / "figures", folder)
    texts = [(folder / "figures" / "A1" / "loss.md").read_text(), (folder / "report.md").read_text()]
    return texts[0].replace("\\", ""), texts[1].replace("\\", "")


def test_other_data_are_named_everywhere(tmp_path: Path) -> None:
    caption, report = told(tmp_path, ["photos"])
    assert "Data: Digits (8x8), in place of Photos (224x224)." in caption
    assert report.count("batch norm (on Digits (8x8), in place of Photos (224x224))") == 3
    assert "| Quantity | Published (on Photos (224x224)) | Measured (on Digits (8x8)) | Seeds |" in report


def test_the_data_that_a_study_is_about_are_named_once(tmp_path: Path) -> None:
    caption, report = told(tmp_path, ["digits"])
    assert "Data: Digits (8x8). Lines" in caption
    assert "in place of" not in report
    assert "| Quantity | Published | Measured | Seeds |" in report


@pytest.mark.parametrize(("study", "asked"), [("E1", ["cifar10"]), ("E6", ["catsdogs224_full"])])
def test_a_study_is_about_the_data_of_the_full_tier(study: str, asked: list[str]) -> None:
    assert asked_data(read(ROOT / "params.yaml").values, study) == asked
