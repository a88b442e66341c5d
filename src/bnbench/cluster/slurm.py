"""Checks with Slurm before anything is submitted: that it accepts the jobs, and that no earlier start left any."""

import os
import shlex
import socket
import stat
import subprocess
import sys
from pathlib import Path

import psutil

from bnbench.cluster.jobs import Cluster
from bnbench.core import locks
from bnbench.core.atomic import explained
from bnbench.core.errors import UserError
from bnbench.core.paths import Project

PREFIX = "bnbench_"  # of the names of all jobs: slurm-jobname-prefix in the profiles
IN_MEMORY = ("tmpfs", "ramfs")  # file systems of one machine
SECONDS = 30  # time limit of a query

# a word in Slurm's refusal -> the key of the site file to change, and the remedy
REMEDIES = {
    "partition name": ("{device}: partition", "`sinfo -s` lists the partitions there are"),
    "account": ("account", "`sacctmgr show assoc user=$USER format=account` lists yours; null asks for none"),
    "generic resource": ("{device}: gpu", "`sinfo -o '%P %G'` shows which GPUs a partition has"),
    "gres": ("{device}: gpu", "`sinfo -o '%P %G'` shows which GPUs a partition has"),
    "time limit": ("{device}: minutes", "`scontrol show partition` names the longest time as MaxTime"),
    "memory": ("{device}: mem_mb", "`sinfo -o '%P %m'` shows the memory of a partition's nodes"),
    "processors": ("{device}: cpus", "`sinfo -o '%P %c'` shows the cores of a partition's nodes"),
    "node count": ("{device}: cpus", "`sinfo -o '%P %c'` shows the cores of a partition's nodes"),
    "configuration is not available": ("{device}", "`sinfo -o '%P %c %m %G'` shows what a partition's nodes have"),
    "qos": ("options", "`sacctmgr show qos` lists them"),
}
OTHERWISE = ("", "ask those who run the cluster")


def begin(cluster: Cluster, project: Project, jobs: list[tuple[int, int]]) -> None:
    """Check that jobs can be submitted, lock the folder against other starts, and cancel jobs of a killed start.

    Args:
        cluster: the cluster that gets the jobs.
        project: the project's folder; a lock in it is held as long as this process lives.
        jobs: minutes and MB that each job requests.

    Raises:
        UserError: the folder is not shared, Slurm does not answer or would refuse the jobs, or another start submits
            jobs from this folder.
    """
    check(cluster, project, jobs)
    _alone(project)
    if left := orphans(project):
        print(f"cancelling jobs of an earlier start, which save and stop: {' '.join(left)}", file=sys.stderr)
        _ask("scancel", *left)


def check(cluster: Cluster, project: Project, jobs: list[tuple[int, int]]) -> None:
    """Check that nodes see the folder, and that Slurm accepts the longest and the largest job.

    Raises:
        UserError: as for `begin`.
    """
    here, shared = project.work.resolve(), [Path(folder) for folder in cluster.site.shared]
    if shared and not any(here.is_relative_to(folder.resolve()) for folder in shared):
        folders = ", ".join(map(str, shared))
        raise UserError(
            f"{cluster.path}: shared: the nodes see {folders}, but not {here.parent}; "
            f"move the project into a shared folder, or add its folder there if all nodes see it"
        )
    if not shared and (kind := _file_system(here)) in IN_MEMORY:
        raise UserError(
            f"{here.parent} lies in this machine's memory ({kind}), where no node sees it; "
            "move the project into a folder that all nodes see"
        )
    for minutes, mem_mb in {max(jobs), max(jobs, key=lambda job: job[1])} if jobs else ():
        _try(cluster, minutes, mem_mb)


def _try(cluster: Cluster, minutes: int, mem_mb: int) -> None:
    """Check by `sbatch --test-only` that Slurm accepts a job of this size.

    Raises:
        UserError: Slurm would refuse it; with the key of the site file to change.
    """
    at = cluster.partition
    options = [f"--partition={at.partition}", f"--time={minutes}", f"--mem={mem_mb}", f"--cpus-per-task={at.cpus}"]
    options += [f"--account={cluster.site.account}"] if cluster.site.account else []
    options += [f"--gpus={at.gpu + ':' if at.gpu else ''}1"] if cluster.device == "cuda" else []
    options += shlex.split(cluster.site.options)
    if (reason := _refusal(options)) is None:
        return
    key, remedy = next((r for word, r in REMEDIES.items() if word in reason.lower()), OTHERWISE)
    if cluster.device == "cuda" and _refusal([word for word in options if not word.startswith("--gpus")]) is None:
        key, remedy = REMEDIES["gres"]
        reason = f"a node of partition {at.partition} has no GPU{f' {at.gpu!r}' if at.gpu else ''} ({reason})"
    where = f"{cluster.path}: {key.format(device=cluster.device)}: " if key else ""
    raise UserError(f"{where}Slurm would refuse the jobs: {reason} (requested: {' '.join(options)}); {remedy}")


def _refusal(options: list[str]) -> str | None:
    """Return the reason why Slurm would refuse a job with these options; None if it would accept it."""
    done = _run("sbatch", "--test-only", *options, "--wrap=true")
    if done.returncode == 0:
        return None
    return done.stderr.strip().splitlines()[-1].removeprefix("allocation failure: ") if done.stderr else "no answer"


def _file_system(path: Path) -> str:
    """Return the type of the file system that contains a path."""
    mounts = [mount for mount in psutil.disk_partitions(all=True) if path.is_relative_to(mount.mountpoint)]
    return str(max(mounts, key=lambda mount: len(mount.mountpoint)).fstype) if mounts else ""


def _alone(project: Project) -> None:
    """Lock the folder, until the end of this process, so that no other Snakemake submits jobs from it."""
    path = project.slurm / "owner"
    if locks.acquire(locks.of(path)) is None:
        owner = path.read_text().strip() if path.is_file() else "unknown"
        raise UserError(f"another snakemake submits jobs from this folder ({owner}); wait for it, or end it")
    with explained(path):
        path.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")


def orphans(project: Project) -> list[str]:
    """Return the ids of queued jobs that were submitted from this folder."""
    queue = _ask("squeue", "--noheader", "--user", str(os.getuid()), "--Format=JobID:20,Name:80,WorkDir:1000")
    rows = [line.split(maxsplit=2) for line in queue.splitlines()]
    here = str(project.work.resolve().parent)
    return [row[0] for row in rows if len(row) == 3 and row[1].startswith(PREFIX) and row[2].strip() == here]


def _ask(*command: str) -> str:
    done = _run(*command)
    if done.returncode:
        raise UserError(f"`{command[0]}` fails: {done.stderr.strip()}; is Slurm's controller up? Try `scontrol ping`")
    return done.stdout


def _run(*command: str) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except FileNotFoundError:
        raise UserError(f"there is no `{command[0]}` here; run from a login node of the cluster") from None
    except subprocess.TimeoutExpired:
        raise UserError(f"`{command[0]}` does not answer within {SECONDS} s; is Slurm's controller up?") from None


def put_status_first(project: Project) -> None:
    """Put a script `sacct` first on this process's PATH, which runs `bnbench.cluster.sacct`."""
    path = (project.slurm / "bin" / "sacct").absolute()
    command = shlex.join([sys.executable, "-m", "bnbench.cluster.sacct", str(path.parents[1])])
    script = f'#!/bin/sh\nexec {command} "$@"\n'
    if not path.exists() or path.read_text() != script:
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(script)
            path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    os.environ["PATH"] = f"{path.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
