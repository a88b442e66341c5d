"""Names in figures and published values are refused where nothing has that name."""

from typing import Any

import pytest

from bnbench.params.study_rules import of_figure, of_published
from bnbench.params.study_schema import Figure, Published

KEY = ("studies", "S", "figures", "f")
SWEEP: dict[str, Any] = {"kind": "sweep", "title": "T", "y": "test_accuracy", "x": "learning_rate"}
PUBLISHED: dict[str, Any] = {"what": "accuracy", "value": 0.9, "y": "test_accuracy"}

FIGURES: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "nothing wrong": ({}, {}),
    "two names missing": (
        {"kind": "heatmap", "x": None},
        {"x": "needs x, as `x: learning_rate`", "against": "needs against, as `against: batch_size`"},
    ),
    "no such setting": ({"hue": "nrom"}, {"hue": "'nrom' is no setting of a run; known are dataset, "}),
    "curves over a setting": ({"kind": "curves"}, {"x": "'learning_rate' is no setting of a run; known are epoch, "}),
    "a column of probes": ({"probe": "drift", "hue": "layer"}, {}),
    "the same without a probe": ({"hue": "layer"}, {"hue": "'layer' is no setting"}),
    "a usable range of seeds": ({"within": 0.1, "x": "seed"}, {"within": "within is for sweeps with x: learning_rate"}),
    "no such probe": ({"probe": "drfit"}, {"probe": "(recorded: drift); add it to `probes` of the study's base; did"}),
    "no such column": ({"y": ["test_accuracy", "acc"]}, {"y": "'acc' is not measured; known are train_loss, "}),
}


@pytest.mark.parametrize(("changes", "expected"), FIGURES.values(), ids=FIGURES)
def test_each_wrong_name_of_a_figure_is_a_problem_at_its_key(changes: dict[str, Any], expected: dict[str, str]) -> None:
    found = {problem.key: problem.text for problem in of_figure(KEY, Figure(**SWEEP | changes), {"drift"})}
    assert list(found) == [(*KEY, name) for name in expected]
    for name, text in expected.items():
        assert text in found[*KEY, name]


VALUES: dict[str, tuple[dict[str, Any], dict[tuple[str, ...], str]]] = {
    "nothing wrong": ({}, {}),
    "half a usable range": ({"x": "learning_rate"}, {(): "needs both x and within", ("value",): "has two ends"}),
    "ends in the wrong order": (
        {"x": "learning_rate", "within": 0.01, "value": [0.5, 0.1]},
        {("value",): "the lower one first, and no `by`, as `value: [5e-6, 5e-2]`; got [0.5, 0.1]"},
    ),
    "no such column": ({"y": "acuracy"}, {("y",): "'acuracy' is not measured"}),
}


@pytest.mark.parametrize(("changes", "expected"), VALUES.values(), ids=VALUES)
def test_each_fault_of_a_published_value_is_a_problem_at_its_key(
    changes: dict[str, Any], expected: dict[tuple[str, ...], str]
) -> None:
    key = ("studies", "S", "published", 0)
    found = {problem.key: problem.text for problem in of_published(key, Published(**PUBLISHED | changes), set())}
    assert list(found) == [(*key, *rest) for rest in expected]
    for rest, text in expected.items():
        assert text in found[*key, *rest]
