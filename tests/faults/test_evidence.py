"""Captions count each run once, ignore rounding differences, and clip intervals to the possible range."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bnbench.figures.figure_kind import plot_data
from bnbench.figures.source import Source
from bnbench.figures.usable_range import usable_ranges
from bnbench.params.study_schema import Figure, Published
from bnbench.report.published import compare, observed
from bnbench.report.result_tables import mean_of
from bnbench.tables.collect import collect
from bnbench.tables.summary import aggregate
from tests.support.plots import described, drawn, plotted
from tests.support.store import as_record, fill_store, make_plan

DUST = float(np.nextafter(0.1, 1))  # the next representable number above 0.1


def figure(**options: Any) -> Figure:
    return Figure.model_validate({"title": "A figure"} | options)


def frame(columns: dict[str, list[Any]], means: list[float], half: float | list[float] = 0.01) -> pd.DataFrame:
    """Return points of all combinations of some columns, with means, intervals and five runs each."""
    points = pd.DataFrame(itertools.product(*columns.values()), columns=list(columns))
    mean, halves = np.asarray(means), np.asarray(half)
    return points.assign(mean=mean, low=mean - halves, high=mean + halves, n=5, n_diverged=0, n_other=0)


def caption(points: pd.DataFrame, options: Figure) -> str:
    """Return a figure's caption without Markdown's backslashes."""
    return described(plotted(points, options))


def test_squares_of_a_heat_map_are_not_runs() -> None:
    points = frame({"layer": list(range(11)), "step": list(range(10)), "norm": ["none", "batch"]}, [0.5] * 220)
    wanted = figure(kind="heatmap", probe="gradients", y="gradient", x="step", against="layer", col="norm")
    assert "None of the 10 runs diverged or failed." in caption(points, wanted)
    points.loc[points.norm == "none", ["n", "n_diverged"]] = 3, 2
    assert "2 of 10 runs diverged and are in no mean. A cross" in caption(points, wanted)


def test_lines_of_one_run_are_not_runs() -> None:
    points = frame({"step": [1, 2, 3], "layer": [0, 1, 2]}, [0.5] * 9)
    points = points.assign(n=3, n_diverged=2)
    wanted = figure(kind="curves", probe="gradients", y="gradient", x="step", hue="layer")
    assert "2 of 5 runs diverged and are in no mean." in caption(points, wanted)
    assert drawn(plotted(points, wanted)).axes[0].get_title() == "2 of 5 diverged"


def test_a_run_that_left_early_is_still_counted() -> None:
    points = frame({"step": [1, 2], "layer": [0]}, [0.5] * 2)
    points = points.assign(n=3, n_diverged=[2, 0])
    wanted = figure(kind="curves", probe="gradients", y="gradient", x="step", hue="layer")
    assert "2 of 5 runs diverged" in caption(points, wanted)


def compared(none: list[float], batch: list[float], half: list[float]) -> str:
    columns = {"norm": ["none", "batch"], "learning_rate": [0.1 * 2**place for place in range(len(none))]}
    points = frame(columns, [*none, *batch], half)
    return caption(points, figure(kind="sweep", x="learning_rate", y="test_accuracy", hue="norm"))


def test_means_that_differ_by_rounding_are_equal() -> None:
    said = compared([0.5, 0.6, 0.1], [0.9, 0.9, DUST], [0.01, 0.01, 0.0] * 2)
    assert (
        "The mean for batch norm is higher than for no norm at 2 of 3 points (2 with non-overlapping intervals)" in said
    )
    assert "intervals), equal at 1." in said


def test_equal_seeds_are_no_evidence() -> None:
    said = compared([0.1, 0.1], [0.9, 0.9], [0.0, 0.01, 0.01, 0.01])
    assert "higher than for no norm at 2 of 2 points (1 with non-overlapping intervals)" in said


@pytest.mark.parametrize(
    ("none", "batch", "text"),
    [
        (0.5, 0.9, "The mean for batch norm is higher than for no norm, with non-overlapping intervals."),
        (0.895, 0.9, "The mean for batch norm is higher than for no norm."),
        (0.95, 0.9, "The mean for batch norm is lower than for no norm, with non-overlapping intervals."),
        (0.1, DUST, "The mean for batch norm is equal to that for no norm."),
    ],
)
def test_one_place_is_not_counted(none: float, batch: float, text: str) -> None:
    said = compared([none], [batch], [0.01, 0.01])
    assert text in said
    assert "of 1 points" not in said


def test_intervals_against_batch_norm_have_a_width() -> None:
    points = frame({"norm": ["none", "batch", "group"]}, [0.1, 0.9, 0.5], [0.0, 0.01, 0.01])
    said = caption(points, figure(kind="sweep", x="norm", y="test_accuracy"))
    assert "(intervals, compared with that of batch norm: group norm entirely below)" in said


def test_of_equal_bests_the_first_is_named_and_the_others_counted() -> None:
    points = frame({"norm": ["batch"], "learning_rate": [0.1, 1.0, 10.0]}, [0.1, DUST, 0.05])
    wanted = figure(kind="sweep", x="learning_rate", y="test_accuracy", hue="norm", within=0.01)
    assert "batch norm 10.0 % (learning rate 0.1, and the same at 1 more)" in caption(points, wanted)
    assert usable_ranges(plotted(points, wanted))["at"].tolist() == [0.1]


@pytest.mark.parametrize(
    ("name", "values", "low", "high"),
    [
        ("test_accuracy", [1.0, 0.9], 0.0, 1.0),
        ("test_accuracy", [0.0, 0.1], 0.0, 1.0),
        ("train_loss", [0.0, 0.1], 0.0, np.inf),
        ("share", [0.0, 1.0], 0.0, 1.0),
        ("generalisation_gap", [-1.0, 1.0], -1.0, 1.0),
        ("value", [-3.0, 9.0], -np.inf, np.inf),
    ],
)
def test_no_interval_is_beyond_what_is_possible(name: str, values: list[float], low: float, high: float) -> None:
    rows = pd.DataFrame({"norm": "batch", "status": "ok", name: values})
    found = aggregate(rows, ["norm"], [name]).iloc[0]
    half = 12.706204736 * abs(values[0] - values[1]) / 2
    mean = sum(values) / 2
    assert found[f"{name}_low"] == pytest.approx(max(mean - half, low))
    assert found[f"{name}_high"] == pytest.approx(min(mean + half, high))


@pytest.fixture(scope="module")
def near(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Return a study's tables of runs with accuracies near 1, whose intervals would exceed 1."""
    folder = tmp_path_factory.mktemp("near")
    plan = make_plan()
    fill_store(plan, folder / "runs")
    collect(as_record(plan), folder / "runs", folder / "tables")
    source = Source.read(folder / "tables", as_record(plan), "A1")
    values = 1 - (source.runs["seed"] == 4) / 10
    return replace(source, runs=source.runs.assign(test_accuracy=values.where(source.runs["status"] == "ok")))


def test_a_clipped_interval_is_written_whole_wherever_it_stands(near: Source) -> None:
    source = near
    wanted = figure(kind="sweep", x="norm", y="test_accuracy")
    plot = plot_data(source, wanted)
    assert plot.points["high"].tolist() == [1.0, 1.0]
    assert "batch norm 98.0 % (92.4 to 100.0 %)" in described(plot)
    asked = Published.model_validate({"what": "Accuracy", "value": 0.9, "where": {"norm": "batch"}})
    assert "98.00 % (92.45 to 100.00 %)" in compare([asked], source).values[0]
    cell = pd.Series({"test_accuracy_mean": 0.98, "test_accuracy_low": 0.92447, "test_accuracy_high": 1.0})
    assert mean_of("test_accuracy")(cell) == "98.0 % (92.4 to 100.0 %)"


def test_rows_of_a_probe_are_not_seeds(near: Source) -> None:
    source = near
    ids = list(source.runs["run_id"])
    rows = [
        {"run_id": run, "probe": "neurons", "item": item, "value": float(item)} for run in ids for item in range(10)
    ]
    asked = Published.model_validate({"what": "Values", "value": 4.5, "y": "value", "probe": "neurons"})
    found = observed(Source(source.runs, source.history, pd.DataFrame(rows), source.configs, source.shapes), asked, [])
    assert found is not None
    assert found["n"].tolist() == [len(ids)]
    assert found["mean"].tolist() == [4.5]
    assert found["high"].tolist() == [4.5]


def test_a_band_of_curves_stays_within_limits(near: Source) -> None:
    source = near
    seeds = source.history["run_id"].map(source.runs.set_index("run_id")["seed"])
    high = source.history.assign(valid_accuracy=1 - (seeds == 4) / 10)
    plot = plot_data(replace(source, history=high), figure(kind="curves", y="valid_accuracy", hue="norm"))
    assert plot.points["high"].max() == 1.0
