"""Packs grouped into Slurm jobs, with the time and memory that each job requests. `slurm` talks to Slurm itself."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from bnbench.cluster import site_file as site
from bnbench.cluster.site_file import Partition, Site
from bnbench.core.errors import UserError
from bnbench.params.config import Config
from bnbench.plan import cost
from bnbench.plan.memory import PROCESS_MIB

if TYPE_CHECKING:
    from bnbench.plan.packs import PackRecord

# Factors by which a job requests more than its estimate. Attempt n requests n times as much.
TIME_MARGIN = 1.5
MEMORY_MARGIN = 1.25
START_MINUTES = 2.0  # two starts of Snakemake on a node, and reading data over the network
SNAKEMAKE_MIB = 350  # of two Snakemake processes beside the training: measured 165 to 175 MiB each


@dataclass(frozen=True)
class Cluster:
    """A cluster as one start of Snakemake uses it.

    Args:
        site: the content of the site file, with `target_minutes` of the command line if given.
        path: the site file.
        device: the kind of device to train on, `cpu` or `cuda`.
        factor: a pack's seconds there over its estimate for this machine.
    """

    site: Site
    path: Path
    device: str
    factor: float

    @classmethod
    def read(cls, config: Config, timings: Path) -> "Cluster | None":
        """Read the site file that Snakemake's configuration names under `site`; return None if it names none.

        Args:
            config: Snakemake's configuration.
            timings: the folder of wall times, for the speed of packs trained there before.

        Raises:
            UserError: the site file is invalid, or has no partition for the device.
        """
        if config.site is None and config.target_minutes is not None:
            raise UserError(
                "target_minutes is for a cluster's jobs, but no site file is named; use a profile that names one"
            )
        if config.site is None:
            return None
        path, device = Path(config.site), config.device
        given = site.read(path)
        if config.target_minutes is not None:
            given = given.model_copy(update={"target_minutes": config.target_minutes})
        partition = getattr(given, device, None) if device in ("cpu", "cuda") else None
        if partition is None:
            raise UserError(f"{path}: no partition for device {device!r}; add `{device}:` with its limits")
        return cls(given, path, device, cost.correction(timings, device) or 1 / partition.speed)

    @property
    def partition(self) -> Partition:
        """The partition where the jobs run."""
        found: Partition = getattr(self.site, self.device)
        return found

    @property
    def workers(self) -> int:
        """Number of packs that a job trains at the same time: one per core, or one on its GPU."""
        return self.partition.cpus if self.device == "cpu" else 1

    @property
    def memory(self) -> float:
        """Largest memory of a pack in MiB, so that all workers of a job can train one at the same time."""
        shared = (self.partition.mem_mb - SNAKEMAKE_MIB) / MEMORY_MARGIN - PROCESS_MIB
        return shared / self.workers - self.partition.process_mb

    def jobs(self, packs: "Sequence[PackRecord]") -> "list[list[PackRecord]]":
        """Group packs into jobs of about the target duration, those of similar memory together."""
        total = sum(pack.seconds for pack in packs) * self.factor / self.workers
        count = min(self.site.max_jobs, math.ceil(total / (60 * self.site.target_minutes)))
        ordered = sorted(packs, key=lambda pack: (-pack.memory, -pack.seconds, pack.id))
        numbers, done = {}, 0.0
        for pack in ordered:
            done += pack.seconds * self.factor / self.workers
            numbers[pack.id] = math.ceil(done / total * count - 1e-9)
        return [list(group) for _, group in groupby(ordered, key=lambda pack: numbers[pack.id])]

    def minutes(self, packs: "Sequence[PackRecord]", attempt: int = 1) -> int:
        """Return the minutes that a job requests for its packs, up to the partition's limit."""
        seconds = cost.makespan([pack.seconds * self.factor for pack in packs], self.workers) + cost.START_SECONDS
        training = attempt * (START_MINUTES + TIME_MARGIN * seconds / 60)
        # one minute more, as Slurm documents that the warning may come a minute early
        return min(self.partition.minutes, math.ceil(training + 1 + self.site.warning_seconds / 60))

    def mem_mb(self, packs: "Sequence[PackRecord]", attempt: int = 1) -> int:
        """Return the MB that a job requests: those of its largest packs, trained at the same time in a process each."""
        largest = sorted((pack.memory for pack in packs), reverse=True)[: self.workers]
        processes = sum(largest) + PROCESS_MIB + self.partition.process_mb * len(largest)
        return min(self.partition.mem_mb, math.ceil(attempt * (SNAKEMAKE_MIB + MEMORY_MARGIN * processes)))

    def check(self, packs: "Sequence[PackRecord]") -> None:
        """Check that each pack fits into a job.

        Raises:
            UserError: a pack needs more time or memory than the partition allows.
        """
        free = Cluster(_unlimited(self.site, self.device), self.path, self.device, self.factor)
        for pack in packs:
            limits = self.partition
            self._compare(pack, free.minutes([pack]), limits.minutes, ("minutes", "minutes"))
            self._compare(pack, free.mem_mb([pack]), limits.mem_mb, ("mem_mb", "MB of memory"))

    def _compare(self, pack: "PackRecord", need: int, limit: int, names: tuple[str, str]) -> None:
        if need <= limit:
            return
        run = next(iter(pack.runs.values()))
        where = f"{self.path}: {self.device}: partition {self.partition.partition}"
        what = f"{len(pack.runs)} runs of {run.model}, batch {run.batch_size}, {run.epochs} epochs"
        remedy = f"raise {names[0]} there if the partition allows it, name another partition, or shrink the study"
        raise UserError(f"{where} gives a job {limit} {names[1]}, a pack needs {need} ({what}); {remedy}")


def _unlimited(given: Site, device: str) -> Site:
    partition: Partition = getattr(given, device)
    return given.model_copy(update={device: partition.model_copy(update={"minutes": 10**9, "mem_mb": 10**9})})
