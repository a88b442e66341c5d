"""Job files: the missing runs in packs, and a mark for each job that finished."""

from functools import cached_property
from pathlib import Path
from uuid import uuid4

from bnbench.cluster.jobs import Cluster
from bnbench.core.atomic import explained
from bnbench.core.files import digest
from bnbench.launch.environment import without_traceback
from bnbench.plan.marks import uncollected
from bnbench.plan.packs import PackRecord, read_packs, write_packs
from bnbench.plan.plan import Plan


class JobFiles:
    """The training jobs of one invocation: written on first request, read back by id.

    Args:
        plan: its missing runs become jobs.
        cluster: None on this machine, where one job trains all packs.
    """

    def __init__(self, plan: Plan, cluster: Cluster | None) -> None:
        self.plan = plan
        self.cluster = cluster
        self.folder = plan.project.jobs
        self._packs: dict[str, list[PackRecord]] = {}

    @cached_property
    def marks(self) -> list[str]:
        """Marks of jobs to run for the missing runs, and of jobs that ran but were never collected.

        The jobs' files are written here; a mark left by a job that has to run again is removed. On a cluster jobs get
        new ids in each invocation: a job of one that was killed may still run, and Snakemake removes the mark of a job
        that is cancelled, whatever else waits for it.
        """
        packs, own = self.plan.packs, [uuid4().hex] if self.cluster else []
        marks = set() if self.cluster else uncollected(self.folder, self.plan)
        for job in self.cluster.jobs(packs) if self.cluster else [packs] if packs else []:
            marks.add(str(self._write(digest(sorted(pack.id for pack in job), *own), job)))
        return sorted(marks)

    def _write(self, name: str, packs: list[PackRecord]) -> Path:
        mark = self.folder / f"{name}.done"
        with without_traceback(), explained(mark):
            write_packs(self.folder / f"{name}.json", packs)
            mark.unlink(missing_ok=True)
        return mark

    @cached_property
    def pending(self) -> list[str]:
        """A mark that `collect` writes beside the tables where something is to be trained or collected.

        It does not exist yet, so `collect` runs even if there are tables of the very same runs: Snakemake does not
        rebuild a file only because an input of its is missing.
        """
        if not self.marks:
            return []
        mark = self.plan.project.collected / digest(self.marks)
        mark.unlink(missing_ok=True)
        return [str(mark)]

    def packs(self, job: str) -> list[PackRecord]:
        """Return a job's packs.

        Raises:
            SystemExit: the job's file cannot be read.
        """
        if job not in self._packs:
            with without_traceback():
                self._packs[job] = read_packs(self.folder / f"{job}.json")
        return self._packs[job]

    def all_packs(self) -> list[list[PackRecord]]:
        """Return the packs of each job, as `packs` does."""
        return [self.packs(Path(mark).stem) for mark in self.marks]

    def forget_others(self) -> None:
        """Delete the files of earlier invocations' jobs, if this one has jobs."""
        names = {Path(mark).stem for mark in self.marks}
        for path in self.folder.iterdir() if names else ():
            if path.stem not in names:
                path.unlink(missing_ok=True)
