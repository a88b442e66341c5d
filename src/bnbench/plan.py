"""The plan: studies -> runs -> packs, and what of it is done, missing or orphaned, before anything starts.

Whatever decides a result is in its name: a run id is the hash of the run's settings, of its data and of the
trainer's version; tables, figures and report carry the hash of what they were made from. So nothing depends on
modification times or on a tool's memory.
"""

import contextlib
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any
from uuid import uuid4

from bnbench import cost, devices, stages
from bnbench.cluster import Cluster
from bnbench.data import augmented_fingerprint, fingerprint
from bnbench.errors import UserError
from bnbench.files import canonical, check_folder, digest, read_json, source_digest, write_json
from bnbench.params import Resolved, resolve
from bnbench.schema import NO_AUGMENTATION, Run

# Raised by hand when the meaning of training changes: every run is then another run.
TRAINER_VERSION = 2

# What may differ between the runs of a pack; all else is their shape.
OF_A_RUN = {"seed", "learning_rate"}

# Folders that the workflow writes to. Snakemake's own error where one cannot be written has no remedy.
PLACES = (
    *("data", "data/raw", "data/prepared", "results", "results/runs", "results/timings", "results/provenance"),
    "results/tables",
    *("reports", "reports/figures", "reports/identity", ".bnbench", ".bnbench/jobs", ".bnbench/plans"),
    *(".bnbench/collected", "logs"),
)

# The modules whose source decides what a stage makes of its input.
COLLECT = ("collect.py", "notation.py", "runs.py", "spans.py", "summary.py", "tables.py")
DRAW = (
    "architecture.py", "axes.py", "captions.py", "confusion.py", "contact.py", "curves.py", "figures.py", "heatmap.py",
    "hyperplanes.py", "labels.py", "look.py", "markdown.py", "networks.py", "panels.py", "points.py",
    "predictions.py", "remarks.py", "ridges.py", "summary.py", "sweeps.py", "tables.py", "usable.py",
)  # fmt: skip
REPORT = (
    "architecture.py", "behind.py", "document.py", "labels.py", "markdown.py", "points.py", "published.py",
    "report.py", "results.py", "summary.py", "tables.py", "usable.py",
    "assets/folded.lua", "assets/report.css", "assets/report.html", "assets/report.typ",
)  # fmt: skip


@dataclass(frozen=True)
class Pack:
    """Runs of one shape, trained side by side; estimated seconds, and MiB at its peak. Its id hashes its run ids."""

    runs: dict[str, Run]
    data: str
    seconds: float
    augmented: str | None = None
    memory: float = cost.PROCESS_MIB

    @cached_property
    def id(self) -> str:
        """Hash of the run ids."""
        return digest(sorted(self.runs))

    def record(self) -> dict[str, Any]:
        """The pack as JSON, for the worker that trains it."""
        runs = {run_id: run.model_dump() for run_id, run in self.runs.items()}
        where = {"data": self.data, "augmented": self.augmented}
        return {"id": self.id, **where, "seconds": self.seconds, "memory": self.memory, "runs": runs}


class Plan:
    """All that a parameter file asks for in one tier, held against the run store.

    Args:
        params: the parameter file.
        tier: a tier instead of the file's.
        root: the folder that holds `data/`, `results/`, `reports/`.

    Raises:
        UserError: the parameter file is not as it must be.
    """

    def __init__(self, params: Path, tier: str | None = None, root: Path = Path()) -> None:
        self.resolved: Resolved = resolve(params, tier)
        self.memory = cost.memory_here() / (os.cpu_count() or 1)  # MiB of a worker
        self.params = params
        self.root = root
        self.keys = {name: fingerprint(dataset) for name, dataset in self.resolved.datasets.items()}
        self.runs: dict[str, Run] = {}
        self.studies: dict[str, list[str]] = {}
        for study in self.resolved.studies:
            named = {run_id(run, self.key(run)): run for run in study.runs}
            self.runs |= named
            self.studies[study.name] = list(named)

    def key(self, run: Run) -> str:
        """What decides a run's data: the fingerprint of its data set, or of that data set's augmentation."""
        return self.augmented[run.dataset, run.augmentation][1] if augmented(run) else self.keys[run.dataset]

    @cached_property
    def augmented(self) -> dict[tuple[str, str], tuple[str, str]]:
        """Of each data set and augmentation that a run has: where it lies, and its fingerprint."""
        found = {}
        for run in (run for study in self.resolved.studies for run in study.runs if augmented(run)):
            dataset, definition = self.resolved.datasets[run.dataset], self.resolved.augmentations[run.augmentation]
            key = augmented_fingerprint(dataset, definition)
            found[run.dataset, run.augmentation] = f"data/augmented/{run.dataset}/{run.augmentation}-{key}", key
        return dict(sorted(found.items()))

    @property
    def store(self) -> Path:
        """The run store."""
        return self.root / "results" / "runs"

    @cached_property
    def stored(self) -> set[str]:
        """Ids of all finished runs in the store, of this plan or not."""
        folders = self.store.iterdir() if self.store.is_dir() else ()
        return {folder.name for folder in folders if (folder / "run.json").is_file()}

    @property
    def missing(self) -> dict[str, Run]:
        """Runs that are not in the store."""
        return {name: run for name, run in self.runs.items() if name not in self.stored}

    @property
    def orphaned(self) -> set[str]:
        """Stored runs that no study asks for."""
        return self.stored - self.runs.keys()

    @cached_property
    def packs(self) -> list[Pack]:
        """The missing runs in packs, the longest first."""
        shapes: dict[bytes, dict[str, Run]] = defaultdict(dict)
        for name, run in self.missing.items():
            shapes[canonical(run.model_dump(exclude=OF_A_RUN))][name] = run
        cut = [part for runs in shapes.values() for part in parts(runs, self._width(runs))]
        return sorted((pack for part in cut for pack in self._fitting(part)), key=lambda pack: -pack.seconds)

    def _fitting(self, runs: dict[str, Run]) -> list[Pack]:
        """The runs as a pack; as halves, and theirs, where it would not fit a worker's memory."""
        pack, items = self._pack(runs), list(runs.items())
        if pack.memory <= self.memory or len(items) == 1:
            return [pack]
        half = len(items) // 2
        return [part for side in (items[:half], items[half:]) for part in self._fitting(dict(side))]

    def _width(self, runs: dict[str, Run]) -> int:
        run = next(iter(runs.values()))
        return cost.width(run, self.resolved.datasets[run.dataset])

    def _pack(self, runs: dict[str, Run]) -> Pack:
        some = next(iter(runs.values()))
        times, where = 1, None
        if augmented(some):
            times = self.resolved.augmentations[some.augmentation].times
            where = self.augmented[some.dataset, some.augmentation][0]
        dataset, listed = self.resolved.datasets[some.dataset], list(runs.values())
        place = f"data/prepared/{some.dataset}-{self.keys[some.dataset]}"
        return Pack(runs, place, cost.seconds(listed, dataset, times), where, cost.memory(listed, dataset, times))

    @cached_property
    def tables_id(self) -> str:
        """Identity of the tables: the runs of each study, and the code that collects them."""
        studies = [(s.name, s.study.work, self.studies[s.name]) for s in self.resolved.studies]
        return digest(self.resolved.tier, studies, TRAINER_VERSION, source_digest(*COLLECT))

    @cached_property
    def figures_id(self) -> str:
        """Identity of the figures: the tables, what is drawn of them, and the code that draws."""
        options = {s.name: s.study.model_dump(include={"figures"}, exclude_unset=True) for s in self.resolved.studies}
        return digest(self.tables_id, options, list(self.augmented.values()), source_digest(*DRAW))

    @cached_property
    def report_id(self) -> str:
        """Identity of the report: figures, words, and the code that writes it."""
        return digest(self.figures_id, self.words(), source_digest(*REPORT))

    def words(self) -> dict[str, Any]:
        """The texts of the parameter file that a reader sees."""
        studies = {
            s.name: {
                "title": s.study.title,
                "question": s.study.question,
                "work": s.study.work,
                "varies": s.varies,
                "figures": {name: figure.model_dump(exclude_unset=True) for name, figure in s.study.figures.items()},
                "order": list(s.study.figures),  # of the figures in the report: a record's keys have none
                "published": [value.model_dump(exclude_unset=True) for value in s.study.published],
            }
            for s in self.resolved.studies
        }
        datasets = {
            name: {"title": d.title, "licence": d.licence, "shape": list(d.shape)}
            for name, d in self.resolved.datasets.items()
        }
        augmentations = [
            {"dataset": dataset, "augmentation": name, "folder": folder}
            for (dataset, name), (folder, _) in self.augmented.items()
        ]
        return {
            "about": self.resolved.about,
            "studies": studies,
            "datasets": datasets,
            "augmentations": augmentations,
        }

    def record(self) -> dict[str, Any]:
        """The whole plan as JSON: what collect, figures and report read."""
        ids = {"tables_id": self.tables_id, "figures_id": self.figures_id, "report_id": self.report_id}
        record = {"tier": self.resolved.tier, "trainer_version": TRAINER_VERSION, **ids, **self.words()}
        for name, runs in self.studies.items():
            record["studies"][name]["runs"] = runs
        record["runs"] = {name: {"config": run.model_dump()} for name, run in self.runs.items()}
        return record


def augmented(run: Run) -> bool:
    """Whether the run's training images are moved."""
    return run.augmentation != NO_AUGMENTATION


def run_id(run: Run, data: str) -> str:
    """Hash of all that decides a run's result: its settings, its data's fingerprint, the trainer's version."""
    return digest(run.model_dump(), data, TRAINER_VERSION)


def parts(runs: dict[str, Run], width: int) -> list[dict[str, Run]]:
    """At most `width` runs each, as equal as can be.

    Runs of one seed see the same images, and share the work on them in a pack of their own, where they fill half of it.
    """
    seeds = Counter(run.seed for run in runs.values())
    groups: dict[int | None, list[tuple[str, Run]]] = defaultdict(list)
    for name, run in sorted(runs.items(), key=lambda item: (item[1].seed, item[1].learning_rate)):
        groups[run.seed if 2 * seeds[run.seed] >= width else None].append((name, run))
    cut = []
    for items in groups.values():
        count = -(-len(items) // width)
        edges = [round(i * len(items) / count) for i in range(count + 1)]
        cut += [dict(items[a:b]) for a, b in pairwise(edges)]
    return cut


@contextlib.contextmanager
def _told_alone() -> Iterator[None]:
    """End with a user's error as Snakemake should show it: without its stack."""
    try:
        yield
    except UserError as error:
        raise SystemExit(f"snakemake: {error}") from None


class Workflow:
    """The plan as Snakemake asks for it: paths, resources, and files that jobs read. Needs no snakemake itself.

    Args:
        params: the parameter file.
        config: Snakemake's `--config`: `tier`, `device`, and for a cluster `site` and `target_minutes`.
        root: the folder that holds `data/`, `results/`, `reports/`.
        cores: what Snakemake may use of this machine; None on a cluster.
        main: whether this is the Snakemake that a person started, not that of a job.

    Raises:
        SystemExit: the parameter file or the site file is not as it must be, a pack fits no job, there is no such
            device here, or a folder of the project cannot be written; with the message alone, for Snakemake shows any
            other error with its stack.
    """

    def __init__(
        self,
        params: Path,
        config: dict[str, Any],
        root: Path = Path(),
        cores: int | None = None,
        main: bool = True,
    ) -> None:
        self.root = root
        self.work = root / ".bnbench"
        self.cores = cores or os.cpu_count() or 1
        self.device = str(config.get("device", "cpu"))
        self._jobs: dict[str, list[dict[str, Any]]] = {}
        self.begun = time.time()
        self.notes = self.work / "stages" / f"{os.getpid()}.jsonl"
        with _told_alone():
            self.plan = Plan(params, config.get("tier"), root)
            for place in PLACES:
                check_folder(root / place)
            self.cluster = Cluster.read(config, root / "results" / "timings")
            self.plan.memory = self.cluster.memory if self.cluster else cost.memory_here() / self.cores
            if main:
                self._check()

    def _check(self) -> None:
        if self.cluster:
            from bnbench import slurm

            self.cluster.check(self.plan.packs)
            slurm.put_status_first(self.work)
        elif self.device != "cpu":
            devices.check(self.device)

    def raw(self, dataset: str) -> str | None:
        """The folder that a data set is downloaded to, if it needs a download."""
        datasets = self.plan.resolved.datasets
        files = datasets[dataset].files
        owner = next(name for name, other in datasets.items() if other.files == files)  # equal files are fetched once
        return f"data/raw/{owner}-{digest(files)}" if files else None

    def downloaded(self, wildcards: Any) -> list[str]:
        """The mark of a finished download that a data set is prepared from."""
        raw = self.raw(wildcards.dataset)
        return [f"{raw}.done"] if raw else []

    def raw_flag(self, wildcards: Any) -> str:
        """The flag that names the downloaded folder."""
        raw = self.raw(wildcards.dataset)
        return f"--raw {raw}" if raw else ""

    @property
    def prepared(self) -> list[str]:
        """The prepared folders of the data sets that the plan's runs use."""
        used = sorted({run.dataset for run in self.plan.runs.values()})
        return [f"data/prepared/{name}-{self.plan.keys[name]}" for name in used]

    @property
    def augmented(self) -> list[str]:
        """The folders of moved images that the plan's runs use."""
        return [folder for folder, _ in self.plan.augmented.values()]

    def augmented_from(self, wildcards: Any) -> str:
        """The prepared data that images are moved from."""
        return f"data/prepared/{wildcards.dataset}-{self.plan.keys[wildcards.dataset]}"

    def record(self, _wildcards: Any) -> str:
        """The plan's file, written now: what collect, figures and report read."""
        path = self.work / "plans" / f"{self.plan.report_id}.json"
        if not path.exists():
            write_json(path, self.plan.record())
        return str(path)

    def trained(self, _wildcards: Any) -> list[str]:
        """Marks of jobs to run for the missing runs, and of jobs that ran but were never collected."""
        return self._marks

    @cached_property
    def pending(self) -> list[str]:
        """A mark that collect makes besides the tables, where something was or is to be trained.

        It does not exist yet, so collect runs even if there are tables of the very same runs: for Snakemake the lack
        of a file that only a finished table was made from is no reason to make it.
        """
        if not self._marks:
            return []
        mark = self.work / "collected" / digest(self._marks)
        mark.unlink(missing_ok=True)
        return [str(mark)]

    @cached_property
    def _marks(self) -> list[str]:
        """Write the jobs' files. A mark left by a job that has to run again is removed.

        On a cluster jobs have other names at each start: one of a start that was killed may still run, and Snakemake
        takes the mark of a job that is cancelled away, whoever else waits for it.
        """
        folder = self.work / "jobs"
        marks = set() if self.cluster else {str(path) for path in folder.glob("*.done")}
        packs, own = self.plan.packs, [uuid4().hex] if self.cluster else []
        for job in self.cluster.jobs(packs) if self.cluster else [packs] if packs else []:
            name = digest(sorted(pack.id for pack in job), *own)
            write_json(folder / f"{name}.json", [pack.record() for pack in job])
            (folder / f"{name}.done").unlink(missing_ok=True)
            marks.add(str(folder / f"{name}.done"))
        return sorted(marks)

    def begin(self) -> None:
        """Ask the stages for their times; on a cluster check that jobs can be submitted, end what an old start left.

        Raises:
            SystemExit: they cannot; with the reason and the remedy.
        """
        if self.cluster:
            from bnbench import slurm

            names = [Path(mark).stem for mark in self._marks]
            packs = [self._packs(name) for name in names]
            with _told_alone():
                slurm.begin(self.cluster, self.work, [(self.cluster.minutes(p), self.cluster.mem_mb(p)) for p in packs])
            for path in (self.work / "jobs").iterdir() if names else ():
                if path.stem not in names:  # of an earlier start, whose jobs are over
                    path.unlink(missing_ok=True)

        self.notes.parent.mkdir(parents=True, exist_ok=True)
        os.environ[stages.NOTES] = str(self.notes.absolute())

    def end(self) -> None:
        """Tell how long this start and its stages took, where there was something to do."""
        if stages.NOTES not in os.environ:
            return
        print(stages.told(self.notes, self.begun, time.time()), file=sys.stderr)
        self.notes.unlink(missing_ok=True)

    @property
    def workers(self) -> int:
        """Cores of a training job."""
        return self.cluster.partition.cpus if self.cluster else self.cores

    @cached_property
    def resources(self) -> dict[str, Any]:
        """What a training job asks for; times and memory are functions of the job and the attempt."""
        asked = {"runtime": self._minutes, "mem_mb": self._mem_mb}
        if not self.cluster:
            return asked
        at, cuda = self.cluster.partition, self.cluster.device == "cuda"
        extra = f"--signal=TERM@{self.cluster.site.warning_seconds} {self.cluster.site.options}".strip()
        where = {"slurm_partition": at.partition, "slurm_account": self.cluster.site.account, "gpu_model": at.gpu}
        return {
            "slurm_extra": extra,
            "cpus_per_task": at.cpus,
            **{key: value for key, value in where.items() if value},
            **({"gpu": 1} if cuda else {}),
            **asked,
        }

    def _minutes(self, wildcards: Any, attempt: int) -> int:
        packs = self._packs(wildcards.job)
        if self.cluster:
            return self.cluster.minutes(packs, attempt)
        return ceil(cost.makespan([pack["seconds"] for pack in packs], self.cores) / 60)

    def _mem_mb(self, wildcards: Any, attempt: int) -> int:
        packs = self._packs(wildcards.job)
        if self.cluster:
            return self.cluster.mem_mb(packs, attempt)
        return ceil(sum(sorted((float(pack["memory"]) for pack in packs), reverse=True)[: self.cores]))

    def _packs(self, job: str) -> list[dict[str, Any]]:
        """A job's packs, without their runs, of which a large job has thousands."""
        if job not in self._jobs:
            packs = read_json(self.work / "jobs" / f"{job}.json")
            self._jobs[job] = [{key: pack[key] for key in ("data", "augmented", "seconds", "memory")} for pack in packs]
        return self._jobs[job]

    @property
    def tables(self) -> list[str]:
        """All that collect writes; the last one's name is the tables' identity."""
        files = [f"{name}.{kind}" for name in ("runs", "history", "summary", "probes") for kind in ("parquet", "csv")]
        own = [*files, "curves.csv", f"identity-{self.plan.tables_id}.json"]
        return ["results/metrics.json", *(f"results/tables/{name}" for name in own)]

    @property
    def figures(self) -> list[str]:
        """All that figures writes: the folder, and its identity."""
        return ["reports/figures", f"reports/identity/figures-{self.plan.figures_id}.json"]

    def remade(self, _wildcards: Any) -> list[str]:
        """The tables' identity if this start makes the tables anew: then what is drawn from them is drawn anew too."""
        whole = all((self.root / table).exists() for table in self.tables)
        return [] if whole and not self._marks else self.tables[-1:]

    def data_of(self, wildcards: Any) -> list[str]:
        """The prepared data that a job's packs need."""
        packs = self._packs(wildcards.job)
        return sorted({folder for pack in packs for folder in (pack["data"], pack["augmented"]) if folder})
