"""The project's own claims: 45 statements of five works, each of which the runs of every tier can test."""

from collections import Counter
from typing import get_args

import pytest

from bnbench.params.claims import selection
from bnbench.params.claims.schema import SEEDS
from bnbench.params.fields import Tier
from bnbench.params.resolve import Resolved, resolve
from tests.support.parameters import PARAMS

CLAIMS = {"A": 8, "B": 4, "C": 13, "D": 5, "E": 15}


@pytest.fixture(scope="module", params=get_args(Tier))
def resolved(request: pytest.FixtureRequest) -> Resolved:
    return resolve(PARAMS, request.param)


def test_each_work_has_all_of_its_claims_in_every_tier(resolved: Resolved) -> None:
    found = Counter(claim.partition("-")[0] for study in resolved.studies for claim in study.study.claims)
    assert found == CLAIMS
    assert set(resolved.works) == set(CLAIMS)
    for study in resolved.studies:
        assert {claim.partition("-")[0] for claim in study.study.claims} <= {study.study.work}


def test_each_cell_of_each_claim_has_runs_of_two_seeds_in_every_tier(resolved: Resolved) -> None:
    runs = {
        study.name: {str(number): selection.features(run) for number, run in enumerate(study.runs)}
        for study in resolved.studies
    }
    for study in resolved.studies:
        for claim, definition in study.study.claims.items():
            for contrast in definition.parts:
                for _, stratum in selection.strata(contrast, runs[contrast.study or study.name]):
                    assert len(selection.seeds(contrast, stratum)) >= SEEDS, claim


def test_the_full_tier_replicates_every_claim(resolved: Resolved) -> None:
    if resolved.tier != "full":
        return
    runs = {study.name: [selection.features(run) for run in study.runs] for study in resolved.studies}
    for study in resolved.studies:
        for claim, definition in study.study.claims.items():
            needs = definition.needs.model_dump(exclude_unset=True)
            for contrast in definition.parts:
                of_arms = [arm for filters in selection.cells(contrast).values() for arm in filters]
                for run in runs[contrast.study or study.name]:
                    compared = selection.matches(run, contrast.where) and (
                        not of_arms or any(selection.matches(run, arm) for arm in of_arms)
                    )
                    assert not compared or all(run[name] in values for name, values in needs.items()), claim
