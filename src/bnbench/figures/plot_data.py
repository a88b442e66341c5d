"""What a figure draws, as a table: mean, interval and counts over seeds per point. No drawing here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from bnbench.core.errors import UserError
from bnbench.figures.network_table import stages
from bnbench.params.run_schema import Run
from bnbench.params.study_schema import CLASSES, Figure, Measure
from bnbench.tables import files as store_tables
from bnbench.tables import labels
from bnbench.tables.confusion import class_rows
from bnbench.tables.files import CELL, CONFIG, CONFIG_TYPES, RENAMED, settings
from bnbench.tables.summary import COUNTS, aggregate

FACETS = ("row", "col", "hue")
# columns of a probe's rows, along which a figure may go
PLACES = ("step", "epoch", "part", "layer", "quantity", "item", "at")
# what a probe's `item` counts
ITEMS = {"neurons": "unit", "percentiles": "percentile", "one_by_one": "images_together", CLASSES: "true_class"}
# and what its `at` is, where it is one of several values
ATS = {CLASSES: "predicted_class"}
VALUE = "value"
STOPPED = "n_stopped"  # runs of a curve that have stopped early


@dataclass(frozen=True)
class Source:
    """The tables of one study: a row per run; per run and evaluation; per run and what a probe saw.

    And of each run its configuration, of each data set the shape of an image.
    """

    runs: pd.DataFrame
    history: pd.DataFrame
    probes: pd.DataFrame
    configs: dict[str, dict[str, Any]]
    shapes: dict[str, tuple[int, int, int]]

    @classmethod
    def read(cls, tables: Path, plan: dict[str, Any], study: str) -> "Source":
        """A study's part of the tables."""
        tables_id = plan["tables_id"]
        runs = store_tables.read(tables, "runs", tables_id)
        runs = runs[runs["study"] == study]
        wanted = ("run_id", "in", list(runs["run_id"]))
        history, probes = (store_tables.read(tables, name, tables_id, wanted) for name in ("history", "probes"))
        asked = [*plan["studies"][study]["figures"].values(), *plan["studies"][study]["published"]]
        if any(measure.get("probe") == CLASSES for measure in asked):
            confusion = store_tables.read(tables, "confusion", tables_id, wanted)
            probes = pd.concat([probes, class_rows(confusion)], ignore_index=True)
        configs = {run_id: plan["runs"][run_id]["config"] for run_id in runs["run_id"]}
        shapes = {name: tuple(dataset["shape"]) for name, dataset in plan["datasets"].items()}
        return cls(runs, history, probes, configs, shapes)


def facets(options: Figure) -> list[str]:
    """The columns by which a figure tells lines apart: panels' rows, panels' columns, colours."""
    names = [getattr(options, facet) for facet in FACETS]
    return list(dict.fromkeys(column(name, options.probe) for name in names if name is not None))


def column(name: str, probe: str | None = None) -> str:
    """A setting's column in the tables; of a probe's rows the name of what its `item` counts, its `at` is."""
    named = {"item": ITEMS, "at": ATS}.get(name, {})
    return named.get(probe or "", RENAMED.get(name, name))


def x_column(options: Figure) -> str:
    """The column on the x axis: epochs or steps of training for curves, a setting for sweeps."""
    return column(options.x or "learning_rate", options.probe) if options.kind == "sweep" else options.x or "epoch"


def measures(options: Measure) -> list[str]:
    """The columns that are drawn."""
    if options.probe:
        return [VALUE]
    return options.y if isinstance(options.y, list) else [options.y or "test_accuracy"]


def chosen(runs: pd.DataFrame, options: Measure) -> pd.DataFrame:
    """The runs that `where` asks for.

    Raises:
        UserError: there is none.
    """
    where = settings(options.where.model_dump(exclude_unset=True))
    frame = runs
    for name, value in where.items():
        frame = frame[frame[name].isna() if value is None else frame[name] == value]
    if frame.empty:
        raise UserError(f"no run has {where}: take values for `where` that stand in the study's grid")
    return frame


def measured(source: Source, options: Measure) -> pd.DataFrame:
    """A row per chosen run; with a probe, a row per chosen run and picked row of the probe.

    Raises:
        UserError: no run has the values asked for, or none recorded such rows.
    """
    runs = chosen(source.runs, options)
    if options.probe is None:
        return runs
    pick = options.pick.model_dump(exclude_unset=True)
    if options.probe == CLASSES:
        pick = {"part": "test"} | pick
    rows = source.probes[source.probes["probe"] == options.probe]
    for name, value in pick.items():
        if value == "last":
            rows = rows[rows[name] == rows.groupby("run_id")[name].transform("max")]
        else:
            rows = rows[rows[name].isin(value if isinstance(value, list) else [value])]
    own = [name for name in (*PLACES, VALUE) if name in rows]
    # what a probe says of its place replaces what the run's table says under the same name
    found = runs.drop(columns=[name for name in own if name in runs]).merge(rows[["run_id", *own]], on="run_id")
    if found.empty:
        raise UserError(f"no run recorded rows of the probe {options.probe!r} with {pick}")
    return found


def _unmixed(runs: pd.DataFrame, names: list[str]) -> None:
    """Check that seeds alone are averaged: rows that agree in `names` agree in all settings and places."""
    names = list(dict.fromkeys(names))
    for name in names:
        if name not in runs:
            raise UserError(f"figures tell runs apart by settings, but {name!r} is none; known are {', '.join(CONFIG)}")
    places = [
        name for name in (*PLACES, *ITEMS.values(), *ATS.values()) if name in runs and name not in ("epoch", "at")
    ]
    places = places if VALUE in runs else []
    rest = [name for name in (*CELL, *places) if name not in names and runs[name].nunique(dropna=False) > 1]
    if not rest:
        return
    if "seed" in names:  # each run is a point of its own: then the cell must be one
        names = [name for name in names if name != "seed"]
    mixed = rest
    if names:
        mixed = [n for n in rest if (runs.groupby(names, dropna=False)[n].nunique(dropna=False) > 1).any()]
    if mixed:
        raise UserError(
            f"a figure takes the mean over seeds only, but its points would mix runs of different"
            f" {', '.join(mixed)}: use x, hue, col or row for it, or choose one value by `where` or `pick`"
        )


def curve_points(source: Source, options: Figure) -> pd.DataFrame:
    """A row per line and evaluation. A line without any ok run has one row, without x."""
    x, names = x_column(options), facets(options)
    if options.probe:
        return _probe_curves(source, options)
    runs = chosen(source.runs, options)
    _unmixed(runs, names)
    runs, by = (runs, names) if names else (runs.assign(line=0), ["line"])
    good = runs.loc[runs["status"] == "ok", ["run_id", "status", *by]]
    found = []
    for y in measures(options):
        drawn = good.merge(source.history[["run_id", x, y]], on="run_id")
        if len(drawn) and drawn[y].isna().all():
            raise UserError(f"{y} was not measured during training: draw another, or measure it (evaluate_test: true)")
        means = carried(drawn, by, x, y).drop(columns=["n_diverged", "n_other"])
        counts = aggregate(runs, by, []).drop(columns="n")
        found.append(_tidy(counts.merge(means, on=by, how="left"), [*names, x], y, [*COUNTS, STOPPED]))
    if len(found) == 1:
        return found[0]
    return pd.concat([part.assign(measure=y) for part, y in zip(found, measures(options), strict=True)])


def carried(drawn: pd.DataFrame, by: list[str], x: str, y: str) -> pd.DataFrame:
    """Mean and interval of `y` at each `x` of a line, over all its runs: one that has stopped keeps its last value.

    The column `n_stopped` is how many have. A mean over only those still in training would jump as runs leave it.
    """
    ends = drawn.loc[drawn.groupby("run_id")[x].idxmax()]
    later = ends.merge(drawn[[*by, x]].drop_duplicates(), on=by, suffixes=("_end", ""))
    later = later[later[x] > later[f"{x}_end"]][list(drawn.columns)]
    rows = pd.concat([drawn.assign(**{STOPPED: 0}), later.assign(**{STOPPED: 1})])
    stopped = rows.groupby([*by, x], dropna=False)[STOPPED].sum().reset_index()
    return aggregate(rows, [*by, x], [y]).merge(stopped, on=[*by, x])


def _named(source: Source, options: Figure) -> pd.DataFrame:
    """What is measured, a probe's `item` and `at` under the names of what they are."""
    return measured(source, options).rename(columns={name: column(name, options.probe) for name in ("item", "at")})


def _called(options: Measure) -> str:
    return labels.quantity(options.y, options.probe)


def _probe_curves(source: Source, options: Figure) -> pd.DataFrame:
    rows, by = _named(source, options), [*facets(options), x_column(options)]
    _unmixed(rows, by)
    return _tidy(aggregate(rows, by, [VALUE], _called(options)), by, VALUE)


def sweep_points(source: Source, options: Figure) -> pd.DataFrame:
    """A row per setting: what the summary says of it."""
    rows, y = _named(source, options), measures(options)[0]
    by = list(dict.fromkeys([*facets(options), x_column(options)]))
    _unmixed(rows, by)
    return _tidy(aggregate(rows, by, [y], _called(options)), by, y)


def heatmap_points(source: Source, options: Figure) -> pd.DataFrame:
    """A row per square: a mean over seeds for each value of `x` and `against`."""
    rows, y = _named(source, options), measures(options)[0]
    by = list(
        dict.fromkeys(
            [*facets(options), column(options.against or "", options.probe), column(options.x or "", options.probe)]
        )
    )
    _unmixed(rows, by)
    return _tidy(aggregate(rows, by, [y], _called(options)), by, y)


def single_points(source: Source, options: Figure) -> pd.DataFrame:
    """The rows of a probe for one run of each panel: that of the smallest seed."""
    rows, names = measured(source, options), facets(options)
    first = rows[rows["seed"] == rows["seed"].min()]
    _unmixed(first, [*names, *PLACES])
    keep = list(dict.fromkeys([*names, *(name for name in PLACES if name in first), VALUE]))
    found: pd.DataFrame = first[keep]
    return found.sort_values(keep[:-1], na_position="first", ignore_index=True)


def confusion_points(source: Source, options: Figure) -> pd.DataFrame:
    """A row per panel and pair of true and predicted class: the share of the true class, mean over seeds."""
    rows, by = _named(source, options), [*facets(options), "true_class", "predicted_class"]
    rows = rows[rows["quantity"] == "images"].astype({"true_class": int, "predicted_class": int})
    _unmixed(rows, by)
    images = rows.groupby(["run_id", "true_class"])[VALUE].transform("sum")
    return _tidy(aggregate(rows.assign(share=rows[VALUE] / images), by, ["share"]), by, "share")


def network_points(source: Source, options: Figure) -> pd.DataFrame:
    """A row per layer of each distinct network of the runs."""
    runs = chosen(source.runs, options).drop_duplicates("model")
    found = [Run.model_validate(source.configs[run_id]) for run_id in runs["run_id"]]
    return pd.concat([stages(run, source.shapes[run.dataset]) for run in found], ignore_index=True)


def _tidy(points: pd.DataFrame, by: list[str], y: str, counts: Sequence[str] = COUNTS) -> pd.DataFrame:
    names = {f"{y}_{part}": part for part in ("mean", "low", "high")}
    points = points.rename(columns=names)[[*by, *names.values(), *counts]]
    points = points.assign(**{name: points[name].fillna(0).astype(int) for name in counts})
    return points.sort_values(by, na_position="first", ignore_index=True)


POINTS: dict[str, Callable[[Source, Figure], pd.DataFrame]] = {
    "curves": curve_points,
    "sweep": sweep_points,
    "heatmap": heatmap_points,
    "ridges": single_points,
    "hyperplanes": single_points,
    "predictions": single_points,
    "networks": network_points,
    "confusion": confusion_points,
}


def lines(points: pd.DataFrame, by: list[str]) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """The points of each line, with the values that tell it apart."""
    if not by:
        return [({}, points)]
    groups = points.groupby(by, dropna=False, sort=False)
    return [(dict(zip(by, key, strict=True)), part) for key, part in groups]


OWN_TYPES: dict[str, pa.DataType] = {
    **dict.fromkeys(("mean", "low", "high", VALUE, "at", "epoch"), pa.float64()),
    **dict.fromkeys(
        (*COUNTS, STOPPED, "step", "layer", "item", *ITEMS.values(), *ATS.values(), "stage", "parameters"), pa.int64()
    ),
}


def types(points: pd.DataFrame) -> dict[str, pa.DataType]:
    """Types of the columns of a figure's data file."""
    return {name: (OWN_TYPES | CONFIG_TYPES).get(name, pa.string()) for name in points.columns}
