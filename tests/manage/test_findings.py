"""A finding from an error: the remedy is the error's last line, or the text after its last semicolon."""

import pytest

from bnbench.core.errors import UserError
from bnbench.manage.findings import Finding


@pytest.mark.parametrize(
    ("text", "what", "remedy"),
    [
        ("a.json was altered; delete it", "a.json was altered", "delete it"),
        ("a; b; delete it", "a; b", "delete it"),
        ("a.json: 1 error\n  key: wrong; missing\nDelete it", "a.json: 1 error\n  key: wrong; missing", "Delete it"),
        ("a.json cannot be read", "a.json cannot be read", "see above"),
    ],
)
def test_the_remedy_is_the_end_of_the_message(text: str, what: str, remedy: str) -> None:
    assert Finding.of(UserError(text)) == Finding(what, remedy)


def test_a_note_is_marked() -> None:
    assert str(Finding("a lock", "wait", note=True)) == "note: a lock\n  -> wait"
    assert str(Finding("a lock", "remove it")) == "a lock\n  -> remove it"
