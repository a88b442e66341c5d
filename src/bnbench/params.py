"""`params.yaml`, checked and resolved: what each study runs in the chosen tier."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from bnbench import grid, notation, yamlfile
from bnbench.errors import UserError
from bnbench.schema import Dataset, Figure, Params, Run, Study, Tier
from bnbench.yamlfile import Document, Key


@dataclass(frozen=True)
class ResolvedStudy:
    """A study in one tier: its words, and its runs in the order of its grid."""

    name: str
    study: Study
    varies: list[str]
    runs: list[Run]


@dataclass(frozen=True)
class Resolved:
    """All that `params.yaml` asks for in one tier; `values` is the file as it was read."""

    values: dict[str, Any]
    tier: Tier
    about: str
    datasets: dict[str, Dataset]
    studies: list[ResolvedStudy]


def resolve(path: Path, tier: str | None = None) -> Resolved:
    """Read, check and resolve a parameter file.

    Args:
        path: the file.
        tier: the tier to use instead of the file's.

    Raises:
        UserError: anything that is not as the schema says, with file, line, key, value, what is allowed and the
            nearest valid name.
    """
    document = yamlfile.read(path)
    if tier is not None:
        document.values["tier"] = tier
    params = check(document)
    if params.tier not in params.tiers:
        raise UserError(f"{document.where(('tiers',))}: tier {params.tier!r} has no entry here; add one")
    studies = [_study(document, params, name) for name in params.studies]
    return Resolved(document.values, params.tier, params.tiers[params.tier].about, params.datasets, studies)


def check(document: Document) -> Params:
    """Hold a document against the schema.

    Raises:
        UserError: all violations, a line each.
    """
    try:
        return Params.model_validate(document.values)
    except ValidationError as error:
        problems = list(dict.fromkeys(_problem(document, detail) for detail in error.errors()))
        raise UserError("\n".join(problems)) from None


def _problem(document: Document, detail: Any) -> str:
    """One violation in words: where, what was seen, what is allowed, the nearest name."""
    key, value = _place(document, detail["loc"])
    where = document.where(key)
    if detail["type"] == "extra_forbidden":
        allowed = _siblings(key)
        return f"{where}: unknown key; known here: {', '.join(allowed)}{_nearest(str(key[-1]), allowed)}"
    if detail["type"] == "missing":
        return f"{where}: required, but missing"
    expected = detail.get("ctx", {}).get("expected") or detail.get("ctx", {}).get("expected_tags", "")
    allowed = [word.strip("' ") for word in expected.replace(" or ", ", ").split(",")] if expected else []
    message = detail["msg"].removeprefix("Value error, ")
    return f"{where}: {message[0].lower()}{message[1:]}, got {value!r}{_nearest(str(value), allowed)}"


def _place(document: Document, loc: tuple[str | int, ...]) -> tuple[Key, Any]:
    """The part of an error's place that stands in the document (not the names of a union's branches)."""
    value: Any = document.values
    key: Key = ()
    for index, part in enumerate(loc):
        if isinstance(value, dict) and part in value or isinstance(value, list) and isinstance(part, int):
            value, key = value[part], (*key, part)  # type: ignore[index]
        elif isinstance(value, dict) and index == len(loc) - 1:
            return (*key, part), None  # a missing key
    return key, value


def _siblings(key: Key) -> list[str]:
    """The keys that the schema knows beside `key`."""
    model: Any = Params
    for part in key[:-1]:
        if isinstance(model, type) and issubclass(model, BaseModel):
            model = _inner(model.model_fields[str(part)].annotation)
        else:
            model = _inner(model)
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _inner(annotation: Any) -> Any:
    """The model inside `dict[str, Model]`, `list[Model]`, `Model | None` or `Annotated[Model, ...]`."""
    for argument in get_args(annotation):
        found = _inner(argument)
        if isinstance(found, type) and issubclass(found, BaseModel):
            return found
    return annotation


def _nearest(word: str, allowed: list[str]) -> str:
    close = difflib.get_close_matches(word, allowed, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _study(document: Document, params: Params, name: str) -> ResolvedStudy:
    values, tier = document.values, params.tier
    raw = values["studies"][name]
    variant = (raw.get("tiers") or {}).get(tier) or {}
    base = values["training"] | (values["tiers"][tier].get("base") or {}) | (raw.get("base") or {})
    base |= variant.get("base") or {}
    merged = grid.merge(raw["grid"], variant.get("grid") or {})
    study = params.studies[name]
    _check_grid(document, name, merged)
    cells = grid.cells(merged, base)
    if not cells:
        raise UserError(f"{document.where(('studies', name, 'grid'))}: the grid is empty; exclude fewer runs")
    runs = list(dict.fromkeys(Run.model_validate(cell) for cell in cells))
    checked: dict[tuple[object, ...], None] = {}
    for run in runs:
        shape = (run.dataset, run.train_images, run.model, run.norm, run.batch_size, str(run.schedule), run.epochs)
        if shape not in checked:
            checked[shape] = None
            _check_run(document, params, name, run)
    for figure, options in study.figures.items():
        _check_figure(document, (name, figure), options)
    return ResolvedStudy(name, study, grid.axes(merged), runs)


def _check_grid(document: Document, name: str, merged: dict[str, Any]) -> None:
    where = document.where(("studies", name, "grid"))
    if not grid.axes(merged):
        raise UserError(f"{where}: the grid is empty; name at least one setting with its values, as `seed: [0, 1, 2]`")
    lengths = {key: len(value) for key, value in (merged.get("zip") or {}).items()}
    if len(set(lengths.values())) > 1:
        raise UserError(f"{where}: zip joins lists of one length, got {lengths}")


def _check_run(document: Document, params: Params, study: str, run: Run) -> None:
    """What the schema cannot see: values that do not go together."""
    for key, problem in _conflicts(params, run):
        where = document.where(_set_at(document, params.tier, study, key))
        raise UserError(f"{where}: {problem} (study {study}, tier {params.tier})")


def _set_at(document: Document, tier: str, study: str, key: str) -> Key:
    """Where a study's setting was set: the last of its places that is in the file."""
    parts = ("product", "zip", "around")
    own: Key = ("studies", study)
    places: list[Key] = [(*own, "tiers", tier, "grid", part, key) for part in parts]
    places += [(*own, "grid", part, key) for part in parts]
    places += [(*own, "tiers", tier, "base", key), (*own, "base", key), ("tiers", tier, "base", key)]
    return next((place for place in places if place in document.lines), ("training", key))


def _conflicts(params: Params, run: Run) -> Iterator[tuple[str, str]]:
    if run.dataset not in params.datasets:
        known = list(params.datasets)
        yield "dataset", f"no data set {run.dataset!r} under datasets ({', '.join(known)}){_nearest(run.dataset, known)}"
        return
    dataset = params.datasets[run.dataset]
    try:
        model = notation.check(run.model, dataset.shape, dataset.classes)
    except notation.NotationError as error:
        yield "model", str(error)
        return
    images = min(run.train_images or dataset.train_images, dataset.train_images)
    if run.batch_size > images:
        yield "batch_size", f"a batch of {run.batch_size} is larger than the training set of {images} images"
    if run.norm == "batch" and run.batch_size == 1 and any(isinstance(p, notation.Dense) for p in model.layers[:-1]):
        yield "batch_size", (
            "batch norm cannot estimate a variance from 1 value per channel; use batch_size >= 2 or norm: none"
        )
    if run.schedule.kind == "step":
        if len(run.schedule.from_epoch) != len(run.schedule.factor):
            yield "schedule", "a step schedule has one factor for each from_epoch"
        elif max(run.schedule.from_epoch) > run.epochs:
            yield "schedule", f"a step from epoch {max(run.schedule.from_epoch)}, but the run has {run.epochs} epochs"


def _check_figure(document: Document, place: tuple[str, str], figure: Figure) -> None:
    own: Key = ("studies", place[0], "figures", place[1])
    if figure.kind == "sweep" and figure.x is None:
        raise UserError(f"{document.where((*own, 'x'))}: a sweep needs the setting on its x axis, as `x: learning_rate`")
    for name in ("x", "hue", "col", "row"):
        value = getattr(figure, name)
        if value is not None and value not in Run.model_fields:
            known = list(Run.model_fields)
            raise UserError(f"{document.where((*own, name))}: {value!r} is no setting of a run{_nearest(value, known)}")


def dataset(path: Path, name: str) -> Dataset:
    """One data set of a parameter file.

    Raises:
        UserError: the file is not as it must be, or has no such data set.
    """
    datasets = check(yamlfile.read(path)).datasets
    if name not in datasets:
        raise UserError(f"{path}: no data set {name!r} under datasets{_nearest(name, list(datasets))}")
    return datasets[name]
