"""Start and end of one invocation of Snakemake: locks, leftovers of killed ones, wall times of its stages."""

import os
import sys
import time

from bnbench.core import lifeline, stage_times, starts
from bnbench.core.paths import Project
from bnbench.launch.environment import without_traceback
from bnbench.launch.job_files import JobFiles


class Session:
    """One invocation of Snakemake in a project's folder.

    Args:
        project: the folder.
        main: whether a person started this Snakemake; False in that of a job.
    """

    def __init__(self, project: Project, main: bool) -> None:
        self.project = project
        self.main = main
        self.started = time.time()
        self.notes = project.stage_times / f"{os.getpid()}.jsonl"

    def enter(self) -> None:
        """Wait until no other invocation is between here and Snakemake's lock, and remove the lock of a dead one.

        Raises:
            SystemExit: Snakemake's lock is damaged, or there can be no locks.
        """
        if self.main:
            with without_traceback():
                starts.enter(self.project.root)

    def begin(self, jobs: JobFiles) -> None:
        """Let the next invocation pass, and set up what the stages inherit: their notes, and the lifeline.

        On a cluster check first that the jobs can be submitted, and cancel those that a killed invocation left.

        Raises:
            SystemExit: they cannot; with the reason and the remedy.
        """
        with without_traceback():
            starts.entered(self.project.root)
        if jobs.cluster:
            self._submit(jobs)
        self.notes.parent.mkdir(parents=True, exist_ok=True)
        os.environ[stage_times.NOTES] = str(self.notes.absolute())
        if not jobs.cluster:  # whose jobs outlive it; the next invocation cancels them
            lifeline.lead(self.notes)

    def _submit(self, jobs: JobFiles) -> None:
        from bnbench.cluster import slurm

        assert jobs.cluster
        needs = [(jobs.cluster.minutes(packs), jobs.cluster.mem_mb(packs)) for packs in jobs.all_packs()]
        with without_traceback():
            slurm.begin(jobs.cluster, self.project, needs)
        jobs.forget_others()

    def end(self) -> None:
        """Print the wall times of this invocation and its stages, if it ran any."""
        if stage_times.NOTES not in os.environ:
            return
        print(stage_times.summary(self.notes, self.started, time.time()), file=sys.stderr)
        self.notes.unlink(missing_ok=True)
