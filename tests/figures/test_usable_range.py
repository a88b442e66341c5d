"""The usable range of a setting, compared with an exhaustive search over all ranges."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bnbench.figures.source import Source
from bnbench.figures.usable_range import range_text, table_rows, usable_ranges
from bnbench.params.study_schema import Figure, Published
from bnbench.report import published
from bnbench.tables import labels
from bnbench.tables.collect import collect
from tests.support.parameters import refusal, toy
from tests.support.plots import described, drawn, plotted
from tests.support.store import as_record, fill_store, make_plan

RATES = [1e-4, 1e-3, 1e-2, 1e-1, 1.0]


def options(**changes: Any) -> Figure:
    wanted = {"kind": "sweep", "title": "T", "x": "learning_rate", "y": "test_accuracy", "hue": "norm", "within": 0.05}
    return Figure.model_validate(wanted | changes)


def line(means: list[float], lost: list[int], norm: str = "batch") -> pd.DataFrame:
    """Return the points of three runs per learning rate, of which `lost` diverged."""
    counts = {"n": [3 - bad for bad in lost], "n_diverged": lost, "n_other": 0}
    columns = {"learning_rate": RATES[: len(means)], "norm": norm, "mean": means, **counts}
    return pd.DataFrame(columns).assign(low=lambda frame: frame["mean"] - 0.01, high=lambda frame: frame["mean"] + 0.01)


def searched(means: list[float], lost: list[int], within: float) -> set[tuple[float, float]]:
    """Return the longest ranges that have a best value, only means near it, and no failure, by exhaustive search."""
    sound = [mean for mean, bad in zip(means, lost, strict=True) if not bad]
    if not sound:
        return set()
    ends = itertools.combinations_with_replacement(range(len(means)), 2)
    fit = []
    for low, high in ends:
        part, bad = means[low : high + 1], lost[low : high + 1]
        if not any(bad) and max(part) == max(sound) and min(part) >= max(sound) - within - 1e-9:
            fit.append((low, high))
    longest = max(high - low for low, high in fit)
    return {(RATES[low], RATES[high]) for low, high in fit if high - low == longest}


def test_the_usable_range_is_the_longest_of_all_ranges_around_the_best() -> None:
    dice = np.random.default_rng(0)
    for _ in range(200):
        means = [round(float(mean), 3) for mean in dice.uniform(0.8, 0.95, 5)]
        lost = [int(bad) for bad in dice.choice([0, 0, 0, 1, 3], 5)]
        found = usable_ranges(plotted(line(means, lost), options())).iloc[0]
        wanted = searched(means, lost, 0.05)
        if not wanted:
            assert pd.isna(found["best"])
            continue
        assert (found["low"], found["high"]) in wanted
        assert found["decades"] == pytest.approx(np.log10(found["high"]) - np.log10(found["low"]))
        assert found["open_low"] == (found["low"] == RATES[0])
        assert found["open_high"] == (found["high"] == RATES[-1])


def test_of_a_loss_the_usable_range_is_around_the_lowest() -> None:
    found = usable_ranges(plotted(line([2.0, 0.5, 0.4, 0.44, 3.0], [0] * 5), options(y="test_loss"))).iloc[0]
    assert (found["best"], found["at"], found["low"], found["high"]) == (0.4, 1e-2, 1e-2, 1e-1)


def test_a_range_states_where_the_grid_cuts_it_off() -> None:
    texts = {
        "0.0001 or less to 0.01 (2.0 decades)": ([0.9, 0.91, 0.92, 0.5, 0.1], [0, 0, 0, 0, 0]),
        "0.01 to 1 or more (2.0 decades)": ([0.5, 0.6, 0.9, 0.9, 0.9], [0, 0, 0, 0, 0]),
        "0.001 to 0.01 (1.0 decades)": ([0.5, 0.9, 0.9, 0.9, 0.9], [0, 0, 0, 1, 0]),
        "none, because some run failed at each value": ([0.5] * 5, [1, 1, 2, 1, 1]),
    }
    for text, (means, lost) in texts.items():
        assert range_text(usable_ranges(plotted(line(means, lost), options())).iloc[0]) == text


def test_figure_caption_and_table_have_the_same_range() -> None:
    wide = line([0.9, 0.91, 0.92, 0.9, 0.1], [0] * 5)
    narrow = line([0.5, 0.85, 0.5, 0.1, 0.1], [0, 0, 0, 2, 3], "none")
    plot = plotted(pd.concat([narrow, wide], ignore_index=True), options())
    (ax,) = drawn(plot).axes
    bars = [tuple(map(float, bar.get_xdata())) for bar in ax.lines if bar.get_linewidth() == 3]  # type: ignore[arg-type]
    assert bars == [(1e-3, 1e-3), (1e-4, 1e-1)]
    top = ax.transAxes.inverted()
    heights = [
        top.transform(bar.get_transform().transform(bar.get_xydata()))[0, 1]
        for bar in ax.lines
        if bar.get_linewidth() == 3
    ]
    data = ax.transAxes.inverted().transform(ax.transData.transform([(1e-2, 0.93)]))[0, 1]
    assert data < min(heights) < max(heights) <= 1
    said_there = described(plot)
    assert "No norm: 0.001 to 0.001 (0.0 decades); batch norm: 0.0001 or less to 0.1 (3.0 decades)" in said_there
    assert "at most 5 points from the line's best" in said_there
    assert "Widest first: batch norm at least 3.0 decades, no norm 0.0 decades." in said_there
    _, rows = table_rows(plot)
    assert [row[-1] for row in rows] == ["0.001 to 0.001 (0.0 decades)", "0.0001 or less to 0.1 (3.0 decades)"]
    assert [row[1:3] for row in rows] == [["85.0 %", "0.001"], ["92.0 %", "0.01"]]


def test_a_published_range_is_compared_with_ours(tmp_path: Path) -> None:
    plan = make_plan()
    fill_store(plan, tmp_path / "runs")
    collect(as_record(plan), tmp_path / "runs", tmp_path / "tables")
    source = Source.read(tmp_path / "tables", as_record(plan), "E1")
    where = {"norm": "batch", "batch_size": 16, "model": "64-100-100-10"}
    value = {"what": "Rates", "y": "test_accuracy", "x": "learning_rate", "within": 0.5, "value": [1e-3, 1e-1]}
    values = [value | {"where": where}, value | {"where": where | {"batch_size": 3}}]
    rows = published.compare([Published.model_validate(value) for value in values], source).values
    runs = source.runs.query("norm == 'batch' and batch_size == 16 and model == '64-100-100-10'")
    cells = runs.groupby("learning_rate")
    found = line([float(cell["test_accuracy"].mean()) for _, cell in cells], [0] * 3).assign(
        learning_rate=[float(str(rate)) for rate, _ in cells],
        n_diverged=[int((cell["status"] != "ok").sum()) for _, cell in cells],
    )
    ours = range_text(usable_ranges(plotted(found, options(within=0.5))).iloc[0])
    assert rows == [
        ["Rates", "0.001 to 0.1 (2.0 decades)", ours, "5"],
        ["Rates", "0.001 to 0.1 (2.0 decades)", published.ABSENT, labels.DASH],
    ]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ("x: learning_rate, value: [0.1, 1]", "a usable range needs both x and within"),
        ("x: learning_rate, within: 0.05, value: [1, 0.1]", "the lower one first"),
        ("x: learning_rate, within: 0.05, value: 0.1", "a usable range has two ends"),
    ],
)
def test_a_published_range_has_two_ends_and_a_rule(tmp_path: Path, fields: str, problem: str) -> None:
    entry = f"    published: [{{what: Rates, y: test_accuracy, {fields}}}]\n    figures:\n"
    assert problem in refusal(toy(tmp_path, ("    figures:\n", entry)))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            ("kind: sweep", "kind: heatmap\n        against: norm\n        within: 0.05"),
            "not for a heatmap of learning_rate",
        ),
        (("x: learning_rate", "x: optimizer\n        within: 0.05"), "not for a sweep of optimizer"),
        (("x: learning_rate", "x: learning_rate\n        within: 0"), "expected a number above 0, got 0"),
    ],
)
def test_only_a_sweep_over_rates_or_batches_has_a_usable_range(
    tmp_path: Path, change: tuple[str, str], problem: str
) -> None:
    assert problem in refusal(toy(tmp_path, change))
