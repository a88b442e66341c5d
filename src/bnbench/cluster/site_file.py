"""What a cluster offers, as its one commented file says it: account, partitions, limits, sizes of jobs."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from bnbench.core import yaml_reader
from bnbench.params import messages
from bnbench.params.fields import Count, Positive, Strict

Minutes = Annotated[int, Field(ge=1, le=10**6)]


class Partition(Strict):
    """Where jobs of one kind of device run, and how much a job may ask for there."""

    partition: Annotated[str, Field(min_length=1, description="its name, as `sinfo` prints it")]
    minutes: Annotated[Minutes, Field(description="a job's longest time")]
    cpus: Annotated[Count, Field(description="cores of a job; on the CPU also its workers")]
    mem_mb: Annotated[Count, Field(description="a job's largest memory")]
    gpu: Annotated[str | None, Field(description="the GPU's type in `sinfo -o %G`; null: any")] = None
    process_mb: Annotated[int, Field(ge=0, description="memory of a process beside what is estimated")] = 0
    speed: Annotated[Positive, Field(description="against one core of the machine that plans, until measured")] = 1


class Site(Strict):
    """A cluster as a person with an account there knows it."""

    account: Annotated[str | None, Field(description="whom the jobs are charged to")] = None
    shared: Annotated[list[str], Field(description="folders that all nodes see; empty: not checked")] = Field(
        default_factory=list
    )
    target_minutes: Annotated[Positive, Field(description="a job is made about so long")] = 20
    max_jobs: Annotated[Count, Field(description="no more training jobs in one start; they get longer instead")] = 400
    warning_seconds: Annotated[Count, Field(description="before its time limit a job is told to save and end")] = 120
    options: Annotated[str, Field(description="further options of sbatch, as `--qos=long`")] = ""
    cpu: Partition | None = None
    cuda: Partition | None = None


def read(path: Path) -> Site:
    """Read a site file.

    Raises:
        UserError: the file is not as it must be.
    """
    return messages.validated(yaml_reader.read(path), Site)
