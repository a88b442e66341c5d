"""The demo accepts as strokes from the page a bounded list of finite points, and nothing else."""

import math
from typing import Any

import pytest

from bnbench.demo.ink import FARTHEST, MOST_POINTS, drawn, strokes_of
from tests.support.strokes import DIGITS

BAD: list[Any] = [
    *(None, [], "strokes", {}, {"strokes": None}, {"strokes": "text"}, {"strokes": {}}, {"strokes": [[]]}),
    *({"strokes": [[[math.nan, 0.5]]]}, {"strokes": [[[math.inf, 0.5]]]}, {"strokes": [[[-math.inf, 0.5]]]}),
    *({"strokes": [[[1e300, 0.5]]]}, {"strokes": [[[10**400, 0.5]]]}, {"strokes": [[["0", "1"]]]}),
    *({"strokes": [[[0.5]]]}, {"strokes": [[[0.1, 0.2, 0.3]]]}, {"strokes": [[0.1, 0.2]]}, {"strokes": [[[True, 0]]]}),
    {"strokes": [[[0.1, 0.2]], [[0.1, 0.2]] * MOST_POINTS]},
]


@pytest.mark.parametrize("sent", BAD, ids=range(len(BAD)))
def test_what_is_no_drawing_is_refused_with_a_reason(sent: Any) -> None:
    with pytest.raises(ValueError, match=r"list of strokes|points; at most|two numbers from -100 to 100"):
        strokes_of(sent)


def test_every_drawing_within_bounds_can_be_drawn() -> None:
    corner = [[-FARTHEST, -FARTHEST], [FARTHEST, FARTHEST]]
    for strokes in ([corner], [[[0, 0]]], [[[1e-300, 0.0], [-1e-300, 0.0]]], [corner * 100]):
        assert drawn(strokes_of({"strokes": strokes})).any()
    assert strokes_of({"strokes": []}) == []
    for digit in DIGITS:
        sent: Any = [[list(point) for point in stroke] for stroke in digit]
        assert strokes_of({"strokes": sent}) == sent
