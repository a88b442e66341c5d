"""Every path that the program writes below a project's folder, and what must be requested so that it is not pruned.

`Project` names the paths; `OUTPUTS` lists them as patterns, for `bnbench prune`, `bnbench doctor`, the check at a start
that all of them can be written, and `make clean`, which runs this file by itself: it prints what to remove. So this
module needs the standard library alone.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

LARGEST = 2**30  # bytes of a file that is read at once
ALWAYS = "always"  # a key that is requested whatever the parameters are


class Project:
    """A project's folder, and the path of everything that the program writes below it.

    `Project()` has paths relative to the folder, as Snakemake's rules, job files and the plan's record name them.

    Args:
        root: the folder that holds `data/`, `results/`, `reports/`.
    """

    def __init__(self, root: Path = Path()) -> None:
        self.root = root
        self.raw = root / "data" / "raw"  # downloads, and a mark beside each that is finished
        self.prepared = root / "data" / "prepared"
        self.augmented = root / "data" / "augmented"

        self.results = root / "results"
        self.runs = self.results / "runs"  # the run store: a folder per run id
        self.timings = self.results / "timings"  # wall times, a file per pack
        self.provenance = self.results / "provenance"  # commit, libraries, environment, a file per pack
        self.tables = self.results / "tables"
        self.metrics = self.results / "metrics.json"

        self.reports = root / "reports"
        self.figures = self.reports / "figures"
        self.identities = self.reports / "identity"  # those of figures and report; that of the tables is among them

        self.work = root / ".bnbench"  # what no result depends on
        self.plans = self.work / "plans"
        self.jobs = self.work / "jobs"  # of each job `ID.json`, its packs, and `ID.done`, the mark that it finished
        self.checkpoints = self.work / "checkpoints"
        self.collected = self.work / "collected"
        self.stage_times = self.work / "stages"
        self.slurm = self.work / "slurm"
        self.starts = self.work / "starts.json"

        self.logs = root / "logs"

    def raw_of(self, dataset: str, key: str) -> Path:
        """Return the folder that a data set is downloaded to."""
        return self.raw / f"{dataset}-{key}"

    def prepared_of(self, dataset: str, key: str) -> Path:
        """Return the folder of a prepared data set."""
        return self.prepared / f"{dataset}-{key}"

    def augmented_of(self, dataset: str, augmentation: str, key: str) -> Path:
        """Return the folder of a data set's augmented training images."""
        return self.augmented / dataset / f"{augmentation}-{key}"

    @property
    def report(self) -> list[Path]:
        """The report in its formats."""
        return [self.reports / f"report.{kind}" for kind in ("html", "pdf", "md")]


RELATIVE = Project()

Keys = Callable[[Path, Path], Iterable[str]]  # of a project's folder and a path below it


def single(_root: Path, _path: Path) -> Iterable[str]:
    """Return the key of a file of which there is one, which is overwritten."""
    return (ALWAYS,)


def transient(_root: Path, _path: Path) -> Iterable[str]:
    """Return no key: only a start that is at work needs the path."""
    return ()


def by_name(_root: Path, path: Path) -> Iterable[str]:
    """Return the run id or the plan's id that a path is named for."""
    return (path.stem,)


def by_path(_root: Path, path: Path) -> Iterable[str]:
    """Return the folder of data that a path is, or marks as finished."""
    return (str(path.with_suffix("") if path.suffix == ".done" else path),)


def by_log(_root: Path, path: Path) -> Iterable[str]:
    """Return the key of a log of data, `logs/STAGE/A/B.log`: its stage, and the rest joined, as `STAGE A-B`."""
    stage, *rest = path.with_suffix("").parts[1:]
    return (f"{stage} {'-'.join(rest)}",)


def inside(root: Path, path: Path) -> Iterable[str]:
    """Return the ids of the runs that a record or a job file names; `ALWAYS` where it cannot be read."""
    try:
        if not (root / path).is_file() or (root / path).stat().st_size > LARGEST:  # a pipe would wait for its writer
            return (ALWAYS,)
        record = json.loads((root / path).read_bytes())
        return [run for pack in (record if isinstance(record, list) else [record]) for run in pack["runs"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return (ALWAYS,)


def of_job(root: Path, path: Path) -> Iterable[str]:
    """Return the ids of the runs of a job: those that its file names."""
    job = RELATIVE.jobs / f"{path.stem}.json"
    return inside(root, job) if (root / job).exists() else ()


@dataclass(frozen=True)
class Output:
    """Paths that the program writes.

    Args:
        pattern: the paths, relative to the project's folder.
        what: what they hold.
        keys: gives the keys of a path; it stays as long as one of them is requested.
    """

    pattern: Path
    what: str
    keys: Keys = single

    @property
    def folder(self) -> Path:
        """The deepest folder that contains all of the paths."""
        parts = self.pattern.parts[:-1]
        return Path(*parts[: next((i for i, part in enumerate(parts) if "*" in part), len(parts))])

    def found(self, root: Path) -> Iterator[Path]:
        """Yield the existing paths that are not hidden, relative to `root`, sorted."""
        paths = (path.relative_to(root) for path in root.glob(str(self.pattern)))
        return iter(sorted(path for path in paths if not path.name.startswith(".")))


RUNS = Output(RELATIVE.runs / "*", "the run store", by_name)
# in the order in which they are removed: the runs last, so that what remains after an interruption is found again
OUTPUTS = (
    Output(RELATIVE.timings / "*.json", "wall times of packs", inside),
    Output(RELATIVE.provenance / "*.json", "provenance of runs", inside),
    Output(RELATIVE.checkpoints / "*", "checkpoints", by_name),
    Output(RELATIVE.logs / "train" / "*.log", "logs of jobs", of_job),
    Output(RELATIVE.jobs / "*.done", "marks of finished jobs", of_job),
    Output(RELATIVE.jobs / "*.json", "job files", of_job),
    Output(RELATIVE.logs / "augment" / "*" / "*.log", "logs of augmentation", by_log),
    Output(RELATIVE.logs / "prepare" / "*.log", "logs of preparation", by_log),
    Output(RELATIVE.logs / "download" / "*.log", "logs of downloads", by_log),
    Output(RELATIVE.augmented / "*" / "*", "augmented images", by_path),
    Output(RELATIVE.prepared / "*", "prepared data", by_path),
    Output(RELATIVE.raw / "*", "downloads and their marks", by_path),
    Output(RELATIVE.plans / "*.json", "plans", by_name),
    Output(RELATIVE.collected / "*", "marks of a start", transient),
    Output(RELATIVE.stage_times / "*", "wall times of a start's stages", transient),
    Output(RELATIVE.slurm / "*", "scripts and logs of Slurm jobs"),
    Output(RELATIVE.starts, "which starts live"),
    Output(RELATIVE.logs / "*.log", "logs of the last stages"),
    Output(RELATIVE.tables / "*", "tables and their identity"),
    Output(RELATIVE.metrics, "the few numbers of `dvc metrics`"),
    Output(RELATIVE.figures / "*", "figures"),
    Output(RELATIVE.identities / "*", "identities of figures and report"),
    Output(RELATIVE.reports / "report.*", "the report"),
    RUNS,
)
SHARED = (RELATIVE.results, RELATIVE.reports)  # with files that are not the program's


def folders() -> list[Path]:
    """Return the folders that are written to, each after those above it."""
    found = {above for output in OUTPUTS for above in (output.folder, *output.folder.parents)}
    return sorted(found - {Path()})


def tops() -> list[str]:
    """Return the patterns, for a shell, of all that the program writes and nothing else."""
    shared = {output.pattern.parts[:2] for output in OUTPUTS if Path(output.pattern.parts[0]) in SHARED}
    own = {output.pattern.parts[:1] for output in OUTPUTS if Path(output.pattern.parts[0]) not in SHARED}
    return sorted("/".join(parts) for parts in shared | own)


if __name__ == "__main__":
    print(*tops())
