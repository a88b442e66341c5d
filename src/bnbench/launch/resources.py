"""Resources of a training job, as Snakemake takes them: numbers, texts, and functions of the job and the attempt."""

from math import ceil
from typing import Any

from bnbench.cluster.jobs import Cluster
from bnbench.launch.job_files import JobFiles
from bnbench.plan import cost


def of_training(jobs: JobFiles, cores: int) -> dict[str, Any]:
    """Return the resources of the rule `train`: on a cluster the site file's, with the estimates that Slurm needs.

    Args:
        jobs: the jobs, and the cluster they go to.
        cores: cores of this machine, used where there is no cluster.
    """
    cluster = jobs.cluster
    if cluster is None:
        return _here(jobs, cores)
    return {
        **_fixed(cluster),
        "runtime": lambda wildcards, attempt: cluster.minutes(jobs.packs(wildcards.job), attempt),
        "mem_mb": lambda wildcards, attempt: cluster.mem_mb(jobs.packs(wildcards.job), attempt),
    }


def _here(jobs: JobFiles, cores: int) -> dict[str, Any]:
    """Estimated minutes, and MB of the packs that are trained at the same time if the largest coincide."""

    def runtime(wildcards: Any) -> int:
        return ceil(cost.makespan([pack.seconds for pack in jobs.packs(wildcards.job)], cores) / 60)

    def mem_mb(wildcards: Any) -> int:
        packs = jobs.packs(wildcards.job)
        return ceil(sum(sorted((pack.memory for pack in packs), reverse=True)[:cores]))

    return {"runtime": runtime, "mem_mb": mem_mb}


def _fixed(cluster: Cluster) -> dict[str, Any]:
    """The options that every job of a cluster has, by the names of Snakemake's Slurm plugin."""
    at, site = cluster.partition, cluster.site
    extra = f"--signal=TERM@{site.warning_seconds} {site.options}".strip()
    where = {"slurm_partition": at.partition, "slurm_account": site.account, "gpu_model": at.gpu}
    gpu = {"gpu": 1} if cluster.device == "cuda" else {}
    return {"slurm_extra": extra, "cpus_per_task": at.cpus, **{k: v for k, v in where.items() if v}, **gpu}
