"""What of the program's own files is not as it was written, and what to do about each."""

from collections.abc import Callable, Iterator
from pathlib import Path

from bnbench.core import identities
from bnbench.core.files import Unreadable
from bnbench.core.paths import Project
from bnbench.plan.record import PlanRecord
from bnbench.store import records

Problem = tuple[str, str]
REMAKE = "snakemake"  # makes anew what is not as it was written, and only that


def problems(root: Path) -> Iterator[Problem]:
    """What is wrong, and the remedy: of tables, figures, report; of plans; of wall times and provenance."""
    for name, stage in identities.STAGES.items():
        found = sorted((root / stage.folder).glob(stage.pattern))
        if not found and any(root.glob(stage.results)):
            yield f"stage {name} has no identity in {root / stage.folder}: it did not end, or that was lost", REMAKE
        yield from ((what, REMAKE) for path in found for what in identities.altered(path))
    for path in sorted(Project(root).plans.glob("[!.]*.json")):
        yield from _read(path, PlanRecord.read, f"rm -r {path}; snakemake writes it anew when it needs it")
    for name, (_, remedy) in records.KINDS.items():
        for path in records.paths(Project(root).results / name):
            yield from _read(path, records.read, remedy)


def _read(path: Path, read: Callable[[Path], object], remedy: str) -> Iterator[Problem]:
    try:
        read(path)
    except Unreadable as error:
        yield f"{path}: {error.reason}", remedy
