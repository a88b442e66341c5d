"""Snakemake with a status check of Slurm jobs every second, where its plugin waits 10 s longer after each attempt."""

import sys

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

interval = RemoteExecutor.next_seconds_between_status_checks
RemoteExecutor.next_seconds_between_status_checks = interval.setter(
    lambda self, seconds: interval.fset(self, min(seconds, 1))
)
sys.exit(main())
