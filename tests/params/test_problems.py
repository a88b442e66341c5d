"""Problems of a parameter file as the lines of one error message."""

from pathlib import Path

import pytest

from bnbench.core.errors import UserError
from bnbench.core.yaml_reader import Document
from bnbench.params.problems import MAX_SHOWN, Problem, listed, nearest, refuse

DOCUMENT = Document(Path("p.yaml"), {"a": {"b": 1}}, {("a",): 3, ("a", "b"): 4})


def test_a_problem_is_a_line_with_file_line_and_key() -> None:
    assert listed(DOCUMENT, [Problem(("a", "b"), "too large"), Problem(("a", "c"), "missing")]).splitlines() == [
        "p.yaml:4: a.b: too large",
        "p.yaml:3: a.c: missing",
    ]


def test_equal_problems_are_listed_once_and_without_a_problem_nothing_is_refused() -> None:
    with pytest.raises(UserError, match=r"^p\.yaml:4: a\.b: too large$"):
        refuse(DOCUMENT, [Problem(("a", "b"), "too large")] * 3)
    refuse(DOCUMENT, [])


@pytest.mark.parametrize("further", [0, 7])
def test_of_many_problems_the_first_are_listed_and_the_others_counted(further: int) -> None:
    lines = listed(DOCUMENT, (Problem(("a",), str(i)) for i in range(MAX_SHOWN + 5)), further).splitlines()
    assert lines[:-1] == [f"p.yaml:3: a: {i}" for i in range(MAX_SHOWN)]
    assert lines[-1] == f"... and {5 + further} more"


def test_the_nearest_allowed_word_is_suggested() -> None:
    assert nearest("bacth", ["none", "batch"]) == "; did you mean 'batch'?"
    assert nearest("x", ["none", "batch"]) == ""
