"""Digests of a tier's results, published in the repository: what every machine that runs the tier must get."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from bnbench.core.files import read_sealed, write_sealed
from bnbench.params.fields import Tier
from bnbench.store import measurements
from bnbench.store.run_record import Content
from bnbench.store.validation import validated

FOLDER = Path("docs", "results")
REMEDY = "restore it with git; bnbench verify --write publishes the results that are here"


class Published(BaseModel):
    """Published digests of a tier.

    Attributes:
        tier: the tier.
        arithmetic: version of the defined arithmetic that gave them.
        trainer_version: likewise.
        processors: names of the processors that gave exactly these results.
        tables: SHA-256 of each table as CSV, without the rows of runs that are not comparable.
        runs: by run id the digest of its measurements, a space, and their marks: see `store.measurements`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    tier: Tier
    arithmetic: int
    trainer_version: int
    processors: list[str]
    tables: dict[str, str]
    runs: dict[str, str]


@dataclass(frozen=True)
class Difference:
    """The first measurement of a run that is not as published; None if its marks do not tell."""

    run_id: str
    first: measurements.Measurement | None


def path(tier: str) -> Path:
    """Return the path of a tier's digests."""
    return FOLDER / f"{tier}.json"


def read(tier: str) -> Published:
    """Read a tier's digests.

    Raises:
        Missing: none are published.
        Unreadable: the file was altered, or does not hold digests.
    """
    record = read_sealed(path(tier), REMEDY)
    return validated(Published, {key: value for key, value in record.items() if key != "digest"}, path(tier), REMEDY)


def write(published: Published) -> None:
    """Write a tier's digests: sorted, a line per run."""
    write_sealed(path(published.tier), published.model_dump())


def of_run(run: Content) -> str:
    """Return what is published of a run."""
    found = measurements.measurements(run)
    return f"{measurements.digest(found)} {measurements.marks(found)}"


def difference(run: Content, expected: str) -> Difference | None:
    """Compare a stored run with what is published of it; return None if they are equal."""
    found = measurements.measurements(run)
    own_digest, _, marks = expected.partition(" ")
    if measurements.digest(found) == own_digest:
        return None
    return Difference(run.folder.name, measurements.first_difference(found, marks))
