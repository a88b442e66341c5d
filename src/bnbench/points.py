"""What a figure draws, as a table: mean, interval and counts over seeds per point. No drawing here."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pyarrow as pa

from bnbench.errors import UserError
from bnbench.schema import Figure
from bnbench.summary import COUNTS, aggregate
from bnbench.tables import CELL, CONFIG, CONFIG_TYPES, RENAMED, settings

FACETS = ("row", "col", "hue")


def facets(options: Figure) -> list[str]:
    """The columns by which a figure tells lines apart: panels' rows, panels' columns, colours."""
    names = [getattr(options, facet) for facet in FACETS]
    return list(dict.fromkeys(RENAMED.get(name, name) for name in names if name is not None))


def x_column(options: Figure) -> str:
    """The column on the x axis: epochs or steps of training for curves, a setting for sweeps."""
    if options.kind == "curves":
        return options.x or "epoch"
    return RENAMED.get(options.x or "learning_rate", options.x or "learning_rate")


def chosen(runs: pd.DataFrame, options: Figure) -> pd.DataFrame:
    """The runs that a figure shows.

    Raises:
        UserError: it names a setting that is none, no run matches `where`, or a point would mix settings.
    """
    names = [*facets(options), *([x_column(options)] if options.kind == "sweep" else [])]
    for name in names:
        if name not in CONFIG:
            raise UserError(
                f"figures tell runs apart by settings, but {name!r} is none; known are: {', '.join(CONFIG)}"
            )
    where = settings(options.where.model_dump(exclude_unset=True))
    frame = runs
    for name, value in where.items():
        frame = frame[frame[name].isna() if value is None else frame[name] == value]
    if frame.empty:
        raise UserError(f"no run has {where}: take values for `where` that stand in the study's grid")
    _unmixed(frame, names)
    return frame


def _unmixed(runs: pd.DataFrame, names: list[str]) -> None:
    """Check that seeds alone are averaged: runs that agree in `names` agree in all settings."""
    names = list(dict.fromkeys(names))
    rest = [name for name in CELL if name not in names and runs[name].nunique(dropna=False) > 1]
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
            f" {', '.join(mixed)}: use x, hue, col or row for it, or choose one value by `where`"
        )


def curve_points(runs: pd.DataFrame, history: pd.DataFrame, options: Figure) -> pd.DataFrame:
    """A row per line and evaluation. A line without any ok run has one row, without x."""
    runs, x, names = chosen(runs, options), x_column(options), facets(options)
    runs, by = (runs, names) if names else (runs.assign(line=0), ["line"])
    good = runs.loc[runs["status"] == "ok", ["run_id", "status", *by]]
    drawn = good.merge(history[["run_id", x, options.y]], on="run_id")
    if len(drawn) and drawn[options.y].isna().all():
        raise UserError(
            f"{options.y} was not measured during training: draw another y, or measure it (evaluate_test: true)"
        )
    means = aggregate(drawn, [*by, x], [options.y]).drop(columns=["n_diverged", "n_other"])
    counts = aggregate(runs, by, []).drop(columns="n")
    return _tidy(counts.merge(means, on=by, how="left"), [*names, x], options.y)


def sweep_points(runs: pd.DataFrame, _history: pd.DataFrame, options: Figure) -> pd.DataFrame:
    """A row per setting: what the summary says of it."""
    by = list(dict.fromkeys([*facets(options), x_column(options)]))
    return _tidy(aggregate(chosen(runs, options), by, [options.y]), by, options.y)


def _tidy(points: pd.DataFrame, by: list[str], y: str) -> pd.DataFrame:
    names = {f"{y}_{part}": part for part in ("mean", "low", "high")}
    points = points.rename(columns=names)[[*by, *names.values(), *COUNTS]]
    points = points.assign(**{name: points[name].fillna(0).astype(int) for name in COUNTS})
    return points.sort_values(by, na_position="first", ignore_index=True)


POINTS: dict[str, Callable[[pd.DataFrame, pd.DataFrame, Figure], pd.DataFrame]] = {
    "curves": curve_points,
    "sweep": sweep_points,
}


def lines(points: pd.DataFrame, by: list[str]) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """The points of each line, with the values that tell it apart."""
    if not by:
        return [({}, points)]
    groups = points.groupby(by, dropna=False, sort=False)
    return [(dict(zip(by, key, strict=True)), part) for key, part in groups]


def types(by: list[str], x: str) -> dict[str, Any]:
    """Types of the columns of a figure's data file."""
    names = dict.fromkeys([*by, x])
    numbers = dict.fromkeys(("mean", "low", "high"), pa.float64())
    kinds = {name: CONFIG_TYPES.get(name, pa.float64()) for name in names}
    return kinds | numbers | dict.fromkeys(COUNTS, pa.int64())
