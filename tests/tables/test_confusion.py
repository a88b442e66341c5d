"""Confusion matrices: counted in the last evaluation, collected as a table, read as rows for figures."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, recall_score

from bnbench.data.prepared import Part
from bnbench.tables.confusion import CONFUSION_TYPES, class_rows, confusion_table
from tests.support.little import digits, run, trained
from tests.support.watched import images, watched

SMALL: dict[str, Any] = {"train_images": 600, "batch_size": 60, "model": "64-12-10"}
LABELS = torch.from_numpy(digits().test.labels)


@pytest.mark.parametrize("backend", ["torch", "numpy"])
def test_a_run_has_the_confusion_matrix_of_the_weights_that_it_keeps(backend: str) -> None:
    settings = run(**SMALL, learning_rate=2.0, epochs=4, keep_weights="best", backend=backend)
    best = trained([settings])[0].result
    assert best["best_epoch"] < 4
    seen = watched(settings.model_copy(update={"backend": "torch"}), 10 * best["best_epoch"])
    predicted = seen.nets[10 * best["best_epoch"]](images(digits().test)).argmax(1)
    counts = np.array(best["confusion"]["test"])
    np.testing.assert_allclose(counts, confusion_matrix(LABELS, predicted), atol=1)
    assert counts.sum(1).tolist() == torch.bincount(LABELS).tolist()
    assert counts.trace() / len(LABELS) == best["test_accuracy"]
    assert list(best["confusion"]) == ["test"]


def test_the_published_test_images_have_a_matrix_of_their_own() -> None:
    data = digits()
    few = Part(data.valid.images[:50], data.valid.labels[:50])
    (outcome,) = trained([run(**SMALL, epochs=1)], type(data)(**{**vars(data), "official": few}))
    matrices = {part: np.array(counts) for part, counts in outcome.result["confusion"].items()}
    assert list(matrices) == ["test", "official"]
    assert matrices["official"].trace() / 50 == outcome.result["official_accuracy"]
    assert matrices["official"].sum(1).tolist() == np.bincount(few.labels, minlength=10).tolist()


def test_a_run_that_diverged_has_none() -> None:
    (outcome,) = trained([run(**SMALL, epochs=1, learning_rate=1e30, norm="none")])
    assert (outcome.result["status"], outcome.result["confusion"]) == ("diverged", None)


def made(*seeds: int) -> tuple[pd.DataFrame, dict[int, tuple[Any, Any]]]:
    """Return the table of runs named by their seeds, and the labels and predictions of each."""
    truth = {}
    for seed in seeds:
        dice = np.random.default_rng(seed)
        labels = np.repeat(np.arange(4), 30)
        truth[seed] = labels, np.where(dice.random(120) < 0.7, labels, dice.integers(0, 4, 120))
    counted = {f"run{seed}": {"test": confusion_matrix(*pair).tolist()} for seed, pair in truth.items()}
    return confusion_table(counted).to_pandas(), truth


def test_the_table_has_counts_and_the_accuracy_of_each_class() -> None:
    table, truth = made(1, 2)
    for seed, (labels, predicted) in truth.items():
        part = table[table["run_id"] == f"run{seed}"]
        wanted = confusion_matrix(labels, predicted)
        assert {(row.true_class, row.predicted_class): row.images for row in part.itertuples()} == {
            place: count for place, count in np.ndenumerate(wanted) if count
        }
        own = part[part["true_class"] == part["predicted_class"]]
        np.testing.assert_allclose(own["share"], recall_score(labels, predicted, average=None))
        np.testing.assert_allclose(part.groupby("true_class")["share"].sum(), 1)


def test_a_class_never_right_has_accuracy_0_and_one_without_images_none() -> None:
    table = confusion_table({"a": {"test": [[0, 3, 0], [0, 5, 0], [0, 0, 0]]}, "b": {}}).to_pandas()
    assert table.drop(columns=["run_id", "part"]).to_numpy().tolist() == [[0, 0, 0, 0], [0, 1, 3, 1], [1, 1, 5, 1]]


def test_a_table_of_no_runs_has_its_columns() -> None:
    assert confusion_table({"a": {}}).to_pydict() == {name: [] for name in CONFUSION_TYPES}


def test_rows_for_figures_are_counts_with_zeros_recalls_and_their_mean() -> None:
    table, truth = made(1, 2)
    two = confusion_table({"cats": {"test": [[4, 0], [1, 3]]}}).to_pandas()  # beside data of four classes
    rows = class_rows(pd.concat([table, two], ignore_index=True))
    for seed, (labels, predicted) in truth.items():
        own = rows[rows["run_id"] == f"run{seed}"].set_index("quantity")
        square = own.loc["images"].pivot(index="item", columns="at", values="value").to_numpy()
        assert square.tolist() == confusion_matrix(labels, predicted).tolist()
        np.testing.assert_allclose(own.loc[["accuracy"], "value"], recall_score(labels, predicted, average=None))
        assert own.loc["mean_accuracy", "value"] == pytest.approx(balanced_accuracy_score(labels, predicted))
    cats = rows[(rows["run_id"] == "cats") & (rows["quantity"] == "images")].sort_values(["item", "at"])
    assert cats[["item", "at", "value"]].to_numpy().tolist() == [[0, 0, 4], [0, 1, 0], [1, 0, 1], [1, 1, 3]]
