"""Drawing of figures: points, captions and files of each kind of figure; texts never overlap."""

import itertools
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure as Drawing
from matplotlib.layout_engine import ConstrainedLayoutEngine

from bnbench.core.errors import UserError
from bnbench.core.files import read_json
from bnbench.core.identities import seen
from bnbench.figures import canvas
from bnbench.figures.captions import caption
from bnbench.figures.draw import draw
from bnbench.figures.figure_kind import plot_data
from bnbench.figures.source import Source
from bnbench.figures.style import SMALL, styled
from bnbench.params.run_schema import Run
from bnbench.params.study_schema import Figure
from bnbench.tables import files as store_tables
from bnbench.tables import labels
from bnbench.tables.collect import collect
from bnbench.tables.column_names import COLUMNS
from bnbench.tables.files import CONFIG_TYPES, RENAMED
from tests.support.plots import assert_apart, drawn, plotted, texts
from tests.support.shell import contents
from tests.support.store import FIGURES as DECLARED
from tests.support.store import as_record, fill_store, make_plan


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("figures")
    plan = make_plan()
    fill_store(plan, folder / "runs")
    collect(as_record(plan), folder / "runs", folder / "tables")
    return folder


def study(folder: Path, name: str = "E1") -> Source:
    return Source.read(folder / "tables", as_record(make_plan()), name)


def options(**changes: Any) -> Figure:
    return Figure.model_validate(DECLARED["E1"]["learning_rate"] | changes)


def one_figure(study: str, figure: str) -> dict[str, Any]:
    plan = make_plan()
    for name, content in plan["studies"].items():
        content["figures"] = {figure: DECLARED[study][figure]} if name == study else {}
    return plan


def test_a_sweeps_points_are_the_summary(folder: Path) -> None:
    plan, out = one_figure("E1", "learning_rate"), folder / "one" / "figures"
    draw(as_record(plan), folder / "tables", out, 1)
    points = store_tables.read_csv(out / "E1" / "learning_rate.csv")
    summary = store_tables.read(folder / "tables", "summary")
    keys = ["model", "batch_size", "norm", "learning_rate"]
    both = points.merge(summary[summary.study == "E1"], on=keys)
    assert len(points) == len(both) == 36
    for part in ("mean", "low", "high"):
        pd.testing.assert_series_equal(both[part], both[f"test_accuracy_{part}"], check_names=False)
    assert (both.n_x == both.n_y).all()
    assert points.n_diverged.sum() == summary.n_diverged.sum() > 0


def test_a_curves_points_are_means_of_the_history(folder: Path) -> None:
    source = study(folder, "A1")
    runs, history = source.runs, source.history
    points = plot_data(source, Figure.model_validate(DECLARED["A1"]["accuracy"])).points
    joined = history.merge(runs[["run_id", "norm"]], on="run_id")
    for point in points.itertuples():
        values = joined[(joined.norm == point.norm) & (joined.epoch == point.epoch)].valid_accuracy
        assert point.n == len(values) == 5
        assert point.mean == pytest.approx(values.mean())


def test_a_curve_of_only_diverged_runs_is_counted(folder: Path) -> None:
    where = {"learning_rate": 1.0, "batch_size": 4}
    wanted = options(kind="curves", y="valid_accuracy", x=None, row=None, col="model", where=where)
    plot = plot_data(study(folder), wanted)
    lost = plot.points[plot.points.norm == "none"]
    assert lost[["n", "n_diverged"]].to_numpy().tolist() == [[0, 5], [0, 5]]
    titles = [ax.get_title() for ax in drawn(plot).axes]
    assert all("No norm: 5 of 5 diverged" in title for title in titles)
    assert "10 of 20 runs diverged and are in no mean (no norm 10 of 10)" in caption(plot)


def test_diverged_runs_stand_at_the_bottom(folder: Path) -> None:
    plot = plot_data(study(folder), options())
    points, drawing = plot.points, drawn(plot)
    counts = sorted(text.get_text() for ax in drawing.axes for text in ax.texts)
    failed = points[points.n_diverged > 0]
    assert counts == sorted(f"\N{MULTIPLICATION SIGN}{p.n_diverged}/5" for p in failed.itertuples())
    hollow = [line for ax in drawing.axes for line in ax.lines if line.get_markerfacecolor() == "white"]
    assert len(hollow) == ((points.n_diverged > 0) & (points.n > 0)).sum() > 0


def test_the_caption_follows_from_the_data(folder: Path) -> None:
    plot = plot_data(study(folder), options())
    points = plot.points
    top = points[points.norm == "batch"]["mean"].max()
    description = caption(plot)
    assert f"batch norm {100 * top:.1f} %" in description
    assert f"{points.n_diverged.sum()} of 180 runs diverged" in description
    halved = points.assign(mean=points["mean"].where(points.norm != "batch", points["mean"] / 2))
    assert f"batch norm {50 * top:.1f} %" in caption(plot.with_points(halved))


def test_labels_do_not_overlap(folder: Path) -> None:
    for name, figures in DECLARED.items():
        for raw in figures.values():
            wanted = Figure.model_validate(raw)
            assert_apart(drawn(plot_data(study(folder, name), wanted)))


def test_many_panels_and_values_fit_a_page() -> None:
    grid = itertools.product(
        [2**i for i in range(1, 9)], [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0], ["none", "batch"]
    )
    points = pd.DataFrame(grid, columns=["batch_size", "learning_rate", "norm"])
    counts = {"n": 3, "n_diverged": 2, "n_other": 0}
    points = points.assign(model="784-100-10", mean=0.9, low=0.85, high=0.95, **counts)
    drawing = drawn(plotted(points, options()))
    assert_apart(drawing)
    width, height = drawing.get_size_inches()
    assert width <= 6.5
    assert height <= 9
    assert min(float(text.get_fontsize()) for text in texts(drawing)) >= SMALL


@pytest.mark.parametrize("name", Run.model_fields)
@pytest.mark.parametrize("places", [("x",), ("hue", "col", "row")])
def test_any_setting_in_any_place(name: str, places: tuple[str, ...]) -> None:
    column = RENAMED.get(name, name)
    values: list[Any] = [
        "a long name of a value, longer than a figure is wide, as titles of data sets may be",
        "$x_1$",
    ]
    if str(CONFIG_TYPES[column]) == "bool":
        values = [False, True]
    elif str(CONFIG_TYPES[column]) != "string":
        values = [float("nan"), 100] if name == "train_images" else [0.25, 3]
    wanted = options(**{"x": "learning_rate", "hue": None, "col": None, "row": None, **dict.fromkeys(places, name)})
    columns = {column: values, "mean": [0.5, 0.6], "low": [0.4, 0.5], "high": [0.6, 0.7]}
    points = pd.DataFrame({"learning_rate": [0.1, 0.1], **columns, "n": 2, "n_diverged": 1, "n_other": 0})
    plot = plotted(points, wanted)
    assert_apart(drawn(plot))
    assert caption(plot)


def test_the_same_bytes_twice_and_svg_parses(folder: Path) -> None:
    plan, out = one_figure("E1", "batch_size"), folder / "twice" / "figures"
    made = []
    for _ in range(2):
        draw(as_record(plan), folder / "tables", out, 1)
        made.append(contents(out))
    assert made[0] == made[1]
    assert sorted(made[0]) == [f"E1/batch_size.{suffix}" for suffix in ("csv", "md", "png", "svg")]
    root = ElementTree.fromstring(made[0]["E1/batch_size.svg"])
    assert root.tag.endswith("svg")
    assert b"<dc:date>" not in made[0]["E1/batch_size.svg"]


def test_identity_comes_last_and_old_figures_go(folder: Path) -> None:
    out = folder / "identity-test" / "figures"
    draw(as_record(one_figure("A1", "loss")), folder / "tables", out, 1)
    (out / "A1" / "mine.md").write_text("not ours")
    draw(as_record(one_figure("A1", "accuracy") | {"figures_id": "ee55"}), folder / "tables", out, 1)
    assert {name.split(".")[0] for name in contents(out)} == {"A1/accuracy", "A1/mine"}
    identity = list((out.parent / "identity").iterdir())
    assert [path.name for path in identity] == ["figures-ee55.json"]
    about = read_json(identity[0])
    assert [about[key] for key in ("tier", "figures_id", "figures")] == ["quick", "ee55", ["A1/accuracy"]]
    drawn = [path for path in (out / "A1").iterdir() if path.stem != "mine"]
    assert about["files"] == {f"../figures/A1/{path.name}": seen(path) for path in drawn}
    collected = folder / "tables" / "identity-aa11.json"
    assert about["made_from"] == {"../../tables/identity-aa11.json": seen(collected)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": "colour"}, "no column 'colour'"),
        ({"where": {"learning_rate": 0.5}}, "no run has"),
        ({"row": None}, "different model"),
        ({"kind": "curves", "x": None, "where": {"learning_rate": 0.1}}, "not measured during training"),
    ],
)
def test_options_that_do_not_fit(folder: Path, changes: dict[str, Any], message: str) -> None:
    plan = one_figure("E1", "learning_rate")
    plan["studies"]["E1"]["figures"] = {
        "learning_rate": DECLARED["E1"]["learning_rate"] | changes,
    }
    with pytest.raises(UserError, match=rf"studies.E1.figures.learning_rate: .*{message}"):
        draw(as_record(plan), folder / "tables", folder / "wrong" / "figures", 1)
    assert not list((folder / "wrong" / "identity").glob("*"))


def test_settings_that_vary_together_are_no_mixture(folder: Path) -> None:
    source = study(folder)
    runs = source.runs
    pairs = runs[(runs.model == runs.model.min()) == (runs.batch_size == 4)]
    pairs = pairs[pairs.batch_size != 64]
    points = plot_data(replace(source, runs=pairs), options(row=None)).points  # a model for each batch size
    assert (points[["n", "n_diverged", "n_other"]].sum(axis=1) == 5).all()


def test_human_names() -> None:
    assert labels.phrase("norm", "none") == "no norm"
    assert labels.phrase("norm", "batch") == "batch norm"
    assert labels.phrase("norm", "group") == "group norm"
    assert labels.phrase("norm", "ghost") == "ghost batch norm"
    assert labels.phrase("norm_gamma", "2") == "gamma 2"
    assert labels.phrase("population", "moving") == "statistics: moving averages"
    assert labels.phrase("batch_size", 16) == "batch of 16"
    assert labels.phrase("model", "8C3-P2-10D") == "conv net 8C3-P2-10D"
    assert labels.phrase("learning_rate", 0.001) == "learning rate 0.001"
    assert [labels.number(value) for value in (10000.0, 1e-8, 0.25)] == ["10,000", "1e-8", "0.25"]
    assert labels.ordered("norm", ["batch", "none"]) == ["none", "batch"]
    for name in Run.model_fields:
        assert "_" not in labels.column(name)


@pytest.mark.slow
def test_workers_draw_the_same_bytes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnbench.figures.draw.FIGURES_PER_WORKER", 1)
    plan = one_figure("E1", "batch_size")
    plan["studies"]["A1"]["figures"] = DECLARED["A1"]
    made = []
    for workers in (1, 2):
        out = folder / f"workers-{workers}" / "figures"
        draw(as_record(plan), folder / "tables", out, workers)
        made.append(contents(out))
    assert made[0] == made[1]
    assert len(made[0]) == 3 * 4


def test_every_setting_of_a_norm_has_a_name_for_people() -> None:
    settings = [name for name in Run.model_fields if name.startswith(("norm", "renorm", "lrn", "population"))]
    assert "lrn_k" in settings
    assert set(settings) <= COLUMNS.keys()


@pytest.mark.parametrize(("name", "figure"), [("E1", "learning_rate"), ("A1", "accuracy")])
def test_a_settled_layout_is_that_of_matplotlibs_own_two_passes(folder: Path, name: str, figure: str) -> None:
    """Drawn by matplotlib, with its layout at every drawing, axes and texts are where `canvas.save` puts them."""
    drawing = drawn(plot_data(study(folder, name), Figure.model_validate(DECLARED[name][figure])))
    assert drawing.get_layout_engine() is None
    ours = [ax.get_position().bounds for ax in drawing.axes]
    drawing.set_layout_engine("constrained")
    drawing.draw_without_rendering()
    for bounds, ax in zip(ours, drawing.axes, strict=True):
        assert bounds == pytest.approx(ax.get_position().bounds, abs=0.005)


def test_png_and_svg_are_drawn_once_each_after_one_layout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    counts: Counter[str] = Counter()

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            counts[name] += 1
            return function(*arguments)

        return call

    monkeypatch.setattr(Drawing, "draw", counted("drawings", Drawing.draw))
    monkeypatch.setattr(ConstrainedLayoutEngine, "execute", counted("layouts", ConstrainedLayoutEngine.execute))
    with styled():
        drawing = canvas.new(figsize=(3, 2))
        drawing.add_subplot().set_title("a title")
        canvas.save(drawing, tmp_path / "one", "a title")
    assert counts == {"layouts": 1, "drawings": 2}
    assert {path.name for path in tmp_path.iterdir()} == {"one.png", "one.svg"}
