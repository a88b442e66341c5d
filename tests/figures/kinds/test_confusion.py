"""Confusion matrices and annotated heat maps: points, drawings and captions from synthetic runs."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Rectangle

from bnbench.figures.figure_kind import plot_data
from bnbench.figures.source import Source
from bnbench.params.study_schema import Figure
from bnbench.tables.collect import collect
from bnbench.tables.files import read
from tests.support.plots import assert_apart, described, drawn, plotted
from tests.support.store import as_record, confusion, fill_store, make_plan

CONFUSION = {"kind": "confusion", "title": "C", "probe": "classes", "col": "norm"}
MAP = {"kind": "heatmap", "title": "M", "x": "learning_rate", "against": "batch_size", "y": "test_accuracy",
       "col": "norm", "where": {"model": "64-100-100-10"}}  # fmt: skip


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Source]:
    """Return the synthetic store's two studies, of which A1 has a figure of the confusion matrix."""
    folder = tmp_path_factory.mktemp("confusion")
    plan = make_plan()
    plan["studies"]["A1"]["figures"] = {"confusion": CONFUSION}
    fill_store(plan, folder / "runs")
    collect(as_record(plan), folder / "runs", folder / "tables")
    return {name: Source.read(folder / "tables", as_record(plan), name) for name in ("A1", "E1")}


def counts(norm: str, seed: int) -> "np.ndarray[Any, Any]":
    return np.array(confusion(norm, seed))


def test_a_confusion_matrix_is_the_mean_of_the_runs_shares(sources: dict[str, Source]) -> None:
    options = Figure.model_validate(CONFUSION)
    points = plot_data(sources["A1"], options).points
    for norm in ("none", "batch"):
        matrices = [counts(norm, seed) for seed in range(5)]
        wanted = np.mean([matrix / matrix.sum(1, keepdims=True) for matrix in matrices], 0)
        part = points[points["norm"] == norm]
        seen = part.pivot(index="true_class", columns="predicted_class", values="mean").to_numpy()
        np.testing.assert_allclose(seen, wanted)
        np.testing.assert_allclose(seen.sum(1), 1)
        assert (part["n"] == 5).all()


def test_a_confusion_matrix_caption_states_its_best_worst_and_most_frequent(sources: dict[str, Source]) -> None:
    options = Figure.model_validate(CONFUSION)
    description = described(plot_data(sources["A1"], options))
    shares = np.mean([counts("batch", seed) / counts("batch", seed).sum(1, keepdims=True) for seed in range(5)], 0)
    own = shares.diagonal()
    assert f"Batch norm: the mean over the classes is {100 * own.mean():.2f} %" in description
    assert f"the best class is {own.argmax()} ({100 * own.max():.1f} %)" in description
    assert f"({100 * own.min():.1f} %); the most frequent" in description
    true, predicted = np.unravel_index((shares - np.diag(own)).argmax(), shares.shape)
    assert f"the most frequent confusion is class {true} predicted as {predicted}" in description


def test_a_confusion_matrix_is_drawn_with_the_true_classes_in_rows(sources: dict[str, Source]) -> None:
    options = Figure.model_validate(CONFUSION)
    plot = plot_data(sources["A1"], options)
    points, drawing = plot.points, drawn(plot)
    assert_apart(drawing)
    panel = next(ax for ax in drawing.axes if ax.get_title() == "No norm")
    part = points[points["norm"] == "none"].set_index(["true_class", "predicted_class"])["mean"]
    for text in panel.texts:
        x, y = text.get_position()
        assert text.get_text() == f"{100 * part.loc[int(y), int(x)]:.0f}"
    assert panel.get_ylim()[0] > panel.get_ylim()[1]  # the first class is at the top
    assert [text.get_text() for text in panel.get_yticklabels()] == ["0", "1", "2", "3"]


def test_a_class_accuracy_is_a_sweep_over_classes(sources: dict[str, Source]) -> None:
    options = Figure.model_validate(
        {"kind": "sweep", "title": "S", "probe": "classes", "pick": {"quantity": "accuracy"}, "y": "class accuracy",
         "x": "item", "hue": "norm"}
    )  # fmt: skip
    plot = plot_data(sources["A1"], options)
    points = plot.points
    recalls = np.mean([counts("none", seed).diagonal() / counts("none", seed).sum(1) for seed in range(5)], 0)
    np.testing.assert_allclose(points[points["norm"] == "none"].sort_values("true_class")["mean"], recalls)
    assert_apart(drawn(plot))


def test_a_heat_map_marks_what_diverged(sources: dict[str, Source]) -> None:
    options = Figure.model_validate(MAP)
    plot = plot_data(sources["E1"], options)
    points, drawing = plot.points, drawn(plot)
    assert_apart(drawing)
    lost = points[points["n_diverged"] > 0]
    marks = sorted(
        text.get_text().split("\n")[-1] for ax in drawing.axes for text in ax.texts if "/" in text.get_text()
    )
    shares = zip(lost["n_diverged"], lost["n_diverged"] + lost["n"], strict=True)
    assert marks == sorted(f"\N{MULTIPLICATION SIGN}{bad}/{total}" for bad, total in shares)
    hatched = [
        patch for ax in drawing.axes for patch in ax.patches if isinstance(patch, Rectangle) and patch.get_hatch()
    ]
    assert len(hatched) == (points["n"] == 0).sum() > 0
    description = described(plot)
    assert (
        f"{points['n_diverged'].sum()} of {points[['n', 'n_diverged']].to_numpy().sum()} runs diverged" in description
    )


def test_at_the_smallest_batch_the_caption_has_each_norms_interval(sources: dict[str, Source]) -> None:
    options = Figure.model_validate(
        {"kind": "sweep", "title": "B", "x": "batch_size", "y": "test_accuracy", "hue": "norm",
         "where": {"model": "64-100-100-10", "learning_rate": 0.1}}
    )  # fmt: skip
    plot = plot_data(sources["E1"], options)
    points, description = plot.points, described(plot)
    for norm, name in (("none", "no norm"), ("batch", "batch norm")):
        row = points[(points["batch_size"] == 4) & (points["norm"] == norm)].iloc[0]
        assert f"{name} {100 * row['mean']:.1f} ± {100 * (row['high'] - row['mean']):.1f} %" in description
    one, other = (points[points["norm"] == norm].set_index("batch_size") for norm in ("batch", "none"))
    higher, apart = (one["mean"] > other["mean"]).sum(), (one["low"] > other["high"]).sum()
    compared = f"The mean for batch norm is higher than for no norm at {higher} of 3 points"
    assert f"{compared} ({apart} with non-overlapping intervals)" in description


def test_the_generalisation_gap_is_training_minus_test_accuracy(tmp_path: Any) -> None:
    plan = make_plan()
    fill_store(plan, tmp_path / "runs")
    collect(as_record(plan), tmp_path / "runs", tmp_path / "tables")
    runs = read(tmp_path / "tables", "runs")
    good = runs[runs["status"] == "ok"]
    np.testing.assert_allclose(good["generalisation_gap"], good["train_accuracy"] - good["test_accuracy"])
    assert runs[runs["status"] == "diverged"]["generalisation_gap"].isna().all()


def test_a_caption_states_whose_interval_is_apart_from_batch_norms() -> None:
    options = Figure.model_validate({"kind": "sweep", "title": "N", "x": "norm", "y": "test_accuracy"})
    means = {"batch": (0.5, 0.02), "none": (0.6, 0.05), "renorm": (0.53, 0.02), "group": (0.4, 0.01)}
    rows = [
        {"norm": norm, "mean": mean, "low": mean - half, "high": mean + half} for norm, (mean, half) in means.items()
    ]
    points = pd.DataFrame(rows).assign(n=3, n_diverged=0, n_other=0)
    description = described(plotted(points, options))
    assert (
        "No norm 60.0 ± 5.0 %, batch norm 50.0 ± 2.0 %, batch renorm 53.0 ± 2.0 %, group norm 40.0 ± 1.0 %"
        in description
    )
    sides = "no norm entirely above; group norm entirely below; batch renorm overlapping"
    assert f"(intervals, compared with that of batch norm: {sides})" in description
    near = described(plotted(points[points["norm"].isin(["batch", "renorm"])], options))
    assert "(intervals, compared with that of batch norm: batch renorm overlapping)" in near
