"""`params.yaml`, checked and resolved: what each study runs in the chosen tier."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bnbench.core import yaml_reader
from bnbench.core.errors import UserError
from bnbench.core.yaml_reader import Document
from bnbench.params import consistency, grid, messages, values
from bnbench.params.dataset_schema import Augmentation, Dataset
from bnbench.params.fields import Tier
from bnbench.params.run_schema import Run
from bnbench.params.schema import Params
from bnbench.params.study_schema import CLASSES, Study

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class ResolvedStudy:
    """A study in one tier: its words, the settings that its grid starts from, its runs in the grid's order."""

    name: str
    study: Study
    varies: list[str]
    runs: list[Run]
    base: dict[str, Any]


@dataclass(frozen=True)
class Resolved:
    """All that `params.yaml` asks for in one tier; `values` is the file as it was read."""

    values: dict[str, Any]
    tier: Tier
    about: str
    datasets: dict[str, Dataset]
    augmentations: dict[str, Augmentation]
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
    document = yaml_reader.read(path)
    if tier is not None:
        document.values["tier"] = tier
    params = check(document)
    if params.tier not in params.tiers:
        raise UserError(f"{document.where(('tiers',))}: tier {params.tier!r} has no entry here; add one")
    consistency.check_size(document, params, {name: _grid(document, params, name) for name in params.studies})
    studies = [_study(document, params, name) for name in params.studies]
    about = params.tiers[params.tier].about
    return Resolved(document.values, params.tier, about, params.datasets, params.augmentations, studies)


def check(document: Document) -> Params:
    """Hold a document against the schema, and every value, used or not, against what it names.

    Raises:
        UserError: all violations of the schema, a line each; or the first value that cannot be.
    """
    params = messages.validated(document, Params)
    values.check(document, params)
    return params


def _grid(document: Document, params: Params, name: str) -> dict[str, Any]:
    """A study's grid, merged with its tier's, in a form that can be unfolded."""
    raw = document.values["studies"][name]
    variant = (raw.get("tiers") or {}).get(params.tier) or {}
    merged = grid.merge(raw["grid"], variant.get("grid") or {})
    consistency.check_grid(document.where(("studies", name, "grid")), merged)
    return merged


def _study(document: Document, params: Params, name: str) -> ResolvedStudy:
    given, tier = document.values, params.tier
    raw = given["studies"][name]
    variant = (raw.get("tiers") or {}).get(tier) or {}
    base = given["training"] | (given["tiers"][tier].get("base") or {}) | (raw.get("base") or {})
    base |= variant.get("base") or {}
    merged = _grid(document, params, name)
    # equal runs are one
    runs = list({run.model_dump_json(): run for run in map(Run.model_validate, grid.cells(merged, base))}.values())
    if not runs:
        raise UserError(f"{document.where(('studies', name, 'grid'))}: the grid is empty; exclude fewer runs")
    for run in {_shape(run): run for run in reversed(runs)}.values():
        consistency.check_run(document, params, name, run)
    study = params.studies[name]
    probes = {CLASSES, *(str(probe) for run in runs for probe in run.probes)}
    for figure, options in study.figures.items():
        consistency.check_figure(document, ("studies", name, "figures", figure), options, probes)
    for index, value in enumerate(study.published):
        consistency.check_measure(document, ("studies", name, "published", index), value, probes)
    return ResolvedStudy(name, study, grid.axes(merged), runs, base)


def asked_data(values: dict[str, Any], name: str) -> list[str]:
    """The data sets that a study is about: those of the tier `full`, whatever the others take in their place."""
    raw = values["studies"][name]
    variant, tier = (raw.get("tiers") or {}).get("full") or {}, values["tiers"].get("full") or {}
    parts = (values["training"], tier.get("base"), raw.get("base"), variant.get("base"))
    bases = [part["dataset"] for part in parts if part and "dataset" in part]
    merged = grid.merge(raw["grid"], variant.get("grid") or {})
    axes = [merged.get("zip"), merged.get("around"), merged.get("product"), *(merged.get("include") or [])]
    varied = [str(value) for axis in axes for value in (axis or {}).get("dataset", [])]
    return list(dict.fromkeys(varied or bases[-1:]))


def _shape(run: Run) -> str:
    """The settings that can be at odds with each other."""
    return run.model_dump_json(exclude={"seed", "learning_rate"})


def dataset(path: Path, name: str) -> Dataset:
    """One data set of a parameter file.

    Raises:
        UserError: the file is not as it must be, or has no such data set.
    """
    return _entry(path, "data set", "datasets", check(yaml_reader.read(path)).datasets, name)


def augmentation(path: Path, name: str) -> Augmentation:
    """One augmentation of a parameter file.

    Raises:
        UserError: the file is not as it must be, or has no such augmentation.
    """
    return _entry(path, "augmentation", "augmentations", check(yaml_reader.read(path)).augmentations, name)


def _entry(path: Path, kind: str, key: str, entries: dict[str, Entry], name: str) -> Entry:
    if name not in entries:
        raise UserError(f"{path}: no {kind} {name!r} under {key}{messages.nearest(name, list(entries))}")
    return entries[name]
