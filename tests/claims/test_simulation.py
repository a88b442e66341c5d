"""Error rates and power of verdicts, by simulation: 400 works of each kind of claim, with 3, 5 and 10 seeds."""

import math

import pytest

from bnbench.claims.judge import ALPHA
from tests.claims.simulation import KINDS, REPETITIONS, SEEDS, rates

pytestmark = pytest.mark.slow
NOISE = 3 * math.sqrt(ALPHA * (1 - ALPHA) / REPETITIONS)  # of a rate of 5 %, three standard deviations


@pytest.mark.parametrize("n", SEEDS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_work_has_a_false_verdict_as_rarely_as_stated_and_effects_are_found_as_often(kind: str, n: int) -> None:
    found = rates(kind, n)
    assert found.reproduced <= ALPHA + NOISE
    assert found.contradicted <= ALPHA + NOISE
    if not math.isnan(found.power):
        assert found.found == pytest.approx(found.power, abs=0.1)
