"""Values that cannot be whatever they are combined with, found wherever they stand: defaults, bases, grids, filters.

A default that every study overrides, or a base of a tier that is not in use, is read by nobody today and by somebody
tomorrow; so each value is checked on its own, and only its combinations are left to `conflicts`.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from bnbench.core.errors import UserError
from bnbench.core.yaml_reader import Document, Key
from bnbench.params import architecture
from bnbench.params.fields import NO_AUGMENTATION
from bnbench.params.messages import nearest
from bnbench.params.schema import Params


def check(document: Document, params: Params) -> None:
    """Check each model, schedule, data set and augmentation that the file names.

    Raises:
        UserError: all that cannot be, a line each.
    """
    problems = [
        f"{document.where(key)}: {problem}"
        for key, name, value in _named(document.values)
        for problem in CHECKS[name](params, value)
    ]
    problems += [
        f"{document.where(('datasets', name, key))}: {problem}"
        for name, dataset in params.datasets.items()
        for key, problem in dataset.problems()
    ]
    if problems:
        raise UserError("\n".join(problems))


def _named(values: dict[str, Any]) -> Iterator[tuple[Key, str, Any]]:
    """Each value that has a check: its place, its setting, itself."""
    for place, settings, listed in _places(values):
        for name in CHECKS.keys() & (settings or {}):
            value = settings[name]
            each = enumerate(value) if listed else [(None, value)]
            yield from (((*place, name, *(() if i is None else (i,))), name, item) for i, item in each)


def _places(values: dict[str, Any]) -> Iterator[tuple[Key, Any, bool]]:
    """Each mapping of settings; whether it has lists of values, as a grid's axes, or single ones."""
    yield ("training",), values["training"], False
    for tier, about in values["tiers"].items():
        yield ("tiers", tier, "base"), about.get("base"), False
    for name, study in values["studies"].items():
        own: Key = ("studies", name)
        variants = [(own, study), *(((*own, "tiers", tier), v) for tier, v in (study.get("tiers") or {}).items())]
        for place, variant in variants:
            yield (*place, "base"), variant.get("base"), False
            yield from _of_grid((*place, "grid"), variant.get("grid") or {})
        measures = [(("figures", key), value) for key, value in (study.get("figures") or {}).items()]
        measures += [(("published", i), value) for i, value in enumerate(study.get("published") or [])]
        yield from (((*own, *key, "where"), value.get("where"), False) for key, value in measures)


def _of_grid(place: Key, grid: dict[str, Any]) -> Iterator[tuple[Key, Any, bool]]:
    yield from (((*place, part), grid.get(part), True) for part in ("product", "zip", "around"))
    for part, listed in (("include", True), ("exclude", False)):
        yield from (((*place, part, i), item, listed) for i, item in enumerate(grid.get(part) or []))


def _dataset(params: Params, name: str) -> Iterator[str]:
    if name not in params.datasets:
        known = list(params.datasets)
        yield f"no data set {name!r} under datasets (there: {', '.join(known)}){nearest(name, known)}"


def _augmentation(params: Params, name: str) -> Iterator[str]:
    known = [NO_AUGMENTATION, *params.augmentations]
    if name not in known:
        yield f"no augmentation {name!r} (there: {', '.join(known)}){nearest(name, known)}"


def _model(_params: Params, text: str) -> Iterator[str]:
    try:
        architecture.parse(text)
    except architecture.NotationError as error:
        yield str(error)


def _schedule(_params: Params, schedule: dict[str, Any]) -> Iterator[str]:
    if schedule["kind"] != "step":
        return
    starts, factors = schedule["from_epoch"], schedule["factor"]
    if len(starts) != len(factors):
        yield f"a step schedule has one factor for each from_epoch, got {len(factors)} for {len(starts)}"
    if any(later <= earlier for earlier, later in pairwise(starts)):
        yield f"the epochs of a step schedule rise, got {starts}"


CHECKS: dict[str, Callable[[Params, Any], Iterator[str]]] = {
    "dataset": _dataset,
    "augmentation": _augmentation,
    "model": _model,
    "schedule": _schedule,
}
