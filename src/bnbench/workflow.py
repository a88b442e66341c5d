"""Paths, resources and marks of finished jobs for the rules of the Snakefile. It does not import Snakemake."""

import contextlib
import gc
import sys
from functools import cached_property
from pathlib import Path
from typing import Any

from bnbench.cluster.jobs import Cluster
from bnbench.core import machine
from bnbench.core.atomic import check_file
from bnbench.core.files import Missing, Unreadable, is_sealed, read_bytes
from bnbench.core.identities import MACHINE_TABLES, TABLES, forget_altered
from bnbench.core.paths import RELATIVE, Project
from bnbench.launch import checks, environment, resources
from bnbench.launch.environment import without_traceback
from bnbench.launch.job_files import JobFiles
from bnbench.launch.session import Session
from bnbench.params.config import read as read_config
from bnbench.plan.plan import Plan


class Workflow:
    """The plan of one invocation of Snakemake, as rules refer to it. Paths are relative to the project's folder.

    Args:
        params: the parameter file.
        config: Snakemake's configuration, as `params.config.Config` describes it.
        root: the project's folder, which holds `data/`, `results/`, `reports/`.
        cores: cores of this machine that Snakemake may use; None on a cluster.
        main: whether a user started this Snakemake; False in the Snakemake of a job.

    Raises:
        SystemExit: configuration, parameter file or site file are invalid, a pack fits no job, there is no such device
            here, or a folder of the project cannot be written.
    """

    def __init__(
        self,
        params: Path,
        config: dict[str, Any],
        root: Path = Path(),
        cores: int | None = None,
        main: bool = True,
    ) -> None:
        self.session = Session(Project(root), main)
        environment.put_own_programs_first()
        self.cores = min(cores or machine.cores(), machine.quota())
        with without_traceback():
            chosen = read_config(config)
            self.device = chosen.device
            self.plan = Plan(params, chosen.tier, root)
            checks.check_outputs(root, [*self.tables, *map(str, RELATIVE.report)])
            self.cluster = Cluster.read(chosen, self.plan.project.timings)
            checks.size_packs(self.plan, self.device, self.cluster, self.cores)
            self.jobs = JobFiles(self.plan, self.cluster)
            if main:
                checks.check_submission(self.plan, self.device, self.cluster)
                for line in forget_altered(self.plan.identities):
                    print(f"snakemake: {line}", file=sys.stderr)
        gc.freeze()  # modules and plan live to the end: collecting them there takes half a second

    def enter(self) -> None:
        """See `Session.enter`."""
        self.session.enter()

    def begin(self) -> None:
        """See `Session.begin`."""
        self.session.begin(self.jobs)

    def end(self) -> None:
        """See `Session.end`."""
        self.session.end()

    def downloaded(self, wildcards: Any) -> list[str]:
        """Return the mark of the finished download that a data set is prepared from; nothing if it needs none."""
        raw = self.plan.raw(wildcards.dataset)
        return [f"{raw}.done"] if raw else []

    def raw_flag(self, wildcards: Any) -> str:
        """Return the flag that names the downloaded folder."""
        raw = self.plan.raw(wildcards.dataset)
        return f"--raw {raw}" if raw else ""

    def definitions(self, _wildcards: Any) -> str:
        """Return the parameter file of the plan, for the rules that read definitions in it."""
        return str(self.plan.params)

    @property
    def prepared(self) -> list[str]:
        """The prepared folders of the data sets that the plan's runs use."""
        return [self._prepared(name) for name in sorted({run.dataset for run in self.plan.runs.values()})]

    def _prepared(self, dataset: str) -> str:
        return str(RELATIVE.prepared_of(dataset, self.plan.keys[dataset]))

    @property
    def augmented(self) -> list[str]:
        """The folders of augmented images that the plan's runs use."""
        return [folder for folder, _ in self.plan.augmented.values()]

    def augmented_from(self, wildcards: Any) -> str:
        """Return the prepared folder whose images are augmented."""
        return self._prepared(wildcards.dataset)

    def record(self, _wildcards: Any) -> str:
        """Return the path of the plan's file, which `collect`, `figures` and `report` read; write it if needed."""
        path = self.plan.project.plans / f"{self.plan.ids.report}.json"
        own = f'\n  "report_id": "{self.plan.ids.report}"'.encode()  # a hash of the file's complete content
        with without_traceback():
            check_file(path)
            with contextlib.suppress(Missing, Unreadable):
                content = read_bytes(path)
                if own in content and is_sealed(content):
                    return str(path)
            self.plan.record().write(path)
        return str(path)

    def trained(self, _wildcards: Any) -> list[str]:
        """Return the marks of jobs to run for the missing runs, and of jobs that ran but were never collected."""
        return self.jobs.marks

    @property
    def pending(self) -> list[str]:
        """See `JobFiles.pending`."""
        return self.jobs.pending

    def data_of(self, wildcards: Any) -> list[str]:
        """Return the folders of data that a job's packs need."""
        packs = self.jobs.packs(wildcards.job)
        return sorted({folder for pack in packs for folder in (pack.data, pack.augmented) if folder})

    @property
    def workers(self) -> int:
        """Number of cores of a training job."""
        return self.cluster.partition.cpus if self.cluster else self.cores

    @cached_property
    def resources(self) -> dict[str, Any]:
        """The resources of a training job."""
        return resources.of_training(self.jobs, self.cores)

    @property
    def tables(self) -> list[str]:
        """The files that `collect` writes; the last one is the tables' identity."""
        files = [RELATIVE.metrics, *(RELATIVE.tables / name for name in (*TABLES, *MACHINE_TABLES))]
        return [*map(str, files), self._identity("environment"), self._identity("tables")]

    @property
    def figures(self) -> list[str]:
        """The outputs of `figures`: the folder, and its identity."""
        return [str(RELATIVE.figures), self._identity("figures")]

    @property
    def report(self) -> str:
        """The report's identity."""
        return self._identity("report")

    def _identity(self, stage: str) -> str:
        return str(self.plan.identities[stage].relative_to(self.plan.root))

    def rebuilt(self, _wildcards: Any) -> list[str]:
        """Return the tables' identity if this invocation rebuilds the tables, so that figures and report follow."""
        complete = all((self.plan.root / table).exists() for table in self.tables)
        return [] if complete and not self.jobs.marks else self.tables[-1:]
