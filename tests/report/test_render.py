"""The report in Markdown, HTML and PDF: complete, valid, and safe with hostile titles."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pypandoc
import pytest

from bnbench.core.errors import UserError
from bnbench.core.markdown import READER, escape
from bnbench.core.markdown import table as markdown_table
from bnbench.figures.draw import draw
from bnbench.report.render import to_html, to_pdf, write
from bnbench.report.result_tables import LONGEST, result
from bnbench.tables import files as store_tables
from bnbench.tables.collect import collect
from tests.support.store import DENSE, as_record, fill_store, make_plan

HOSTILE = [
    "<script>alert(1)</script>",
    "*x* _y_ **z** `code` ~~s~~ ^u^ ~d~",
    "$x$ \\(y\\) \\alpha",
    "#x #set page(fill: red) @cite [link](http://a.b)",
    "a | b || c",
    "- item",
    "1. item",
    "# heading",
    "> quote",
    ": caption",
    "Table: caption",
    "</figcaption><img src=x onerror=alert(1)>",
    "![i](j.png) <http://a.b> http://a.b/c_d_e",
    "{#id .class} [^1] ^[note]",
    "'quotes' \"double\" -- --- ...",
    "```{=html}",
    "\\# \\",
    "(a) b",
    "a) b",
    "//comment /* c */ = heading",
    "\t    indented\r\nsecond line\x00\x1b",
    "& &amp; &lt;",
    "%",
    "---",
]
FOREIGN = {"script", "iframe", "object", "embed", "form", "link", "base", "input"}


class Page(HTMLParser):
    """Parser that collects elements, addresses and visible text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(html: str | bytes) -> Page:
    parser = Page()
    parser.feed(html if isinstance(html, str) else html.decode())
    return parser


def shown(text: str) -> str:
    """Return the text as a reader should see it: single spaces, no control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    plan = make_plan()
    fill_store(plan, folder / "runs")
    collect(as_record(plan), folder / "runs", folder / "tables")
    draw(as_record(plan), folder / "tables", folder / "reports" / "figures", 1)
    write(as_record(plan), folder / "tables", folder / "reports" / "figures", folder / "reports")
    return folder


def again(folder: Path, plan: dict[str, Any], out: Path) -> Path:
    write(as_record(plan), folder / "tables", folder / "reports" / "figures", out)
    return out


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_appears_literally(text: str) -> None:
    source = f"{escape(text)}\n\n## {escape(text)}\n\n{markdown_table([text], [[text]])}\n"
    source += f"\n**{escape(text)}**\n"
    tree = pypandoc.convert_text(source, "html5", format=READER, extra_args=["--wrap=none", "--columns=10000"])
    page = parsed(tree)
    assert page.tags <= {"p", "h2", "table", "thead", "tbody", "tr", "th", "td", "strong", "colgroup", "col"}
    assert not page.addresses
    lines = [line.strip() for line in page.text.splitlines() if line.strip()]
    assert lines == [shown(text)] * 5


def test_hostile_titles_do_no_harm(folder: Path, tmp_path: Path) -> None:
    plan = make_plan(about=HOSTILE[0] + HOSTILE[2])
    text = " ".join(HOSTILE)
    for study in plan["studies"].values():
        study |= {"title": text, "question": text}
    plan["datasets"]["digits"] |= {"title": text, "licence": text}
    out = again(folder, plan, tmp_path)
    page = parsed((out / "report.html").read_text())
    assert not page.tags & FOREIGN
    assert not page.handlers
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert page.text.count(shown(text)) >= 2 * 3 + 2  # title, its entry in the contents, question; data set
    assert (out / "report.pdf").read_bytes().startswith(b"%PDF")


def test_typst_shows_hostile_texts_too(tmp_path: Path) -> None:
    for index, text in enumerate([*HOSTILE, " ".join(HOSTILE)]):
        source = pypandoc.convert_text(escape(text), "typst", format=READER, extra_args=["--wrap=none"])
        if index == len(HOSTILE):
            assert "#set page" not in source.replace("\\#set page", "")
            assert to_pdf(f"## {escape(text)}\n\n{escape(text)}\n", tmp_path).startswith(b"%PDF")


def test_the_html_is_one_file_that_fetches_nothing(folder: Path) -> None:
    html = (folder / "reports" / "report.html").read_text()
    page = parsed(html)
    assert not page.tags & FOREIGN
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert html.index("Content-Security-Policy") < html.index("<style>")
    assert "url(" not in html.split("</style>")[0]
    assert sum(address.startswith("data:image/svg+xml") for address in page.addresses) == 5
    for anchor in (address[1:] for address in page.addresses if address.startswith("#")):
        assert f'id="{anchor}"' in html


def test_the_report_shows_its_tier_and_counts(folder: Path) -> None:
    page = parsed((folder / "reports" / "report.html").read_text())
    runs = store_tables.read(folder / "tables", "runs")
    counts = runs[runs.study == "E1"].status.value_counts()
    text = re.sub(r"\s+", " ", page.text)
    assert "This report shows the tier quick: scikit-learn's 8x8 digits" in text
    assert f"180 {counts['ok']} {counts['diverged']} 0" in text
    for word in ("CC BY 4.0 (UCI)", "2.13.0", "plateau(factor=0.9995, window=3)", "How to reproduce"):
        assert word in text
    assert not re.search(r"\b[a-z]+_[a-z]+\b", text)  # no raw identifiers


def test_the_same_inputs_give_the_same_bytes_without_any_path(folder: Path, tmp_path: Path) -> None:
    second = again(folder, make_plan(), tmp_path / "elsewhere")
    for name in ("report.md", "report.html", "report.pdf"):
        content = (second / name).read_bytes()
        assert content == (folder / "reports" / name).read_bytes()
        assert str(tmp_path).encode() not in content
        assert b"bnbench-report-" not in content


def test_pages_of_the_pdf(folder: Path) -> None:
    pdf = (folder / "reports" / "report.pdf").read_bytes()
    pages = [int(count) for count in re.findall(rb"/Type\s*/Pages\b.*?/Count (\d+)", pdf, re.DOTALL)]
    assert 4 <= max(pages) <= 8
    assert pdf.count(b"/MediaBox[0 0 595.27") == max(pages)  # A4
    assert b"CreationDate" not in pdf


def test_identity_is_replaced(folder: Path, tmp_path: Path) -> None:
    again(folder, make_plan(), tmp_path)
    again(folder, make_plan(report_id="ff66"), tmp_path)
    assert [path.name for path in (tmp_path / "identity").iterdir()] == ["report-ff66.json"]


def test_a_missing_figure_is_named(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "reports", tmp_path, dirs_exist_ok=True)
    (tmp_path / "figures" / "E1" / "curves.svg").unlink()
    with pytest.raises(UserError, match=r"E1/curves\.svg: no such file; .* start snakemake"):
        write(as_record(make_plan()), folder / "tables", tmp_path / "figures", tmp_path)
    assert not list((tmp_path / "identity").glob("report-*"))


def test_few_cells_have_a_row_each(folder: Path) -> None:
    summary = store_tables.read(folder / "tables", "summary")
    found = result(summary[summary.study == "A1"])
    assert found.table.header == ["Norm", "Validation accuracy", "Test accuracy", "Test loss", "Seeds", "Diverged"]
    row = summary[(summary.study == "A1") & (summary.norm == "none")].iloc[0]
    half = 100 * (row.test_accuracy_high - row.test_accuracy_mean)
    assert found.table.rows[0][:3:2] == ["no norm", f"{100 * row.test_accuracy_mean:.1f} ± {half:.1f} %"]


def test_many_cells_have_a_column_per_norm(folder: Path) -> None:
    summary = store_tables.read(folder / "tables", "summary")
    cells = summary[summary.study == "E1"]
    assert len(cells) == 36
    found = result(cells)
    assert found.table.header == ["Model", "Learning rate", "Batch size", "No norm", "Batch norm"]
    assert [row[:3] for row in found.table.rows[:2]] == [[DENSE, "0.01", "4"], [DENSE, "0.01", "16"]]
    assert any("5 of 5 diverged" in row[3] for row in found.table.rows)


def test_of_very_many_cells_those_of_best_validation_accuracy_are_shown(folder: Path) -> None:
    summary = store_tables.read(folder / "tables", "summary")
    cells = summary[summary.study == "E1"]
    more = pd.concat([cells.assign(learning_rate=cells.learning_rate * factor) for factor in (1, 1.5, 1.7)])
    better = (more.learning_rate == 1.7) & (more.norm == "none")
    more = more.assign(valid_accuracy_mean=more.valid_accuracy_mean.mask(better, 0.99))
    found = result(more)
    assert len(found.table.rows) == 6 <= LONGEST
    assert [row[:2] for row in found.table.rows[:3]] == [[DENSE, "4"], [DENSE, "16"], [DENSE, "64"]]
    # some runs at 1.7 diverged and count as 0, except in the last cell
    diverged = more[better].sort_values(["model", "batch_size"]).n_diverged > 0
    assert diverged.tolist() == [True, True, True, True, True, False]
    assert ["learning rate 1.7" in row[2] for row in found.table.rows] == [False] * 5 + [True]
    assert found.selected == "learning rate"


def test_links_lead_to_the_runs_of_the_same_study_in_any_order_of_studies(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bnbench.tables.labels.natural", lambda name: -ord(name[0]))
    html = (again(folder, make_plan(), tmp_path) / "report.html").read_text()
    headings = dict(re.findall(r'id="(study-\d(?:-runs)?)"[^>]*>(?:<h\d[^>]*>)?([A-E]\d):', html))
    assert headings == {"study-1": "E1", "study-2": "A1", "study-1-runs": "E1", "study-2-runs": "A1"}


def test_the_runs_of_every_row_are_listed(folder: Path, tmp_path: Path) -> None:
    plan = make_plan()
    value = {"what": "A1 with batch norm", "y": "test_accuracy", "where": {"norm": "batch"}, "value": 0.98}
    plan["studies"]["A1"]["published"] = [value, value | {"what": "Absent", "where": {"dropout": 0.5}}]
    html = (again(folder, plan, tmp_path) / "report.html").read_text()
    assert html.count('<a href="#study-1-runs">') == 2
    lists = [re.findall(r"<tr.*?</tr>", part, re.DOTALL)[1:] for part in html.split("<details>")[1:]]
    found = [[dict(re.findall(r"(\d+):([0-9a-f]{10})", row)) for row in rows] for rows in lists]
    runs = store_tables.read(folder / "tables", "runs")
    for study, rows, texts in (("A1", found[0], lists[0]), ("E1", found[2], lists[2])):
        own = runs[runs.study == study]
        cells = own.groupby(["norm", "model", "batch_size", "learning_rate"])
        expected = [
            {str(seed): run_id[:10] for seed, run_id in zip(cell.seed, cell.run_id, strict=True)} for _, cell in cells
        ]
        assert sorted(rows, key=str) == sorted(expected, key=str)
        assert "".join(texts).count("(diverged)") == (own.status == "diverged").sum()
    assert found[1] == [row for row, text in zip(found[0], lists[0], strict=True) if "batch norm" in text]


def test_of_many_runs_only_the_table_is_named(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnbench.report.run_lists.LISTED", 10)
    text = (again(folder, make_plan(), tmp_path) / "report.md").read_text()
    assert '{.folded summary="10 runs"}' in text
    assert "180 runs, listed in `results/tables/runs.csv`." in text


def test_html_without_figures(tmp_path: Path) -> None:
    assert b"<h2" in to_html("## A {#a}\n", tmp_path)
