"""Records of packs: wall times, and where runs come from. They tell, and decide no result.

So one that cannot be used is passed over where an estimate is made or a run explained, and `doctor` names it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, PositiveFloat, ValidationError

from bnbench.core.errors import UserError
from bnbench.core.files import Unreadable, read_sealed


class Record(BaseModel):
    """What every record says; more keys may be there."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, strict=True)
    runs: list[str]


class Timing(Record):
    """How long a pack took, and how long it was thought to take, in seconds."""

    seconds: PositiveFloat
    estimated: PositiveFloat
    cpu: str
    device: str


class Origin(Record):
    """Where a pack's runs come from."""

    git: dict[str, Any] | None
    source: str
    libraries: dict[str, str]


# folder below `results/` -> what its files must hold, what to do about one that does not
KINDS: dict[str, tuple[type[Record], str]] = {
    "timings": (Timing, "delete it: only an estimate of how long training takes is lost"),
    "provenance": (Origin, "delete it: only the record of where these runs come from is lost, no result"),
}


def read(path: Path) -> dict[str, Any]:
    """A record; the folder that it is in says of which kind.

    Raises:
        UserError: it cannot be read, or was altered.
    """
    kind, remedy = KINDS[path.parent.name]
    record = read_sealed(path, remedy, must=False)
    try:
        kind.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        raise Unreadable(path, f"{'.'.join(map(str, first['loc']))}: {first['msg']}", remedy) from None
    return record


def paths(folder: Path) -> list[Path]:
    """The files of a folder of records."""
    return sorted(folder.glob("[!.]*.json"))


def whole(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The records of a folder that can be used."""
    for path in paths(folder):
        try:
            yield path, read(path)
        except UserError:
            continue  # `doctor` names it


def of_run(folder: Path, run_id: str) -> list[dict[str, Any]]:
    """Return the usable records that name a run, in the order of their files' names."""
    return [record for _, record in whole(folder) if run_id in record["runs"]]


def sources(folder: Path) -> dict[str, set[str]]:
    """Return for each run the digests of the source that trained it, as far as usable records name them."""
    found: dict[str, set[str]] = {}
    for _, record in whole(folder):
        for run_id in record["runs"]:
            found.setdefault(run_id, set()).add(record["source"])
    return found
