"""Checks of the program's own files: tables, figures, report, plans, wall times, provenance."""

from collections.abc import Callable, Iterator
from pathlib import Path

from bnbench.core import identities
from bnbench.core.files import Unreadable
from bnbench.core.paths import Project
from bnbench.manage.findings import Finding
from bnbench.plan.record import PlanRecord
from bnbench.store import records

REBUILD = "snakemake"  # rebuilds what was altered, and nothing else


def own_files(root: Path) -> Iterator[Finding]:
    """Check that tables, figures, report, plans and records are unaltered."""
    project = Project(root)
    for name, stage in identities.STAGES.items():
        found = sorted((root / stage.folder).glob(stage.pattern))
        if not found and any(root.glob(stage.results)):
            what = f"stage {name} has no identity in {root / stage.folder}: it did not finish, or the file was lost"
            yield Finding(what, REBUILD)
        yield from (Finding(what, REBUILD) for path in found for what in identities.altered(path))
    for path in sorted(project.plans.glob("[!.]*.json")):
        yield from _read(path, PlanRecord.read, f"rm -r {path}; snakemake writes it again when it needs it")
    for name, (_, remedy) in records.KINDS.items():
        for path in records.paths(project.results / name):
            yield from _read(path, records.read, remedy)


def _read(path: Path, read: Callable[[Path], object], remedy: str) -> Iterator[Finding]:
    """Yield a finding if a file cannot be read."""
    try:
        read(path)
    except Unreadable as error:
        yield Finding(f"{path}: {error.reason}", remedy)
