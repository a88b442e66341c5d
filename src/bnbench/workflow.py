"""The plan as Snakemake asks for it: paths, resources, and the files that jobs read. Needs no Snakemake itself."""

import contextlib
import gc
import os
import sys
import time
from collections.abc import Iterator
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import Any
from uuid import uuid4

from bnbench.cluster.jobs import Cluster
from bnbench.core import devices, lifeline, machine, places, stage_times, starts
from bnbench.core.atomic import check_file, check_folder, check_temporary, explained
from bnbench.core.errors import UserError
from bnbench.core.files import Missing, Unreadable, digest, is_sealed, read_whole
from bnbench.core.identities import TABLES, forget_altered
from bnbench.params.config import read as read_config
from bnbench.plan import cost
from bnbench.plan.marks import uncollected
from bnbench.plan.packs import PackRecord, read_packs, write_packs
from bnbench.plan.plan import Plan

REPORTS = ("reports/report.html", "reports/report.pdf", "reports/report.md")


@contextlib.contextmanager
def _told_alone() -> Iterator[None]:
    """End with a user's error as Snakemake should show it: without its stack."""
    try:
        yield
    except UserError as error:
        raise SystemExit(f"snakemake: {error}") from None


def check_place(folder: str) -> None:
    """Check that Snakemake can work with the folder of its Snakefile: it formats paths, and takes braces for names.

    Raises:
        SystemExit: it cannot.
    """
    if set("{}") & set(folder):
        raise SystemExit(
            f"snakemake: {folder}: Snakemake cannot work in a path with braces; rename or move that folder"
        )


def put_own_programs_first() -> None:
    """Let the shells of rules find the `bnbench` of this interpreter first, whatever PATH was given, if any.

    In the environment and not in the rules: an environment that `--sdm conda` activates then still comes before it.
    """
    here, others = str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)
    if others.split(os.pathsep)[0] != here:
        os.environ["PATH"] = f"{here}{os.pathsep}{others}"


class Workflow:
    """What Snakemake asks: paths, resources, marks of what is done.

    Args:
        params: the parameter file.
        config: Snakemake's configuration, as `config.Config` describes it.
        root: the folder that holds `data/`, `results/`, `reports/`.
        cores: what Snakemake may use of this machine; None on a cluster.
        main: whether this is the Snakemake that a person started, not that of a job.

    Raises:
        SystemExit: configuration, parameter file or site file are not as they must be, a pack fits no job, there is no
            such device here, or a folder of the project cannot be written; with the message alone, for Snakemake shows
            any other error with its stack.
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
        self.main = main
        self.work = root / ".bnbench"
        put_own_programs_first()
        self.cores = min(cores or machine.cores(), machine.quota())
        self._jobs: dict[str, list[PackRecord]] = {}
        self.begun = time.time()
        self.notes = self.work / "stages" / f"{os.getpid()}.jsonl"
        with _told_alone():
            asked = read_config(config)
            self.device = asked.device
            self.plan = Plan(params, asked.tier, root)
            for folder in places.folders():  # Snakemake's own error where one cannot be written has no remedy
                check_folder(root / folder)
            self.cluster = Cluster.read(asked, root / "results" / "timings")
            self._fit()
            for place in (*self.tables, *REPORTS):
                check_file(root / place)
            if main:
                self._check()
                for told in forget_altered(self.plan.identities):
                    print(f"snakemake: {told}", file=sys.stderr)
        gc.freeze()  # modules and plan stay to the end: to look through them there again takes half a second

    def _fit(self) -> None:
        """Let the plan make packs for where they are trained: as wide as it likes, as large as its memory."""
        workers = machine.fitting([self.plan.least] * self.cores, self.cores)
        self.plan.memory = self.cluster.memory if self.cluster else machine.share(workers)
        if self.device.startswith("cuda") and not self.device.endswith("+cpu"):
            self.plan.device = "cuda"
            self.plan.memory = self.cluster.memory if self.cluster else devices.gpu_memory()

    def _check(self) -> None:
        check_temporary()
        if self.cluster:
            from bnbench.cluster import slurm

            self.cluster.check(self.plan.packs)
            slurm.put_status_first(self.work)
        elif self.device != "cpu":
            devices.check(self.device)

    def downloaded(self, wildcards: Any) -> list[str]:
        """The mark of a finished download that a data set is prepared from."""
        raw = self.plan.raw(wildcards.dataset)
        return [f"{raw}.done"] if raw else []

    def raw_flag(self, wildcards: Any) -> str:
        """The flag that names the downloaded folder."""
        raw = self.plan.raw(wildcards.dataset)
        return f"--raw {raw}" if raw else ""

    def definitions(self, _wildcards: Any) -> str:
        """The parameter file, for the rules that read definitions from it: the very one that was planned from."""
        return str(self.plan.params)

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
        """The plan's file, what collect, figures and report read: written now, unless it is what was written."""
        path = self.work / "plans" / f"{self.plan.ids.report}.json"
        own = f'\n  "report_id": "{self.plan.ids.report}"'.encode()  # a hash of all that the file says
        with _told_alone():
            check_file(path)
            with contextlib.suppress(Missing, Unreadable):
                content = read_whole(path)
                if own in content and is_sealed(content):
                    return str(path)
            self.plan.record().write(path)
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
        packs, own = self.plan.packs, [uuid4().hex] if self.cluster else []
        marks = set() if self.cluster else uncollected(folder, self.plan)
        for job in self.cluster.jobs(packs) if self.cluster else [packs] if packs else []:
            name = digest(sorted(pack.id for pack in job), *own)
            mark = folder / f"{name}.done"
            with _told_alone(), explained(mark):
                write_packs(folder / f"{name}.json", job)
                mark.unlink(missing_ok=True)
            marks.add(str(mark))
        return sorted(marks)

    def enter(self) -> None:
        """Begin, once another start in this folder is past its beginning; a lock that a dead one left is removed.

        Raises:
            SystemExit: Snakemake's lock is damaged, or there can be no locks.
        """
        if self.main:
            with _told_alone():
                starts.enter(self.root)

    def begin(self) -> None:
        """Let the next start begin, and ask the stages for their times and to end with this start.

        On a cluster check that jobs can be submitted, and end what an old start left.

        Raises:
            SystemExit: they cannot; with the reason and the remedy.
        """
        with _told_alone():
            starts.entered(self.root)
        if self.cluster:
            from bnbench.cluster import slurm

            names = [Path(mark).stem for mark in self._marks]
            packs = [self._packs(name) for name in names]
            with _told_alone():
                slurm.begin(self.cluster, self.work, [(self.cluster.minutes(p), self.cluster.mem_mb(p)) for p in packs])
            for path in (self.work / "jobs").iterdir() if names else ():
                if path.stem not in names:  # of an earlier start, whose jobs are over
                    path.unlink(missing_ok=True)

        self.notes.parent.mkdir(parents=True, exist_ok=True)
        os.environ[stage_times.NOTES] = str(self.notes.absolute())
        if not self.cluster:  # whose jobs outlive it; the next start ends them
            lifeline.lead(self.notes)

    def end(self) -> None:
        """Tell how long this start and its stages took, where there was something to do."""
        if stage_times.NOTES not in os.environ:
            return
        print(stage_times.told(self.notes, self.begun, time.time()), file=sys.stderr)
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
        return ceil(cost.makespan([pack.seconds for pack in packs], self.cores) / 60)

    def _mem_mb(self, wildcards: Any, attempt: int) -> int:
        packs = self._packs(wildcards.job)
        if self.cluster:
            return self.cluster.mem_mb(packs, attempt)
        return ceil(sum(sorted((pack.memory for pack in packs), reverse=True)[: self.cores]))

    def _packs(self, job: str) -> list[PackRecord]:
        """A job's packs."""
        if job not in self._jobs:
            with _told_alone():
                self._jobs[job] = read_packs(self.work / "jobs" / f"{job}.json")
        return self._jobs[job]

    @property
    def tables(self) -> list[str]:
        """All that collect writes; the last one's name is the tables' identity."""
        own = [*TABLES, f"identity-{self.plan.ids.tables}.json"]
        return ["results/metrics.json", *(f"results/tables/{name}" for name in own)]

    @property
    def figures(self) -> list[str]:
        """All that figures writes: the folder, and its identity."""
        return ["reports/figures", f"reports/identity/figures-{self.plan.ids.figures}.json"]

    def remade(self, _wildcards: Any) -> list[str]:
        """The tables' identity if this start makes the tables anew: then what is drawn from them is drawn anew too."""
        whole = all((self.root / table).exists() for table in self.tables)
        return [] if whole and not self._marks else self.tables[-1:]

    def data_of(self, wildcards: Any) -> list[str]:
        """The prepared data that a job's packs need."""
        packs = self._packs(wildcards.job)
        return sorted({folder for pack in packs for folder in (pack.data, pack.augmented) if folder})
