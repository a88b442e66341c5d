"""Rules about single values, checked wherever the file has them: in defaults, bases, grids and filters.

Values that no run uses today (a default that every study overrides, the base of another tier) are checked too, because
a run may use them tomorrow. Combinations of values are left to `study_rules`.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from bnbench.core.yaml_reader import Key
from bnbench.params import architecture
from bnbench.params.fields import NO_AUGMENTATION
from bnbench.params.problems import Problem, nearest
from bnbench.params.schema import Params


def violations(values: dict[str, Any], params: Params) -> Iterator[Problem]:
    """Yield a problem per wrong model, schedule, data set or augmentation that the file names.

    Args:
        values: the file as it was read.
        params: the same, validated.
    """
    for key, setting, value in _checked(values):
        yield from (Problem(key, problem) for problem in CHECKS[setting](params, value))
    for name, dataset in params.datasets.items():
        yield from (Problem(("datasets", name, key), problem) for key, problem in dataset.problems())


def _checked(values: dict[str, Any]) -> Iterator[tuple[Key, str, Any]]:
    """Yield key, setting and value of each value that has a check."""
    for key, settings, listed in _mappings(values):
        for name in CHECKS.keys() & (settings or {}):
            value = settings[name]
            each = enumerate(value) if listed else [(None, value)]
            yield from (((*key, name, *(() if i is None else (i,))), name, item) for i, item in each)


def _mappings(values: dict[str, Any]) -> Iterator[tuple[Key, Any, bool]]:
    """Yield key and content of each mapping of settings, and True if it has lists of values, as a grid's axes have."""
    yield ("training",), values["training"], False
    for tier, about in values["tiers"].items():
        yield ("tiers", tier, "base"), about.get("base"), False
    for name, study in values["studies"].items():
        own: Key = ("studies", name)
        variants = [(own, study), *(((*own, "tiers", tier), v) for tier, v in (study.get("tiers") or {}).items())]
        for key, variant in variants:
            yield (*key, "base"), variant.get("base"), False
            yield from _of_grid((*key, "grid"), variant.get("grid") or {})
        measures = [(("figures", name), value) for name, value in (study.get("figures") or {}).items()]
        measures += [(("published", i), value) for i, value in enumerate(study.get("published") or [])]
        yield from (((*own, *rest, "where"), value.get("where"), False) for rest, value in measures)


def _of_grid(key: Key, grid: dict[str, Any]) -> Iterator[tuple[Key, Any, bool]]:
    """Yield the mappings of a grid in the same form."""
    yield from (((*key, part), grid.get(part), True) for part in ("product", "zip", "around"))
    for part, listed in (("include", True), ("exclude", False)):
        yield from (((*key, part, i), item, listed) for i, item in enumerate(grid.get(part) or []))


def _dataset(params: Params, name: str) -> Iterator[str]:
    if name not in params.datasets:
        known = list(params.datasets)
        yield f"no data set {name!r} under datasets (defined: {', '.join(known)}){nearest(name, known)}"


def _augmentation(params: Params, name: str) -> Iterator[str]:
    known = [NO_AUGMENTATION, *params.augmentations]
    if name not in known:
        yield f"no augmentation {name!r} (defined: {', '.join(known)}){nearest(name, known)}"


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
        yield f"a step schedule has one factor per from_epoch, got {len(factors)} for {len(starts)}; add or remove some"
    if any(later <= earlier for earlier, later in pairwise(starts)):
        yield f"the epochs of a step schedule must increase, got {starts}; sort them"


# setting -> check of its value: yields what is wrong with it
CHECKS: dict[str, Callable[[Params, Any], Iterator[str]]] = {
    "dataset": _dataset,
    "augmentation": _augmentation,
    "model": _model,
    "schedule": _schedule,
}
