"""Each kind of claim on made-up runs with a known effect: found where it is there, refuted where it is the contrary."""

import math
import zlib
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bnbench.claims.kinds import JUDGES
from bnbench.claims.reductions import REDUCE
from bnbench.params.claims.schema import REDUCTIONS, TESTS
from tests.claims.made_up import Row, claim, judged, plan
from tests.support.store import Config

SEEDS = list(range(8))
AXES: dict[str, list[Any]] = {"norm": ["none", "batch"], "dropout": [0, 0.5], "seed": SEEDS}
BATCH, NONE = {"norm": "batch"}, {"norm": "none"}


def noise(config: Config, name: str = "") -> float:
    """Return a small number that depends on the run alone."""
    text = f"{name} {config['norm']} {config['dropout']:g} {config['learning_rate']:g} {config['seed']}"
    return float(np.random.default_rng(zlib.crc32(text.encode())).normal(0, 0.002))


def accuracy(config: Config) -> Row:
    """Return results with an effect of 0.05 of batch norm, of 0.03 of dropout without it, and a seed's own part."""
    gain = 0.05 * (config["norm"] == "batch") + 0.03 * (config["dropout"] > 0) * (config["norm"] == "none")
    value = 0.8 + gain + 0.01 * config["seed"] + noise(config)
    return {"test_accuracy": value, "valid_accuracy": value, "epochs": 10.0}


WHERE = {"dropout": 0}
KINDS: dict[str, tuple[Row, Row]] = {
    "difference": (
        claim(kind="difference", where=WHERE, more=BATCH, less=NONE),
        claim(kind="difference", where=WHERE, more=NONE, less=BATCH),
    ),
    "equivalence": (
        claim(kind="equivalence", where=BATCH, one={"dropout": 0}, other={"dropout": 0.5}),
        claim(kind="equivalence", where=NONE, one={"dropout": 0}, other={"dropout": 0.5}),
    ),
    "not_worse": (
        claim(kind="not_worse", where=BATCH, one={"dropout": 0}, other={"dropout": 0.5}),
        claim(kind="not_worse", where=NONE, one={"dropout": 0}, other={"dropout": 0.5}),
    ),
    "level": (
        claim(kind="level", where=BATCH | WHERE, side="at_least", value=0.85, smallest=0.02),
        claim(kind="level", where=BATCH | WHERE, side="at_most", value=0.8, smallest=0.02),
    ),
    "interaction": (
        claim(kind="interaction", more={"dropout": 0.5}, less={"dropout": 0}, gains=NONE, than=BATCH),
        claim(kind="interaction", more={"dropout": 0.5}, less={"dropout": 0}, gains=BATCH, than=NONE),
    ),
    "order": (
        claim(kind="order", ranks=[BATCH | WHERE, NONE | {"dropout": 0.5}, NONE | WHERE]),
        claim(kind="order", ranks=[BATCH | WHERE, NONE | WHERE, NONE | {"dropout": 0.5}]),
    ),
    "every": (
        claim(kind="every", parts=[claim(kind="difference", where=WHERE, more=BATCH, less=NONE)["test"]] * 2),
        claim(
            kind="every",
            parts=[
                claim(kind="difference", where=WHERE, more=BATCH, less=NONE)["test"],
                claim(kind="difference", where=BATCH, more={"dropout": 0.5}, less={"dropout": 0})["test"],
            ],
        ),
    ),
}


def test_the_schema_has_a_judge_for_each_kind_and_a_function_for_each_reduction() -> None:
    assert set(TESTS) == {*JUDGES, "every"}
    assert set(REDUCTIONS) == set(REDUCE)


@pytest.mark.parametrize("kind", KINDS)
def test_a_true_statement_is_reproduced_and_a_false_one_contradicted(kind: str) -> None:
    true, false = KINDS[kind]
    found = judged(plan({"E-c1": true, "E-c2": false}, AXES), accuracy)
    assert list(found["verdict"]) == ["reproduced", "contradicted"]


def test_effect_and_interval_are_those_of_paired_runs() -> None:
    found = judged(plan({"E-c1": KINDS["difference"][0]}, AXES), accuracy).loc["E-c1"]
    effects = [0.05 + noise({"norm": "batch", **rest}) - noise({"norm": "none", **rest}) for rest in
               ({"dropout": 0, "learning_rate": 0.1, "seed": seed} for seed in SEEDS)]  # fmt: skip
    assert found["effect"] == pytest.approx(np.mean(effects))
    assert found["ci_high"] - found["ci_low"] == pytest.approx(2 * 2.3646 * np.std(effects, ddof=1) / 8**0.5, rel=1e-4)


def test_a_diverged_run_counts_as_accuracy_0() -> None:
    def diverging(config: Config) -> Row:
        failed = config["norm"] == "batch" and config["seed"] == 3
        return {"status": "diverged", "test_accuracy": math.nan} if failed else accuracy(config)

    found = judged(plan({"E-c1": KINDS["difference"][0]}, AXES), diverging).loc["E-c1"]
    assert found["effect"] == pytest.approx(0.05 - 0.88 / 8, abs=0.002)
    assert (found["verdict"], found["runs_failed"]) == ("undecided", 1)


def test_an_arm_whose_runs_all_diverge_loses_and_a_claim_without_any_result_is_undecided() -> None:
    def diverging(config: Config) -> Row:
        return {"status": "diverged"} if config["norm"] == "none" else accuracy(config)

    loss = claim(kind="difference", y="test_loss", where=WHERE, more=NONE, less=BATCH)
    found = judged(
        plan({"E-c1": KINDS["difference"][0], "E-c2": loss, "E-c3": KINDS["interaction"][0]}, AXES),
        lambda config: diverging(config) | {"test_loss": 0.3},
    )
    assert list(found["verdict"]) == ["reproduced", "reproduced", "contradicted"]
    nothing = judged(plan({"E-c1": claim(kind="difference", y="epochs", where=WHERE, more=BATCH, less=NONE)}, AXES),
                     lambda _: {"status": "crashed"}).loc["E-c1"]  # fmt: skip
    assert nothing["verdict"] == "undecided"
    assert "a run failed" in nothing["reason"]


def curve(config: Config) -> dict[str, Any]:
    """Return a history in which batch norm reaches 0.9 after about 100 steps, none after about 200 or never."""
    steps = np.arange(10, 310, 10)
    speed = (100 if config["norm"] == "batch" else 200) * (1 + 20 * noise(config))
    reached = np.minimum(0.9 * steps / speed, 1.0)
    if config["norm"] == "none" and config["seed"] % 4 == 0:
        reached = np.minimum(reached, 0.85)
    return {"step": steps, "epoch": steps / 10.0, "valid_accuracy": reached}


def test_a_run_that_never_reaches_the_accuracy_is_censored_at_its_last_step() -> None:
    faster = claim(kind="faster", y="valid_accuracy", reach=0.9, fast=BATCH, slow=NONE, where=WHERE, smallest=0.1)
    contrary = claim(kind="faster", y="valid_accuracy", reach=0.9, fast=NONE, slow=BATCH, where=WHERE, smallest=0.1)
    found = judged(plan({"E-c1": faster, "E-c2": contrary}, AXES), accuracy, {"history": curve})
    assert list(found["verdict"]) == ["reproduced", "contradicted"]
    assert "did not reach" in str(found.loc["E-c1", "reason"])
    assert str(found.loc["E-c1", "observed"]).endswith("(6 of 8 runs)")


def test_the_wider_range_of_learning_rates_is_found_seed_by_seed() -> None:
    rates = [0.001, 0.01, 0.1, 1.0, 10.0]

    def sweep(config: Config) -> Row:
        usable = config["learning_rate"] <= (1.0 if config["norm"] == "batch" or config["seed"] == 0 else 0.1)
        return {"valid_accuracy": 0.95 if usable else 0.3, "status": "ok" if usable else "diverged"}

    axes: dict[str, list[Any]] = {"norm": ["none", "batch"], "learning_rate": rates, "seed": SEEDS}
    common = {"kind": "range", "x": "learning_rate", "y": "valid_accuracy", "within": 0.05, "smallest": 0.2}
    found = judged(plan({"E-c1": claim(wide=BATCH, narrow=NONE, **common)}, axes), sweep).loc["E-c1"]
    assert found["verdict"] == "reproduced"
    assert found["effect"] == pytest.approx(7 / 8)
    assert found["observed"] == "3 / 2.125"


def test_a_statement_about_each_value_of_a_setting_falls_with_one_of_them() -> None:
    each = claim(kind="difference", each="dropout", more=BATCH, less=NONE)
    found = judged(plan({"E-c1": each}, AXES), accuracy).loc["E-c1"]
    assert found["verdict"] == "reproduced"
    assert found["effect"] == pytest.approx(0.02, abs=0.002)  # that of dropout 0.5, the weakest


def test_a_spread_across_the_values_of_a_setting_is_one_number_per_seed() -> None:
    across = claim(kind="difference", across="dropout", reduce="spread", more=NONE, less=BATCH)
    found = judged(plan({"E-c1": across}, AXES), accuracy).loc["E-c1"]
    assert found["verdict"] == "reproduced"
    assert found["effect"] == pytest.approx(0.03, abs=0.003)


def test_rows_of_a_probe_are_picked_by_test_and_arm() -> None:
    def rows(config: Config) -> dict[str, Any]:
        values = [0.97 + noise(config, "a"), 0.1 + noise(config, "b")]
        return {"probe": "one_by_one", "quantity": ["whole", "single"], "item": [1, 1], "value": values}

    picked = claim(
        kind="difference", probe="one_by_one", y="accuracy", where=BATCH | WHERE, pick={"item": 1},
        more={"pick": {"quantity": "whole"}}, less={"pick": {"quantity": "single"}},
    )  # fmt: skip
    found = judged(plan({"E-c1": picked}, AXES), accuracy, {"probes": rows}).loc["E-c1"]
    assert found["verdict"] == "reproduced"
    assert found["effect"] == pytest.approx(0.87, abs=0.003)


def test_reductions_of_histograms_see_a_moving_mean_and_a_shift_between_parts() -> None:
    at = np.linspace(-3, 3, 61)

    def histogram(step: int, part: str, mean: float) -> pd.DataFrame:
        share = np.exp(-((at - mean) ** 2) / 2)
        return pd.DataFrame({"step": step, "part": part, "at": at, "value": share / share.sum()})

    still, moved = (pd.concat([histogram(step, "train", shift * step) for step in range(3)]) for shift in (0.0, 0.5))
    assert REDUCE["drift"](still) == pytest.approx(0, abs=1e-9)
    assert REDUCE["drift"](moved) > 0.3
    both = pd.concat([histogram(0, "train", 0.0), histogram(0, "valid", 0.5)])
    assert REDUCE["mismatch"](both) == pytest.approx(0.5, rel=0.05)
