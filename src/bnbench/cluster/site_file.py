"""The site file: account, partitions, limits and job sizes of a cluster."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from bnbench.core import yaml_reader
from bnbench.params import messages
from bnbench.params.fields import Count, Positive, Strict

Minutes = Annotated[int, Field(ge=1, le=10**6)]


class Partition(Strict):
    """The partition for one kind of device, and the limits of a job there."""

    partition: Annotated[str, Field(min_length=1, description="its name, as `sinfo` prints it")]
    minutes: Annotated[Minutes, Field(description="a job's longest time")]
    cpus: Annotated[Count, Field(description="cores of a job; on the CPU also its workers")]
    mem_mb: Annotated[Count, Field(description="a job's largest memory")]
    gpu: Annotated[str | None, Field(description="the GPU's type in `sinfo -o %G`; null: any")] = None
    process_mb: Annotated[int, Field(ge=0, description="memory of a process beyond the estimate")] = 0
    speed: Annotated[Positive, Field(description="relative to a core of the machine that plans, until measured")] = 1


class Site(Strict):
    """A cluster, as its user describes it."""

    account: Annotated[str | None, Field(description="the account that jobs are charged to")] = None
    shared: Annotated[list[str], Field(description="folders that all nodes see; empty: not checked")] = Field(
        default_factory=list
    )
    target_minutes: Annotated[Positive, Field(description="the duration of a job, approximately")] = 20
    max_jobs: Annotated[Count, Field(description="most training jobs in one start; beyond it they get longer")] = 400
    warning_seconds: Annotated[Count, Field(description="a job gets SIGTERM so long before its time limit")] = 120
    options: Annotated[str, Field(description="further options of sbatch, as `--qos=long`")] = ""
    cpu: Partition | None = None
    cuda: Partition | None = None


def read(path: Path) -> Site:
    """Read a site file.

    Raises:
        UserError: the file is missing or invalid.
    """
    return messages.validated(yaml_reader.read(path), Site)
