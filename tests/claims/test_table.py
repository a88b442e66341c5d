"""The table of claims: labels, works, noise, text; and its lines on the command line."""

import pandas as pd
import pytest

from bnbench.claims.listing import lines
from bnbench.claims.table import CLAIMS_TYPES
from tests.claims.made_up import claim, judged, plan
from tests.claims.test_kinds import AXES, BATCH, NONE, WHERE, accuracy

HELPS = claim(kind="difference", where=WHERE, more=BATCH, less=NONE, published=[0.9847, 0.984])


def test_runs_on_other_data_or_settings_than_the_claims_are_a_demonstration() -> None:
    elsewhere = HELPS | {"needs": {"dataset": ["mnist"]}}
    shorter = HELPS | {"needs": {"dataset": ["digits"], "epochs": [100]}}
    found = judged(plan({"E-c1": HELPS, "E-c2": elsewhere, "E-c3": shorter}, AXES), accuracy)
    assert list(found["label"]) == ["replication", "demonstration", "demonstration"]
    assert list(found["verdict"]) == ["reproduced", "holds", "holds"]


def test_the_columns_are_those_of_the_file_and_values_are_text_for_readers() -> None:
    found = judged(plan({"E-c1": HELPS}, AXES), accuracy)
    assert [found.index.name, *found.columns] == list(CLAIMS_TYPES)
    assert found.loc["E-c1", "published"] == "98.47 % / 98.40 %"
    assert str(found.loc["E-c1", "observed"]).count("%") == 2
    assert (found.loc["E-c1", "work"], found.loc["E-c1", "n"], found.loc["E-c1", "runs"]) == ("E", 8, 16)


def test_claims_stand_in_natural_order_and_a_study_of_ones_own_has_no_work() -> None:
    found = judged(plan({"c10": HELPS, "c2": HELPS}, AXES, work=None), accuracy)
    assert list(found.index) == ["c2", "c10"]
    assert found["work"].isna().all()


def test_a_work_of_many_claims_is_corrected_for_all_of_them() -> None:
    alone = judged(plan({"E-c1": HELPS}, AXES), accuracy).loc["E-c1", "p"]
    among = judged(plan({f"E-c{i}": HELPS for i in range(1, 5)}, AXES), accuracy).loc["E-c1", "p"]
    assert float(str(among)) == pytest.approx(4 * float(str(alone)))


def test_the_noise_of_the_test_set_is_stated_for_test_accuracies() -> None:
    counts = {"part": "test", "true_class": [0, 1], "predicted_class": [0, 1], "images": [180, 180], "share": 1.0}
    found = judged(plan({"E-c1": HELPS}, AXES), accuracy, {"confusion": lambda _: counts})
    assert found.loc["E-c1", "test_noise"] == pytest.approx(
        (0.8851 * 0.1149 / 360 + 0.8351 * 0.1649 / 360) ** 0.5, rel=0.02
    )


def test_the_lines_of_the_command_state_verdict_effect_interval_n_and_p() -> None:
    found = judged(plan({"E-c1": HELPS}, AXES), accuracy).reset_index()
    counts, verdict, numbers = lines(found)
    assert counts == "1 reproduced (replication)"
    assert verdict == "E-c1: reproduced: So it is."
    assert "test accuracy, n 8, p " in numbers
    assert list(lines(pd.DataFrame(columns=list(CLAIMS_TYPES)))) == ["no claims"]
