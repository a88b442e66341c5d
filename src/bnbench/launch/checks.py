"""Checks before Snakemake builds its graph: every problem is reported in a second, with a remedy."""

from collections.abc import Iterable
from pathlib import Path

from bnbench.cluster.jobs import Cluster
from bnbench.core import devices, machine, paths
from bnbench.core.atomic import check_file, check_folder, check_temporary
from bnbench.plan.plan import Plan


def check_outputs(root: Path, files: Iterable[str]) -> None:
    """Check that every folder of the project can be written, and that no folder lies where a file is written.

    Snakemake's own error about an unwritable folder has no remedy.

    Args:
        root: the project's folder.
        files: files that rules write, relative to it.

    Raises:
        SystemFault: a folder cannot be written, or lies in the place of a file.
    """
    for folder in paths.folders():
        check_folder(root / folder)
    for file in files:
        check_file(root / file)


def check_submission(plan: Plan, device: str, cluster: Cluster | None) -> None:
    """Check that temporary files can be written, and that the plan's packs can be trained on the requested device.

    On a cluster this also puts bnbench's `sacct` first on PATH.

    Raises:
        UserError: a pack is too large for a job, or there is no such device.
        SystemFault: temporary files cannot be written.
    """
    check_temporary()
    if cluster:
        from bnbench.cluster import slurm

        cluster.check(plan.packs)
        slurm.put_status_first(plan.project)
    elif device != "cpu":
        devices.check(device)


def size_packs(plan: Plan, device: str, cluster: Cluster | None, cores: int) -> None:
    """Set the device and the memory that the plan makes packs for: those of the machine that trains them."""
    plan.memory = cluster.memory if cluster else machine.share(machine.fitting([plan.least] * cores, cores))
    if device.startswith("cuda") and not device.endswith("+cpu"):
        plan.device = "cuda"
        plan.memory = cluster.memory if cluster else devices.gpu_memory()
