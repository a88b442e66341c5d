"""A template prints escaped texts, numbers, tables and Markdown, and refuses everything else."""

import re
from importlib.resources import files

import pypandoc
import pytest
from jinja2 import DictLoader, UndefinedError

from bnbench.core.markdown import READER
from bnbench.report import template
from bnbench.report.template import Markdown, Picture, Table, printed, render

HOSTILE = "*x* | <b>y</b> `z` [a](b) {#c} ![d](e)"


@pytest.fixture
def _templates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Return the templates of this file, in the environment of the report's."""
    texts = {
        "text": "{{ text }}",
        "row": "| A |\n| :-- |\n{% for text in texts %}\n| {{ text }} |\n{% endfor %}\n",
        "lines": "\n\n# A {#a}\n\n\n\n<!-- a\n\nnote -->\n\nB\n\n\n",
        "unknown": "{{ nothing }}",
        "image": "{{ image(picture, 'a') }}",
    }
    environment = template._environment().overlay()
    environment.loader = DictLoader(texts)
    monkeypatch.setattr(template, "_environment", lambda: environment)


def html(markdown: str) -> str:
    return str(pypandoc.convert_text(markdown, "html5", format=READER, extra_args=["--wrap=none"]))


@pytest.mark.usefixtures("_templates")
def test_a_text_from_outside_appears_literally_in_a_sentence_and_in_a_table() -> None:
    shown = "*x* | &lt;b&gt;y&lt;/b&gt; `z` [a](b) {#c} ![d](e)"
    assert html(render("text", {"text": HOSTILE})).strip() == f"<p>{shown}</p>"
    assert re.findall("<td.*?>(.*)</td>", html(render("row", {"texts": [HOSTILE, "a"]}))) == [shown, "a"]


@pytest.mark.usefixtures("_templates")
def test_markdown_is_printed_as_it_is() -> None:
    assert render("text", {"text": Markdown("**bold**")}) == "**bold**\n"
    picture = Picture("figures/a_b.svg", Markdown("**A**"))
    assert render("image", {"picture": picture}) == "![**A**](figures/a_b.svg){#a}\n"


@pytest.mark.usefixtures("_templates")
def test_empty_lines_and_comments_change_nothing() -> None:
    assert render("lines", {}) == "# A {#a}\n\nB\n"


@pytest.mark.usefixtures("_templates")
def test_an_unknown_variable_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="'nothing' is undefined"):
        render("unknown", {})


def test_numbers_and_tables_have_one_form_and_other_values_none() -> None:
    assert printed(12345) == "12,345"
    assert printed(Table(["A", "B"], [["*", "1"]], numbers=1)) == "| A | B |\n| :-- | --: |\n| \\* | 1 |"
    with pytest.raises(TypeError, match="cannot print None"):
        printed(None)


def test_each_heading_of_the_report_has_an_anchor_of_its_own() -> None:
    text = (files("bnbench.report") / "assets" / "report.md.j2").read_text(encoding="utf-8")
    anchors = re.findall(r"^#+ .*\{#(.*)\}$", text, re.MULTILINE)
    assert len(anchors) == len(re.findall(r"^#+ ", text, re.MULTILINE)) == len(set(anchors))
