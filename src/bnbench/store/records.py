"""Records of packs: their wall times and the provenance of their runs.

No result depends on a record. So estimates and explanations skip an unreadable one, and `bnbench doctor` names it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, PositiveFloat

from bnbench.core.errors import UserError
from bnbench.core.files import read_sealed
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


class Origin(Record):
    """Provenance of a pack's runs: git state, digest of the source code, versions of libraries."""

    git: dict[str, Any] | None
    source: str
    libraries: dict[str, str]


# folder below `results/` -> the model of its files, the remedy for an invalid one
KINDS: dict[str, tuple[type[Record], str]] = {
    "timings": (Timing, "delete it: only an estimate of the training time is lost"),
    "provenance": (Origin, "delete it: only the provenance of these runs is lost, no result"),
}


def read(path: Path) -> dict[str, Any]:
    """Return a record; its folder determines its kind.

    Raises:
        UserError: the file cannot be read, was altered, or lacks a key.
    """
    kind, remedy = KINDS[path.parent.name]
    record = read_sealed(path, remedy, must=False)
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
