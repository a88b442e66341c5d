"""The keys of figures: each kind refuses a figure without a key that it needs, or with one that it would ignore."""

from pathlib import Path

import pytest

from bnbench.params.figure_kinds import KINDS
from bnbench.params.resolve import resolve
from bnbench.params.study_schema import Figure
from tests.support.parameters import refusal, toy

VALUES = {
    "y": "test_accuracy",
    "x": "learning_rate",
    "against": "norm",
    "hue": "norm",
    "col": "norm",
    "row": "norm",
    "log": "true",
    "low": "0.5",
    "within": "0.05",
    "probe": "classes",
    "pick": "{part: test}",
}
OLD = """        kind: sweep
        title: A figure
        x: learning_rate
        y: test_accuracy
        hue: norm
"""


def figure(folder: Path, kind: str, keys: set[str]) -> Path:
    values = VALUES | ({"x": "epoch"} if KINDS[kind].time else {})
    lines = "".join(f"        {key}: {values[key]}\n" for key in sorted(keys))
    return toy(folder, (OLD, f"        kind: {kind}\n        title: A figure\n{lines}"))


def test_every_key_of_a_figure_is_some_kinds() -> None:
    assert set(VALUES) | {"kind", "title", "where"} == set(Figure.model_fields)
    assert frozenset().union(*(kind.keys for kind in KINDS.values())) == set(Figure.model_fields)


@pytest.mark.parametrize("kind", KINDS)
def test_a_figure_with_the_keys_of_its_kind_is_taken(tmp_path: Path, kind: str) -> None:
    keys = KINDS[kind].keys & VALUES.keys()
    (study,) = resolve(figure(tmp_path, kind, set(keys))).studies
    assert study.study.figures["f"].kind == kind


@pytest.mark.parametrize(("kind", "key"), [(kind, key) for kind in KINDS for key in KINDS[kind].needs])
def test_a_key_that_a_kind_needs_is_asked_for(tmp_path: Path, kind: str, key: str) -> None:
    path = figure(tmp_path, kind, set(KINDS[kind].needs) - {key})
    assert f"a figure of kind {kind} needs {key}" in refusal(path)


@pytest.mark.parametrize(
    ("kind", "key"), [(kind, key) for kind in KINDS for key in sorted(VALUES.keys() - KINDS[kind].keys)]
)
def test_a_key_that_a_kind_would_ignore_is_refused(tmp_path: Path, kind: str, key: str) -> None:
    problem = refusal(figure(tmp_path, kind, {*KINDS[kind].needs, key}))
    assert f"studies.S.figures.f.{key}" in problem
    assert f"a figure of kind {kind} has no {key}" in problem or "within is for sweeps" in problem


def test_only_curves_show_several_measures(tmp_path: Path) -> None:
    path = toy(tmp_path, ("y: test_accuracy", "y: [test_accuracy, valid_accuracy]"))
    assert "a figure of kind sweep shows one measure" in refusal(path)
