"""Records of packs: their wall times and the provenance of their runs.

No result depends on a record. So estimates and explanations skip an unreadable one, and `bnbench doctor` names it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, PositiveFloat

from bnbench.core.errors import UserError
from bnbench.core.files import Unreadable, read_sealed
from bnbench.params.run_schema import Run
from bnbench.store.validation import validated


class Record(BaseModel):
    """Keys of every record; further keys are allowed."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, strict=True)
    runs: list[str]


class Timing(Record):
    """Measured and estimated wall time of a pack, in seconds."""

    seconds: PositiveFloat
    estimated: PositiveFloat
    cpu: str
    device: str


class Environment(BaseModel):
    """Machine and engine that runs were trained with.

    Attributes:
        processor: its name, as the system reports it.
        device: the kind of device that trained, `cpu` or `cuda`.
        gpu: its name, if there is one.
        threads: number of threads per run.
        engine: what executed the training steps: `programs`, `single operations`, `CUDA graphs`.
        instructions: instruction set of the compiled operations; None if they were not used.
        arithmetic: version of the defined arithmetic; None likewise.
        products: type of the factors of larger matrix products, `fp32` or `bf16`.
        comparable: whether the results are the same bytes on every machine.
        reason: why they are not, else None.
    """

    model_config = ConfigDict(extra="ignore", strict=True)
    processor: str
    device: str
    gpu: str | None
    threads: int
    engine: str
    instructions: str | None
    arithmetic: int | None
    products: str
    comparable: bool
    reason: str | None


class Origin(Record):
    """Provenance of a pack's runs: git state, digest of the source code, versions of libraries, environment.

    Records of trainer version 3 and earlier have no environment.
    """

    git: dict[str, Any] | None
    source: str
    libraries: dict[str, str]
    environment: Environment | None = None


# folder below `results/` -> the model of its files, the remedy for an invalid one
KINDS: dict[str, tuple[type[Record], str]] = {
    "timings": (Timing, "delete it: only an estimate of the training time is lost"),
    "provenance": (Origin, "delete it: only the provenance of these runs is lost, no result"),
}


def not_comparable(run: Run) -> str | None:
    """Return the setting that lets a run's results differ between machines; None if they are the same on each CPU."""
    if run.backend != "torch":
        return f"backend: {run.backend}"
    return None if run.precision == "exact" else f"precision: {run.precision}"


def read(path: Path) -> dict[str, Any]:
    """Return a record; its folder determines its kind.

    Raises:
        UserError: the file cannot be read, was altered, or lacks a key.
    """
    kind, remedy = KINDS[path.parent.name]
    record = read_sealed(path, remedy, must=False)
    if "environment" in record and "digest" not in record:  # such records were always sealed: the key is damaged
        raise Unreadable(path, "it was altered: it names no digest", remedy)
    validated(kind, record, path, remedy)
    return record


def paths(folder: Path) -> list[Path]:
    """Return the paths of the records in a folder."""
    return sorted(folder.glob("[!.]*.json"))


def readable(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the readable records of a folder with their paths."""
    for path in paths(folder):
        try:
            yield path, read(path)
        except UserError:
            continue  # `doctor` names it


def of_run(folder: Path, run_id: str) -> list[dict[str, Any]]:
    """Return the readable records that name a run, in the order of their files' names."""
    return [record for _, record in readable(folder) if run_id in record["runs"]]


def sources(folder: Path) -> dict[str, set[str]]:
    """Return for each run the digests of the source that trained it, as far as usable records name them."""
    found: dict[str, set[str]] = {}
    for _, record in readable(folder):
        for run_id in record["runs"]:
            found.setdefault(run_id, set()).add(record["source"])
    return found
