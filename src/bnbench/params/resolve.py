"""Resolved parameter files: the runs of each study in one tier, after all checks."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any, TypeVar

from bnbench.core.errors import UserError
from bnbench.core.yaml_reader import Document
from bnbench.params import extends, grid, messages, study_rules, values
from bnbench.params.claims import rules as claim_rules
from bnbench.params.claims.rules import Declared
from bnbench.params.claims.schema import Work
from bnbench.params.dataset_schema import Augmentation, Dataset
from bnbench.params.fields import Tier
from bnbench.params.problems import Problem, nearest, refuse
from bnbench.params.run_schema import Run
from bnbench.params.schema import Params
from bnbench.params.study_schema import Study

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class ResolvedStudy:
    """A study in one tier.

    Attributes:
        name: its key in the parameter file.
        study: its texts, figures and published values.
        varies: the settings that its grid varies.
        runs: its distinct runs, in the order of the grid.
        base: the settings that the grid is merged into.
    """

    name: str
    study: Study
    varies: list[str]
    runs: list[Run]
    base: dict[str, Any]


@dataclass(frozen=True)
class Resolved:
    """A parameter file resolved in one tier.

    Attributes:
        values: the file as it was read, with the entries it inherits.
        tier: the tier in use.
        about: the tier's description.
        datasets: all data sets of the file.
        augmentations: all augmentations of the file.
        studies: all studies, with their runs.
        works: all works of the file.
    """

    values: dict[str, Any]
    tier: Tier
    about: str
    datasets: dict[str, Dataset]
    augmentations: dict[str, Augmentation]
    studies: list[ResolvedStudy]
    works: dict[str, Work]


def resolve(path: Path, tier: str | None = None) -> Resolved:
    """Read, check and resolve a parameter file.

    Args:
        path: the file.
        tier: the tier to use instead of the file's.

    Raises:
        UserError: the file violates a rule; one line per problem, with file, line, key, value, rule and the nearest
            valid name.
    """
    document = extends.read(path)
    if tier is not None:
        document.values["tier"] = tier
    params = _validated(document)
    refuse(document, study_rules.of_tier(params))
    grids = {name: _grid(document.values, params.tier, name) for name in params.studies}
    refuse(document, (problem for name, merged in grids.items() for problem in study_rules.of_grid(name, merged)))
    refuse(document, study_rules.of_size(params, grids))
    studies = [_study(document.values, params, name, merged) for name, merged in grids.items()]
    refuse(document, (problem for study in studies for problem in _violations(document.values, params, study)))
    declared = {study.name: Declared(study.study.work, study.study.claims, study.runs) for study in studies}
    refuse(document, claim_rules.violations(declared, list(params.works), params.tier))
    about = params.tiers[params.tier].about
    data = (params.datasets, params.augmentations)
    return Resolved(document.values, params.tier, about, *data, studies, params.works)


def check(path: Path) -> Params:
    """Read a parameter file, and check its schema and all its single values, also those that its tier does not use.

    Raises:
        UserError: violations of the schema, or of the rules about single values, one line each.
    """
    return _validated(extends.read(path))


def _validated(document: Document) -> Params:
    params = messages.validated(document, Params)
    refuse(document, values.violations(document.values, params))
    return params


def _grid(given: dict[str, Any], tier: str, name: str) -> grid.Grid:
    """Return a study's grid merged with its tier's."""
    study = given["studies"][name]
    return grid.merge(study["grid"], _variant(study, tier).get("grid") or {})


def _study(given: dict[str, Any], params: Params, name: str, merged: grid.Grid) -> ResolvedStudy:
    """Expand a study's grid. Equal runs become one."""
    study, tier = given["studies"][name], params.tier
    bases = (given["tiers"][tier].get("base"), study.get("base"), _variant(study, tier).get("base"))
    base = reduce(or_, (part or {} for part in bases), given["training"])
    runs = {run.model_dump_json(): run for run in map(Run.model_validate, grid.cells(merged, base))}
    return ResolvedStudy(name, params.studies[name], grid.axes(merged), list(runs.values()), base)


def _violations(given: dict[str, Any], params: Params, study: ResolvedStudy) -> Iterator[Problem]:
    """Yield the problems of a study's runs, figures and published values."""
    yield from study_rules.of_runs(given, params, study.name, study.runs)
    yield from study_rules.of_figures(study.name, study.study, study.runs)


def _variant(study: dict[str, Any], tier: str) -> dict[str, Any]:
    """Return a study's changes for a tier."""
    return (study.get("tiers") or {}).get(tier) or {}


def asked_data(values: dict[str, Any], name: str) -> list[str]:
    """Return the data sets of a study in the tier `full`, for which other tiers may substitute smaller ones."""
    raw = values["studies"][name]
    variant, tier = _variant(raw, "full"), values["tiers"].get("full") or {}
    parts = (values["training"], tier.get("base"), raw.get("base"), variant.get("base"))
    bases = [part["dataset"] for part in parts if part and "dataset" in part]
    merged = grid.merge(raw["grid"], variant.get("grid") or {})
    axes = [merged.get("zip"), merged.get("around"), merged.get("product"), *(merged.get("include") or [])]
    varied = [str(value) for axis in axes for value in (axis or {}).get("dataset", [])]
    return list(dict.fromkeys(varied or bases[-1:]))


def dataset(path: Path, name: str) -> Dataset:
    """Return the definition of a data set in a parameter file.

    Raises:
        UserError: the file violates a rule, or has no such data set.
    """
    return _entry(path, "data set", "datasets", check(path).datasets, name)


def augmentation(path: Path, name: str) -> Augmentation:
    """Return the definition of an augmentation in a parameter file.

    Raises:
        UserError: the file violates a rule, or has no such augmentation.
    """
    return _entry(path, "augmentation", "augmentations", check(path).augmentations, name)


def _entry(path: Path, kind: str, key: str, entries: dict[str, Entry], name: str) -> Entry:
    if name not in entries:
        raise UserError(f"{path}: no {kind} {name!r} under {key}{nearest(name, list(entries))}")
    return entries[name]
