"""Explanation of a run: the studies that request it, its settings, data and provenance, and how to reproduce it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any

from bnbench.core.errors import UserError
from bnbench.core.files import canonical
from bnbench.core.paths import Project
from bnbench.data.manifest import MANIFEST, read_manifest
from bnbench.manage.tiers import valid_tiers
from bnbench.params.config import PARAMS, options
from bnbench.params.fields import NO_AUGMENTATION
from bnbench.params.run_schema import Run
from bnbench.plan.identity import TRAINER_VERSION
from bnbench.plan.plan import Plan
from bnbench.store import records, run_record


@dataclass(frozen=True)
class Request:
    """A study that requests a run; `differs` has, by setting, the value of the study's base and that of the run."""

    tier: str
    study: str
    title: str
    differs: dict[str, tuple[Any, Any]]


@dataclass(frozen=True)
class Explained:
    """A run of the store or of the parameter file.

    Args:
        project: the folder of all results.
        id: the run id.
        config: its settings.
        data: the fingerprint of its data.
        prepared: the folder of its prepared data.
        record: its stored `run.json`; None if it is not stored.
        requests: the studies of all valid tiers that request it.
        params: the parameter file.
        refused: for each invalid tier the error message; whether such a tier requests the run is unknown.
    """

    project: Project
    id: str
    config: dict[str, Any]
    data: str
    prepared: Path
    record: dict[str, Any] | None
    requests: list[Request]
    params: Path = Path(PARAMS)
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Its folder in the run store."""
        return self.project.runs / self.id

    @property
    def options(self) -> str:
        """Options with which Snakemake plans a tier that requests the run; "" if none does."""
        return f" {options(self.params, self.requests[0].tier)}" if self.requests else ""

    @property
    def augmented(self) -> Path | None:
        """The folder of its augmented training images, if it has any."""
        dataset, name = self.config["dataset"], self.config["augmentation"]
        return None if name == NO_AUGMENTATION else self.project.augmented_of(dataset, name, self.data)


def find(params: Path, prefix: str, root: Path = Path()) -> Explained:
    """Find the run whose id starts with `prefix`.

    Raises:
        UserError: no run does, or more than one; or the stored run is damaged.
    """
    plans, refused = valid_tiers(params, root)
    known = plans[0].stored.union(*(plan.runs for plan in plans))
    ids = sorted(name for name in known if name.startswith(prefix))
    if len(ids) != 1:
        which = f"{len(ids)} do: {', '.join(ids[:5])}" if ids else "none does; their ids are in results/tables/runs.csv"
        raise UserError(f"one run id in the run store or in {params} must start with {prefix!r}, but {which}")
    name = ids[0]
    record = _stored(plans[0].store / name) if name in plans[0].stored else None
    plan = next((plan for plan in plans if name in plan.runs), plans[0])
    config = record["config"] if record else plan.runs[name].model_dump()
    data = record["data"] if record else plan.key(plan.runs[name])
    plain = config["augmentation"] == NO_AUGMENTATION
    key = data if plain else plan.keys.get(config["dataset"], "unknown")
    return Explained(
        project=plan.project,
        id=name,
        config=config,
        data=data,
        prepared=plan.project.prepared_of(config["dataset"], key),
        record=record,
        requests=[request for plan in plans for request in _requests(plan, name)],
        params=params,
        refused=refused,
    )


def _stored(folder: Path) -> dict[str, Any]:
    """Return a stored run's `run.json`; one of this trainer version must also fit its model."""
    found = run_record.load(folder)
    if found.record["trainer_version"] == TRAINER_VERSION:
        run_record.outcome(found)
    return found.record


def _requests(plan: Plan, run_id: str) -> Iterator[Request]:
    """Yield the studies of a plan that request a run."""
    for study in plan.resolved.studies:
        if run_id in plan.studies[study.name]:
            base, run = Run.model_validate(study.base).model_dump(), plan.runs[run_id].model_dump()
            differs = {key: (base[key], value) for key, value in run.items() if value != base[key]}
            yield Request(plan.resolved.tier, study.name, study.study.title, differs)


def lines(run: Explained) -> list[str]:
    """Return the explanation of a run, a line per fact."""
    return [
        f"run {run.id}: {_result(run.record)}",
        *_requested_by(run),
        *(f"tier {tier} is invalid and was not searched: {error}" for tier, error in run.refused.items()),
        *_data(run),
        *_training(run),
        *_commands(run),
    ]


def _result(record: dict[str, Any] | None) -> str:
    if record is None:
        return "not trained yet"
    accuracy = record["test_accuracy"]
    measured = "" if accuracy is None else f", test accuracy {accuracy:.4f}"
    return f"{record['status']}{measured} after {record['steps']} steps"


def _requested_by(run: Explained) -> Iterator[str]:
    for one in run.requests:
        yield f"requested by study {one.study} ({one.title}), tier {one.tier}; differences from the study's base:"
        for key, (base, value) in one.differs.items():
            yield f"  {key}: {canonical(value).decode()} (base: {canonical(base).decode()})"
        if not one.differs:
            yield "  none"
    if not run.requests:
        hint = "of a valid tier" if run.refused else "now (`bnbench prune` lists such runs)"
        yield f"requested by no study {hint}"


def _data(run: Explained) -> Iterator[str]:
    yield f"data: {run.prepared}"
    if not (run.prepared / MANIFEST).is_file():
        yield f"  not prepared here; `snakemake data{run.options}` prepares them"
        return
    manifest = read_manifest(run.prepared)
    counts = ", ".join(f"{part['n']} {name}" for name, part in manifest["parts"].items())
    yield f"  {manifest['title']}, {counts} images; licence: {manifest['licence']}"
    yield from (f"  from {file}, {checksum}" for file, checksum in manifest["sources"].items())
    if not manifest["sources"]:
        yield f"  from scikit-learn's {manifest['format']}"


def _training(run: Explained) -> Iterator[str]:
    if run.record is None:
        return
    yield f"trained by trainer version {run.record['trainer_version']}, precision {run.config['precision']}"
    origins = records.of_run(run.project.provenance, run.id)
    if not origins:
        yield f"  at an unknown commit: {run.project.provenance} has no record of it"
    for record in origins:
        libraries = ", ".join(f"{name} {number}" for name, number in record["libraries"].items())
        yield f"  {commit(record['git'])}; source {record['source']}; {libraries}"
        if record.get("environment"):  # absent from records of earlier trainer versions
            yield f"  {environment(record['environment'])}"
        variables = [f"{name}={value}" for name, value in record.get("variables", {}).items() if value is not None]
        if variables:
            yield f"  environment variables: {', '.join(variables)}"


def environment(at: dict[str, Any]) -> str:
    """Describe the environment of a provenance record, and whether its results are the same on every machine."""
    compiled = f" ({at['instructions']}, arithmetic {at['arithmetic']})" if at["instructions"] else ""
    where = f"on {at['gpu'] or at['processor']}, {at['device']}, threads {at['threads']}"
    same = "the same bytes on every machine" if at["comparable"] else f"not comparable between machines: {at['reason']}"
    return f"{where}; executed by {at['engine']}{compiled}; {same}"


def commit(git: dict[str, Any] | None) -> str:
    """Describe the commit of a provenance record: its hash, and the files changed since."""
    if git is None:
        return "outside any git repository"
    if "refused" in git:
        return f"at an unknown commit: git refused to read the repository: {git['refused']}"
    changed = [str(path) for path in git.get("changed") or ()]
    return f"at commit {str(git.get('commit'))[:12]}, {'changed: ' + ', '.join(changed) if changed else 'clean'}"


def _commands(run: Explained) -> Iterator[str]:
    remove = f"rm -r {quote(str(run.folder))} && " if run.record else ""
    if run.requests:
        yield f"train just this run{' again' if run.record else ''}: {remove}snakemake trained{run.options}"
    if run.record:
        file = "" if run.params == Path(PARAMS) else f" --params {quote(str(run.params))}"
        yield f"check that it is reproduced here: bnbench explain {run.id} --check{file}"
