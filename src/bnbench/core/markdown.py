"""Markdown for pandoc in which every text from a parameter file or data set appears literally."""

import re
from collections.abc import Iterable, Sequence

# Pandoc's Markdown without the extensions that a text could trigger: HTML, TeX, maths, citations, smart quotes.
READER = (
    "markdown-raw_html-raw_tex-raw_attribute-tex_math_dollars-latex_macros-citations-smart-example_lists"
    "-markdown_in_html_blocks-native_divs-native_spans-definition_lists-fancy_lists-auto_identifiers"
    "-pandoc_title_block-yaml_metadata_block"
)
# Punctuation that can mean something to Markdown. Dots and hyphens within words cannot (64-100-10, 0.1),
# nor can the dot after a word: only after a number it makes a list.
SPECIAL = re.compile(r"(?<=\w)[.-](?=\w)|(?<=[^\W\d])\.|([!#$&*+\-.:<>@\[-`{-~])")


def escape(text: str) -> str:
    """Return inline Markdown that shows a text literally, on one line."""
    text = "".join(character if character.isprintable() else " " for character in text)
    return SPECIAL.sub(lambda match: "\\" + match[1] if match[1] else match[0], " ".join(text.split()))


def strong(text: str) -> str:
    """Return Markdown that shows a text literally, in bold."""
    return f"**{escape(text)}**"


def heading(level: int, text: str, anchor: str) -> str:
    """Return a heading. `anchor` is not escaped, so it must not come from outside."""
    return f"{'#' * level} {escape(text)} {{#{anchor}}}"


def image(source: str, caption: str, anchor: str) -> str:
    """Return a figure. `caption` is Markdown already."""
    return f"![{' '.join(caption.split())}]({source}){{#{anchor}}}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], numbers: int = 0) -> str:
    """Return a table of literal texts, with the last `numbers` columns aligned to the right."""
    rules = [":--"] * (len(header) - numbers) + ["--:"] * numbers
    cells = [[escape(cell) for cell in row] for row in (header, *rows)]
    lines = [cells[0], rules, *cells[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def folded(summary: str, content: str) -> str:
    """Return Markdown that a reader can unfold. `summary` is not escaped, so it must not come from outside."""
    return f'::: {{.folded summary="{summary}"}}\n{content}\n:::'
