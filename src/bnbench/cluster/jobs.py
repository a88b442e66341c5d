"""Packs as jobs: how many a job has, and what it asks for. Arithmetic alone; Slurm itself is asked in `slurm`."""

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

if TYPE_CHECKING:
    from bnbench.plan.packs import PackRecord

# What a job asks for above its estimate. An attempt more asks for as much again.
TIME_MARGIN = 1.5
MEMORY_MARGIN = 1.25
START_MINUTES = 2.0  # two starts of Snakemake on a node, and reading data over the network
SNAKEMAKE_MIB = 350  # two of them, beside the training itself: seen 165 to 175 MiB each


@dataclass(frozen=True)
class Cluster:
    """A site as one start uses it: which device, how long a job, how fast packs are trained there.

    Args:
        site: the site file's content.
        path: the site file.
        device: `cpu` or `cuda`.
        factor: seconds there over seconds estimated.
    """

    site: Site
    path: Path
    device: str
    factor: float

    @classmethod
    def read(cls, config: Config, timings: Path) -> "Cluster | None":
        """The cluster that Snakemake's configuration names under `site`, or None.

        Raises:
            UserError: the site file is not as it must be, or has no partition for the device.
        """
        if config.site is None and config.target_minutes is not None:
            raise UserError(
                "target_minutes is for a cluster's jobs, and no site file is named; use a profile that does"
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
        """Where the jobs run."""
        found: Partition = getattr(self.site, self.device)
        return found

    @property
    def workers(self) -> int:
        """Packs that a job trains at once: a core each, or one on its GPU."""
        return self.partition.cpus if self.device == "cpu" else 1

    @property
    def memory(self) -> float:
        """MiB of a pack, so that a job may train as many at once as it has workers for."""
        whole = (self.partition.mem_mb - SNAKEMAKE_MIB) / MEMORY_MARGIN - cost.PROCESS_MIB
        return whole / self.workers - self.partition.process_mb

    def jobs(self, packs: "Sequence[PackRecord]") -> "list[list[PackRecord]]":
        """Packs in jobs of about the target's length, those of like memory together."""
        total = sum(pack.seconds for pack in packs) * self.factor / self.workers
        count = min(self.site.max_jobs, math.ceil(total / (60 * self.site.target_minutes)))
        ordered = sorted(packs, key=lambda pack: (-pack.memory, -pack.seconds, pack.id))
        places, done = {}, 0.0
        for pack in ordered:
            done += pack.seconds * self.factor / self.workers
            places[pack.id] = math.ceil(done / total * count - 1e-9)
        return [list(group) for _, group in groupby(ordered, key=lambda pack: places[pack.id])]

    def minutes(self, packs: "Sequence[PackRecord]", attempt: int = 1) -> int:
        """Time to ask for, for a job's packs as its file has them."""
        seconds = cost.makespan([pack.seconds * self.factor for pack in packs], self.workers) + cost.START_SECONDS
        asked = attempt * (START_MINUTES + TIME_MARGIN * seconds / 60)
        # the warning may come a minute early, says Slurm
        return min(self.partition.minutes, math.ceil(asked + 1 + self.site.warning_seconds / 60))

    def mem_mb(self, packs: "Sequence[PackRecord]", attempt: int = 1) -> int:
        """Memory to ask for: as if the largest packs were trained at the same time, a process each."""
        largest = sorted((pack.memory for pack in packs), reverse=True)[: self.workers]
        processes = sum(largest) + cost.PROCESS_MIB + self.partition.process_mb * len(largest)
        return min(self.partition.mem_mb, math.ceil(attempt * (SNAKEMAKE_MIB + MEMORY_MARGIN * processes)))

    def check(self, packs: "Sequence[PackRecord]") -> None:
        """Check that each pack fits a job.

        Raises:
            UserError: one is too long or too large for the partition.
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
        place = f"{self.path}: {self.device}: partition {self.partition.partition}"
        what = f"{len(pack.runs)} runs of {run.model}, batch {run.batch_size}, {run.epochs} epochs"
        remedy = f"raise {names[0]} there if the partition allows it, name another partition, or shrink the study"
        raise UserError(f"{place} gives a job {limit} {names[1]}, a pack needs {need} ({what}); {remedy}")


def _unlimited(given: Site, device: str) -> Site:
    partition: Partition = getattr(given, device)
    return given.model_copy(update={device: partition.model_copy(update={"minutes": 10**9, "mem_mb": 10**9})})
