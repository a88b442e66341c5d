"""Every place of a project's folder that the program writes to, and what has to be asked for that it stays: one list.

`bnbench prune` and `bnbench doctor` go through it, `snakemake` looks first whether all can be written, and `make clean`
runs this file, which prints what to remove. So it needs the standard library alone.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

LARGEST = 2**30  # bytes of a file that is read at once
ALWAYS = "always"  # a key that is asked for whatever the parameters are

Keys = Callable[[Path, Path], Iterable[str]]  # of a project's folder and a path below it


def kept(_root: Path, _path: Path) -> Iterable[str]:
    """What is one of its kind, and written over."""
    return (ALWAYS,)


def passing(_root: Path, _path: Path) -> Iterable[str]:
    """What only a start that is at work needs."""
    return ()


def by_name(_root: Path, path: Path) -> Iterable[str]:
    """What is named for a run or a report."""
    return (path.stem,)


def by_place(_root: Path, path: Path) -> Iterable[str]:
    """What lies where the parameters ask for it, and its mark."""
    return (str(path.with_suffix("") if path.suffix == ".done" else path),)


def by_log(_root: Path, path: Path) -> Iterable[str]:
    """A log of data that are made: `logs/STAGE/` and the data's place below `data/`, joined."""
    return (f"{path.parent.name} {path.stem}",)


def inside(root: Path, path: Path) -> Iterable[str]:
    """The runs that a record or a job names. What cannot be read stays."""
    try:
        if not (root / path).is_file() or (root / path).stat().st_size > LARGEST:  # a pipe would wait for its writer
            return (ALWAYS,)
        record = json.loads((root / path).read_bytes())
        return [run for pack in (record if isinstance(record, list) else [record]) for run in pack["runs"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return (ALWAYS,)


def of_job(root: Path, path: Path) -> Iterable[str]:
    """The runs of a job: what its file names."""
    job = Path(".bnbench", "jobs", f"{path.stem}.json")
    return inside(root, job) if (root / job).exists() else ()


@dataclass(frozen=True)
class Place:
    """Paths that the program writes, what they are, and the keys of which one must be asked for that a path stays."""

    pattern: str
    what: str
    keys: Keys = kept

    @property
    def folder(self) -> Path:
        """The last folder above them all."""
        parts = Path(self.pattern).parts[:-1]
        return Path(*parts[: next((i for i, part in enumerate(parts) if "*" in part), len(parts))])

    def found(self, root: Path) -> Iterator[Path]:
        """The paths that there are, below `root`, in order; hidden ones are none."""
        paths = (path.relative_to(root) for path in root.glob(self.pattern))
        return iter(sorted(path for path in paths if not path.name.startswith(".")))


RUNS = Place("results/runs/*", "the run store", by_name)
# in the order in which they are removed: what follows from the runs first, so that what is left is found again
PLACES = (
    Place("results/timings/*.json", "wall times of packs", inside),
    Place("results/provenance/*.json", "where runs come from", inside),
    Place(".bnbench/checkpoints/*", "checkpoints", by_name),
    Place("logs/train/*.log", "what jobs said", of_job),
    Place(".bnbench/jobs/*.done", "marks of finished jobs", of_job),
    Place(".bnbench/jobs/*.json", "jobs", of_job),
    Place("logs/augment/*.log", "what augmenting said", by_log),
    Place("logs/prepare/*.log", "what preparing said", by_log),
    Place("logs/download/*.log", "what downloads said", by_log),
    Place("data/augmented/*/*", "moved images", by_place),
    Place("data/prepared/*", "prepared data", by_place),
    Place("data/raw/*", "downloads and their marks", by_place),
    Place(".bnbench/plans/*.json", "plans", by_name),
    Place(".bnbench/collected/*", "marks of a start", passing),
    Place(".bnbench/stages/*", "times of a start", passing),
    Place(".bnbench/slurm/*", "what Slurm's jobs need and say"),
    Place(".bnbench/starts.json", "who starts here"),
    Place("logs/*.log", "what the last stages said"),
    Place("results/tables/*", "tables and their identity"),
    Place("results/metrics.json", "the few numbers"),
    Place("reports/figures/*", "figures"),
    Place("reports/identity/*", "whose figures and report they are"),
    Place("reports/report.*", "the report"),
    RUNS,
)
SHARED = ("results", "reports")  # with files that are not the program's


def folders() -> list[Path]:
    """The folders that are written to, each after those above it."""
    found = {above for place in PLACES for above in (place.folder, *place.folder.parents)}
    return sorted(found - {Path()})


def tops() -> list[str]:
    """What holds all of it and nothing else, as patterns of a shell."""
    parts = [Path(place.pattern).parts for place in PLACES]
    return sorted({"/".join(part[:2]) if part[0] in SHARED else part[0] for part in parts})


if __name__ == "__main__":
    print(*tops())
