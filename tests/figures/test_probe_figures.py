"""Figures and tables of probe rows, from synthetic rows with known means."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from bnbench.core.errors import UserError
from bnbench.figures.figure_kind import plot_data
from bnbench.figures.kinds.ridges import density
from bnbench.figures.network_table import layer_table
from bnbench.figures.source import Source
from bnbench.params.study_schema import Figure, Published
from bnbench.report import published
from bnbench.tables import labels
from bnbench.tables.collect import collect
from bnbench.training.nets.network import Network
from tests.support.little import run
from tests.support.plots import described, drawn
from tests.support.store import as_record, fill_store, make_plan

GRADIENTS = {"kind": "heatmap", "title": "G", "probe": "gradients", "y": "gradient magnitude", "x": "step",
             "against": "layer", "col": "norm"}  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Return study A1 of the synthetic store (5 seeds, norms none and batch) with rows of three probes."""
    folder = tmp_path_factory.mktemp("probes")
    plan = make_plan()
    fill_store(plan, folder / "runs")
    collect(as_record(plan), folder / "runs", folder / "tables")
    found = Source.read(folder / "tables", as_record(plan), "A1")
    rows: list[dict[str, Any]] = []
    for entry in found.runs.itertuples():
        norm, seed, name = str(entry.norm), int(str(entry.seed)), entry.run_id
        for step in (10, 20):
            rows += [
                _row(name, "gradients", step, layer=layer, quantity="norm", value=10.0 ** (layer - 3) * (1 + seed))
                for layer in (1, 2, 3)
            ]
            edges = np.linspace(-1, 1, 20, endpoint=False)
            rows += [
                _row(
                    name, "outputs_histogram", step, part=part, layer=1, quantity="output", item=i, at=edge, value=0.05
                )
                for part in ("train", "valid")
                for i, edge in enumerate(edges, 1)
            ]
        for kind in ("batch", "population") if norm == "batch" else ("population",):
            rows += [
                _row(
                    name, "one_by_one", 20, quantity=f"predicted_{kind}", item=i, value=8 if kind == "batch" else i % 10
                )
                for i in range(1, 101)
            ]
            rows.append(_row(name, "one_by_one", 20, quantity=f"accuracy_of_first_{kind}", item=100, value=0.1))
    return Source(found.runs, found.history, pd.DataFrame(rows), found.configs, found.shapes)


def _row(run_id: Any, probe: str, step: int, **places: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("part", "layer", "quantity", "item", "at"))
    return {"run_id": run_id, "probe": probe, "step": step, "epoch": step / 10, **empty, **places}


def shown(source: Source, **options: Any) -> tuple[pd.DataFrame, str]:
    """Draw a figure without an error and return its points and its caption."""
    plot = plot_data(source, Figure.model_validate(options))
    drawn(plot).draw_without_rendering()
    return plot.points, described(plot)


def test_a_heat_maps_squares_are_means_over_seeds(source: Source) -> None:
    points, description = shown(source, **GRADIENTS, pick={"quantity": "norm"})
    assert len(points) == 2 * 2 * 3
    for point in points.itertuples():
        assert point.mean == pytest.approx(10.0 ** (float(str(point.layer)) - 3) * 3)  # seeds 0 to 4: 1 + seed is 3
    assert "from 0.03 to 3" in description


def test_rows_that_a_mean_would_mix_are_refused(source: Source) -> None:
    with pytest.raises(UserError, match="mix runs of different step"):
        shown(source, **(GRADIENTS | {"kind": "sweep", "x": "layer", "against": None, "col": "norm"}))


def test_a_probe_that_was_not_recorded_is_named(source: Source) -> None:
    with pytest.raises(UserError, match="'drift'"):
        shown(source, **(GRADIENTS | {"probe": "drift"}))


def test_the_last_step_can_be_selected(source: Source) -> None:
    options = {"kind": "sweep", "title": "L", "probe": "gradients", "y": "size", "x": "layer", "hue": "norm"}
    points, _ = shown(source, **options, pick={"step": "last", "quantity": ["norm"]})
    assert len(points) == 2 * 3


def test_a_ridges_area_is_one(source: Source) -> None:
    options = {"kind": "ridges", "title": "R", "probe": "outputs_histogram", "row": "part", "col": "norm"}
    points, description = shown(source, **options, pick={"quantity": "output"})
    line = points[(points.part == "train") & (points.step == 10) & (points.norm == "batch")].sort_values("at")
    assert float((density(line) * 0.1).sum()) == pytest.approx(1)
    assert "10 to 20" in description


def test_the_caption_states_when_every_prediction_is_the_same(source: Source) -> None:
    options = {"kind": "predictions", "title": "P", "probe": "one_by_one", "where": {"norm": "batch"}}
    _, description = shown(source, **options)
    assert "always 8, 10 % right" in description.replace("\\", "")
    assert "10 different classes" in description


@pytest.mark.parametrize("model", ["64-32-10", "8C3-P2-16C3-P2-10D", "4K-2C1B-16D-Dropout0.5-10D"])
@pytest.mark.parametrize("norm", ["none", "batch", "group"])
def test_a_drawn_networks_parameters_are_those_of_the_network(model: str, norm: str) -> None:
    one = run(model=model, norm=norm)
    table = layer_table(one, (1, 8, 8))
    assert table["parameters"].sum() == Network(one, (1, 8, 8)).parameters
    assert table["output"].iloc[-1] == "10"


def test_networks_are_drawn_once_each(source: Source) -> None:
    points, description = shown(source, kind="networks", title="N")
    assert points["model"].nunique() == 1
    assert f"{labels.number(int(points['parameters'].sum()))} parameters" in description.replace("\\", "")


def test_several_measures_share_one_figure(source: Source) -> None:
    points, description = shown(source, kind="curves", title="C", y=["train_accuracy", "valid_accuracy"], hue="norm")
    assert set(points["measure"]) == {"train_accuracy", "valid_accuracy"}
    assert "training accuracy and validation accuracy" in description


def test_published_values_are_compared_with_ours(source: Source) -> None:
    values: list[dict[str, Any]] = [
        {"what": "Accuracy", "y": "valid_accuracy", "where": {"norm": "batch"}, "value": 0.97},
        {"what": "Absent", "y": "valid_accuracy", "where": {"norm": "group"}, "value": 0.5},
        {"what": "Gradients", "probe": "gradients", "pick": {"step": 10}, "by": "layer", "where": {"norm": "none"},
         "value": [0.01, 0.1, 1]},
    ]  # fmt: skip
    found = published.compare([Published.model_validate(value) for value in values], source)
    ours = source.runs[source.runs["norm"] == "batch"]["valid_accuracy"].mean()
    assert [row[1] for row in found.values] == ["97.00 %", "50.00 %"]
    assert found.values[0][2].startswith(f"{100 * ours:.2f}")
    assert found.values[1][2] == published.ABSENT
    (series,) = found.series
    assert series.quantity == "Gradients"
    assert series.table.rows[1:] == [
        ["measured", "0.03", "0.3", "3"],
        ["measured / published", "3.00", "3.00", "3.00"],
    ]
