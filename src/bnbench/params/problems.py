"""Violations of the rules of a parameter file, and the one function that turns them into an error message.

Checks are pure: they yield problems with the key at fault and know neither files nor line numbers.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from bnbench.core.errors import UserError
from bnbench.core.yaml_reader import Document, Key

MAX_SHOWN = 200  # lines of one message


@dataclass(frozen=True)
class Problem:
    """A violated rule: the key at fault; the rule, the value seen and a remedy in one sentence."""

    key: Key
    text: str


def refuse(document: Document, problems: Iterable[Problem]) -> None:
    """Raise an error if there are problems; return if there are none.

    Raises:
        UserError: at least one problem; the message is that of `listed`.
    """
    if lines := listed(document, problems):
        raise UserError(lines)


def listed(document: Document, problems: Iterable[Problem], further: int = 0) -> str:
    """Return one line per problem: `file:line: key: text`.

    Args:
        document: the file that was checked; it knows the path and line number of each key.
        problems: the violations. Equal ones (of many runs of a grid, say) are listed once.
        further: violations that are counted in the last line but not listed.
    """
    lines = list(dict.fromkeys(f"{document.where(problem.key)}: {problem.text}" for problem in problems))
    if further := further + len(lines[MAX_SHOWN:]):
        lines[MAX_SHOWN:] = [f"... and {further} more"]
    return "\n".join(lines)


def nearest(word: str, allowed: list[str]) -> str:
    """Return `; did you mean ...?` with the closest allowed word, or an empty text if none is close."""
    close = difflib.get_close_matches(word, allowed, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
