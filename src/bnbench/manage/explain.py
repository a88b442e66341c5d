"""Explain a run: who asks for it, how it differs, its data, its training; whether it comes out the same here."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any

from bnbench.core.errors import UserError
from bnbench.core.files import canonical
from bnbench.core.paths import Project
from bnbench.data.manifest import MANIFEST, read_manifest
from bnbench.params.config import PARAMS, options
from bnbench.params.fields import NO_AUGMENTATION
from bnbench.params.resolve import check as check_params
from bnbench.params.run_schema import Run
from bnbench.plan.identity import TRAINER_VERSION
from bnbench.plan.packs import PackRecord, write_packs
from bnbench.plan.plan import Plan
from bnbench.store import records, run_record


@dataclass(frozen=True)
class Asked:
    """A study that asks for a run, and what the run's settings are where they are not those of the study's base."""

    tier: str
    study: str
    title: str
    differs: dict[str, tuple[Any, Any]]


@dataclass(frozen=True)
class Found:
    """A run of the store or of the parameter file: settings, data, what is stored of it, who asks for it.

    `refused`: tiers of the file `params` that are invalid, and why; whether they ask for it is not known.
    """

    root: Path
    id: str
    config: dict[str, Any]
    data: str
    prepared: Path
    record: dict[str, Any] | None
    asked: list[Asked]
    params: Path = Path(PARAMS)
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Its place in the run store."""
        return Project(self.root).runs / self.id

    @property
    def options(self) -> str:
        """What tells Snakemake to plan for this run: a tier that asks for it, of this file."""
        return f" {options(self.params, self.asked[0].tier)}" if self.asked else ""

    @property
    def augmented(self) -> Path | None:
        """Its augmented training images, if it has any."""
        dataset, name = self.config["dataset"], self.config["augmentation"]
        return None if name == NO_AUGMENTATION else Project(self.root).augmented_of(dataset, name, self.data)


def valid_tiers(params: Path, root: Path = Path()) -> tuple[list[Plan], dict[str, str]]:
    """Plan every tier of a parameter file, the file's own first.

    Returns:
        The plans of valid tiers; why each of the others is refused.

    Raises:
        UserError: the file cannot be read, or no tier of it is valid.
    """
    known = check_params(params)
    plans: list[Plan] = []
    refused: dict[str, str] = {}
    for tier in dict.fromkeys([known.tier, *known.tiers]):
        try:
            plans.append(Plan(params, tier, root))
        except UserError as error:
            refused[tier] = str(error)
    if not plans:
        raise UserError(refused[known.tier])
    return plans, refused


def find(params: Path, prefix: str, root: Path = Path()) -> Found:
    """The run whose id begins with `prefix`.

    Raises:
        UserError: there is none, or more than one; or it is stored, but not whole.
    """
    plans, refused = valid_tiers(params, root)
    known = plans[0].stored.union(*(plan.runs for plan in plans))
    ids = sorted(name for name in known if name.startswith(prefix))
    if len(ids) != 1:
        which = f"{len(ids)} do: {', '.join(ids[:5])}" if ids else "none does; their ids are in results/tables/runs.csv"
        raise UserError(f"one run must begin with {prefix!r}, in the run store or in {params}, but {which}")
    name = ids[0]
    record = _stored(plans[0].store / name) if name in plans[0].stored else None
    asked = [one for plan in plans for one in _asked(plan, name)]
    plan = next((plan for plan in plans if name in plan.runs), plans[0])
    config = record["config"] if record else plan.runs[name].model_dump()
    data = record["data"] if record else plan.key(plan.runs[name])
    plain = config["augmentation"] == NO_AUGMENTATION
    key = data if plain else plan.keys.get(config["dataset"], "unknown")
    prepared = Project(root).prepared_of(config["dataset"], key)
    return Found(root, name, config, data, prepared, record, asked, params, refused)


def _stored(folder: Path) -> dict[str, Any]:
    found = run_record.load(folder)
    if found.record["trainer_version"] == TRAINER_VERSION:
        run_record.outcome(found)  # it says what is told of it here
    return found.record


def _asked(plan: Plan, name: str) -> Iterator[Asked]:
    for study in plan.resolved.studies:
        if name in plan.studies[study.name]:
            base, run = Run.model_validate(study.base).model_dump(), plan.runs[name].model_dump()
            differs = {key: (base[key], value) for key, value in run.items() if value != base[key]}
            yield Asked(plan.resolved.tier, study.name, study.study.title, differs)


def lines(found: Found) -> list[str]:
    """What there is to say of a run, a line each."""
    told = [f"run {found.id}: {_result(found.record)}"]
    for one in found.asked:
        told.append(f"asked for by study {one.study} ({one.title}), tier {one.tier}; there it differs from the base by")
        told += [f"  {key}: {_text(value)} (base: {_text(base)})" for key, (base, value) in one.differs.items()]
        if not one.differs:
            told.append("  nothing")
    if not found.asked:
        hint = "of a valid tier" if found.refused else "now (`bnbench prune` lists such runs)"
        told.append(f"asked for by no study {hint}")
    told += [f"tier {tier} is invalid, and so left out here: {why}" for tier, why in found.refused.items()]
    return [*told, *_data(found), *_training(found), *_again(found)]


def _result(record: dict[str, Any] | None) -> str:
    if record is None:
        return "not trained yet"
    accuracy = record["test_accuracy"]
    measured = "" if accuracy is None else f", test accuracy {accuracy:.4f}"
    return f"{record['status']}{measured} after {record['steps']} steps"


def _text(value: Any) -> str:
    return canonical(value).decode()


def _data(found: Found) -> Iterator[str]:
    yield f"data: {found.prepared}"
    if not (found.prepared / MANIFEST).is_file():
        yield f"  not prepared here; `snakemake data{found.options}` does it"
        return
    manifest = read_manifest(found.prepared)
    counts = ", ".join(f"{part['n']} {name}" for name, part in manifest["parts"].items())
    yield f"  {manifest['title']}, {counts} images; licence: {manifest['licence']}"
    yield from (f"  from {file}, {checksum}" for file, checksum in manifest["sources"].items())
    if not manifest["sources"]:
        yield f"  from scikit-learn's {manifest['format']}"


def _training(found: Found) -> Iterator[str]:
    if found.record is None:
        return
    at = found.record["environment"]
    yield (
        f"trained by trainer version {found.record['trainer_version']}, torch {at['torch']}, on {at['cpu']}, "
        f"{at['device']}, threads {at['threads']}, precision {found.config['precision']}"
    )
    origins = records.of_run(Project(found.root).provenance, found.id)
    if not origins:
        yield "  at an unknown commit: results/provenance has no record of it"
    for record in origins:
        libraries = ", ".join(f"{name} {number}" for name, number in record["libraries"].items())
        yield f"  {_commit(record['git'])}; source {record['source']}; {libraries}"
        if at := record.get("arithmetic"):  # records of earlier versions have none
            told = [f"{name}={value}" for name, value in at["variables"].items() if value is not None]
            yield f"  by {at['instructions']}, {'compiled' if at['compiled'] else 'not compiled'}; {', '.join(told)}"


def _commit(git: dict[str, Any] | None) -> str:
    if git is None:
        return "outside any git repository"
    if "refused" in git:
        return f"at an unknown commit, for git refused to tell: {git['refused']}"
    changed = [str(path) for path in git.get("changed") or ()]
    return f"at commit {str(git.get('commit'))[:12]}, {'changed: ' + ', '.join(changed) if changed else 'clean'}"


def _again(found: Found) -> Iterator[str]:
    remove = f"rm -r {quote(str(found.folder))} && " if found.record else ""
    if found.asked:
        yield f"train just this run{' again' if found.record else ''}: {remove}snakemake trained{found.options}"
    if found.record:
        file = "" if found.params == Path(PARAMS) else f" --params {quote(str(found.params))}"
        yield f"see whether it comes out the same here: bnbench explain {found.id} --check{file}"


def check(found: Found) -> list[str]:
    """Train a stored run again, beside the store, and compare.

    Returns:
        What differs, a line each: nothing, if every file has the same bytes.

    Raises:
        UserError: it is not stored, was trained by another trainer's version, or its data are not there.
    """
    if found.record is None:
        raise UserError(
            f"run {found.id} is not in the store, so there is nothing to compare with; `snakemake` trains it"
        )
    if found.record["trainer_version"] != TRAINER_VERSION:
        raise UserError(
            f"run {found.id} was trained by trainer version {found.record['trainer_version']}, this is version "
            f"{TRAINER_VERSION}; check out the commit that trained it"
        )
    for folder in filter(None, (found.prepared, found.augmented)):
        if not (folder / MANIFEST).is_file():
            raise UserError(f"{folder} is missing; `snakemake data{found.options}` makes it, if a tier asks for it")
    with tempfile.TemporaryDirectory(prefix="bnbench-check-") as name:
        again = _train(found, Path(name))
        return _differences(found.folder, again)


def _train(found: Found, folder: Path) -> Path:
    assert found.record
    augmented = str(found.augmented) if found.augmented else None
    pack = PackRecord.of({found.id: Run.model_validate(found.config)}, str(found.prepared), 1.0, augmented)
    write_packs(folder / "job.json", [pack])
    places = [f"--{name}={folder / place}" for name, place in (("out", "runs"), ("timings", "t"), ("work", "w"))]
    device = f"--device={found.record['environment']['device']}"
    command = [sys.executable, "-m", "bnbench.cli", "train", str(folder / "job.json"), *places, device, "--workers=1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"training run {found.id} again failed: {done.stderr.strip()}")
    return folder / "runs" / found.id


def _differences(stored: Path, again: Path) -> list[str]:
    one, two = run_record.load(stored), run_record.load(again)
    names = sorted(one.files.keys() | two.files.keys())
    other = [name for name in names if one.files.get(name) != two.files.get(name)]
    if not other:
        return []
    keys = [key for key in one.record if key not in ("digest", "files") and one.record[key] != two.record.get(key)]
    told = [f"{key}: stored {_text(one.record[key])}, here {_text(two.record.get(key))}" for key in keys]
    return [f"other bytes in {', '.join(other)}", *told]
