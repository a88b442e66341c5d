"""Markdown templates in which every printed value is escaped, unless it is Markdown already.

A writer edits `assets/report.md.j2`: headings, sentences and their order. Titles and questions come from
`params.yaml`, so no template can forget to escape them.
"""

import re
from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Undefined

from bnbench.core import markdown
from bnbench.tables import labels


class Markdown(str):
    """Text that is Markdown already, such as a figure's caption; printed as it is."""


@dataclass(frozen=True)
class Table:
    """Texts of a table; the last `numbers` columns are aligned to the right."""

    header: list[str]
    rows: list[list[str]]
    numbers: int = 0


@dataclass(frozen=True)
class Picture:
    """A figure's image, relative to the report, and its caption."""

    source: str
    caption: Markdown


def render(name: str, values: dict[str, object]) -> str:
    """Return the Markdown of a template; successive empty lines are joined to one.

    Args:
        name: of a file in `assets/`.
        values: the template's variables; an unknown variable is an error.
    """
    text = _environment().get_template(name).render(values)
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n") + "\n"


@cache
def _environment() -> Environment:
    """Return the environment of the templates; comments are `<!-- -->`, because `{#` starts an anchor in Markdown."""
    environment = Environment(
        loader=PackageLoader("bnbench.report", "assets"),
        comment_start_string="<!--",
        comment_end_string="-->",
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=printed,
        autoescape=False,  # of HTML, which pandoc writes later
    )
    environment.globals["image"] = lambda picture, anchor: Markdown(
        markdown.image(picture.source, picture.caption, anchor)
    )
    return environment


def printed(value: object) -> str:
    """Return what `{{ value }}` prints: escaped text, a number with thousands separators, or a Markdown table.

    Raises:
        UndefinedError: the template names a variable that does not exist.
        TypeError: the value has no form for readers, such as None.
    """
    match value:
        case Markdown():
            return value
        case str():
            return markdown.escape(value)
        case Undefined():
            return str(value)  # raises, with the variable's name
        case Table():
            return markdown.table(value.header, value.rows, value.numbers)
        case int() | float():
            return markdown.escape(labels.number(value))
        case _:
            raise TypeError(f"a report cannot print {value!r}")
