"""Curves of runs that stopped early, and their captions."""

import statistics
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from bnbench.figures.figure_kind import plot_data
from bnbench.figures.kinds.curves import failure_note
from bnbench.figures.scales import scale
from bnbench.figures.source import Source
from bnbench.params.study_schema import Figure
from bnbench.report.result_tables import varied
from bnbench.report.sections import meaningful
from bnbench.tables import labels
from bnbench.tables.collect import collect
from bnbench.tables.files import CELL
from tests.support.plots import described, drawn
from tests.support.store import FIGURES, as_record, fill_store, make_plan

STOPS = {0: 5, 1: 9, 2: 20, 3: 20, 4: 12}  # seed -> the epoch after which it stopped


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Return study A1 of the synthetic store: 5 seeds with and without batch norm, 20 epochs each."""
    folder = tmp_path_factory.mktemp("curves")
    plan = make_plan()
    fill_store(plan, folder / "runs")
    collect(as_record(plan), folder / "runs", folder / "tables")
    return Source.read(folder / "tables", as_record(plan), "A1")


@pytest.fixture(scope="module")
def stopped(full: Source) -> Source:
    """Return the same study, its runs with batch norm stopped after different epochs."""
    last = full.runs.set_index("run_id").apply(lambda run: STOPS[run.seed] if run.norm == "batch" else 20, axis=1)
    history = full.history
    return replace(full, history=history[history["epoch"] <= history["run_id"].map(last)])


def options(**changes: object) -> Figure:
    return Figure.model_validate(FIGURES["A1"]["accuracy"] | changes)


def test_a_run_that_stopped_early_counts_with_its_last_value(stopped: Source) -> None:
    points = plot_data(stopped, options()).points
    with_norm = points[points["norm"] == "batch"].set_index("epoch")
    runs = stopped.runs[stopped.runs["norm"] == "batch"]
    for epoch in range(1, 21):
        values = []
        for run in runs.itertuples():
            own = stopped.history[stopped.history["run_id"] == run.run_id].set_index("epoch")["valid_accuracy"]
            values.append(own[min(epoch, STOPS[int(str(run.seed))])])
        assert with_norm["mean"][epoch] == pytest.approx(sum(values) / 5)
        half = 2.776 * statistics.stdev(values) / 5**0.5  # Student t, 4 degrees of freedom
        assert with_norm["high"][epoch] - with_norm["mean"][epoch] == pytest.approx(half, rel=1e-3)
        assert with_norm["n_stopped"][epoch] == sum(stop < epoch for stop in STOPS.values())
    assert (with_norm["n"] == 5).all()


def test_the_caption_mentions_it_only_where_runs_stopped(full: Source, stopped: Source) -> None:
    description = [described(plot_data(source, options())) for source in (full, stopped)]
    assert ["stopped early" in text for text in description] == [False, True]


def test_a_line_ends_where_its_last_run_stopped(stopped: Source) -> None:
    where = {"norm": "batch"}
    few = replace(stopped, runs=stopped.runs[stopped.runs["seed"] < 2])
    points = plot_data(few, options(where=where)).points
    assert points["epoch"].max() == 9


def test_an_axis_begins_at_the_given_value(full: Source) -> None:
    plot = plot_data(full, options(low=0.9))
    assert plot.points["mean"].min() < 0.9
    bottom, top = drawn(plot).axes[0].get_ylim()
    assert bottom == 0.9
    assert top == pytest.approx(scale(plot).high)
    assert "The axis begins at 90.0 %" in described(plot)
    assert "axis begins" not in described(plot_data(full, options()))


def test_names_are_sorted_with_their_numbers_in_order() -> None:
    assert sorted(["C10", "B2", "C2", "C1", "B10"], key=labels.natural) == ["B2", "B10", "C1", "C2", "C10"]


def test_a_setting_that_follows_from_another_has_no_column_of_its_own() -> None:
    cells = pd.DataFrame({name: [0, 0, 0, 0] for name in CELL})
    cells = cells.assign(model=["a", "a", "b", "b"], norm_keep=[0.9, 0.9, 0.999, 0.999], dropout=[0, 0.5, 0, 0.5])
    assert varied(cells) == ["model", "dropout"]
    assert varied(cells.assign(norm_keep=[0.9, 0.999, 0.9, 0.9])) == ["model", "norm_keep", "dropout"]


@pytest.mark.parametrize(
    ("changes", "shown", "hidden"),
    [
        ({"norm": "batch"}, "norm_keep", "renorm_rmax"),
        ({"norm": "renorm"}, "renorm_rmax", "norm_groups"),
        ({"norm": "group"}, "norm_groups", "norm_keep"),
        ({"norm": "none"}, "model", "order"),
        ({"model": "8C3-LRN-P2-10D"}, "lrn_k", "norm_dense"),
        ({"model": "8C3-P2-64D-10D"}, "norm_dense", "lrn_k"),
        ({"max_steps": 100}, "max_steps", "max_epochs"),
        ({"init": "normal"}, "init_deviation", "patience"),
    ],
)
def test_the_report_shows_the_settings_that_play_a_part(
    full: Source, changes: dict[str, Any], shown: str, hidden: str
) -> None:
    runs = full.runs.assign(norm="batch").assign(**changes)
    assert meaningful(runs, shown)
    assert not meaningful(runs, hidden)


def test_a_panel_of_many_lines_states_how_many_of_all_its_runs_failed() -> None:
    lost = {0.01: 0, 0.1: 3, 1.0: 2, 10.0: 1}
    rows = [{"learning_rate": rate, "n": 3 - bad, "n_diverged": bad, "n_other": 0} for rate, bad in lost.items()]
    points = pd.DataFrame(rows)
    assert failure_note(points, "learning_rate") == "6 of 12 diverged"
    assert failure_note(points.assign(n_other=[0, 0, 1, 0]), "learning_rate") == "7 of 13 failed"
    few = points[points["learning_rate"] <= 0.1]
    assert failure_note(few, "learning_rate") == "Learning rate 0.1: 3 of 3 diverged"
