"""A replacement of `sacct` for Snakemake's Slurm plugin, which reports the state of jobs from squeue.

The plugin (2.8.0) waits for ever for a job that was preempted for good, that Slurm no longer knows, that can never
start, or that sacct reports as `CANCELLED by 0`. This one reports each of these as FAILED with its reason, so that the
job is submitted again; runs that it finished are not trained again. If Slurm does not answer, it exits with 1, and the
plugin repeats the query.
"""

import subprocess
import sys
from pathlib import Path

from bnbench.core.errors import UserError
from bnbench.core.files import read_json, write_json

Job = tuple[str, str]  # state, reason

FINAL = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"}
FINAL |= {"REVOKED", "TIMEOUT"}
# states that the plugin does not recognise as final
LOST = {
    "NODE_FAIL": "its node was lost",
    "PREEMPTED": "it was preempted by another job",
    "REVOKED": "it was revoked",
}
# reasons for which a pending job never starts
NEVER = {"AccountNotAllowed", "BadConstraints", "DependencyNeverSatisfied", "InvalidAccount", "InvalidQOS"}
NEVER |= {
    "JobHoldMaxRequeue",
    "PartitionNodeLimit",
    "PartitionTimeLimit",
    "QOSNotAllowed",
    "launch failed requeued held",
}
EXITED = {"JobLaunchFailure", "NonZeroExitCode", "None", "RaisedSignal:53(Real-time_signal_19)"}
NEVER |= {"AssocMaxWallDurationPerJobLimit", "QOSMaxWallDurationPerJobLimit"}


def judge(queue: dict[str, Job], known: dict[str, Job]) -> dict[str, Job]:
    """Return the state and reason to report for each job.

    Args:
        queue: the jobs that squeue lists now.
        known: the jobs as they were reported before.
    """
    reported = {name: _judged(*job) for name, job in queue.items()}
    for name, (state, reason) in known.items():
        if name not in queue:
            reported[name] = (state, reason) if state in FINAL else ("FAILED", "Slurm no longer knows it")
    return reported


def _judged(state: str, reason: str) -> Job:
    if state in LOST:
        return "FAILED", LOST[state]
    if state == "PENDING" and reason in NEVER:
        return "FAILED", f"it could never start: {reason}"
    return state, reason


def parse(text: str) -> dict[str, Job]:
    """Parse squeue's lines `id|state|reason` into jobs by id."""
    rows = (line.split("|", 2) for line in text.splitlines())
    return {row[0].strip(): (row[1].strip(), row[2].strip()) for row in rows if len(row) == 3}


def main(arguments: list[str]) -> int:
    """Answer one query.

    Args:
        arguments: the folder where the states of jobs are stored, then the arguments of sacct.
    """
    folder, options = Path(arguments[0]), arguments[1:]
    if "--name" in options:
        return _states(folder, options[options.index("--name") + 1])
    if "-j" in options:
        name, _, step = options[options.index("-j") + 1].partition(".")
        if step == "0":  # the plugin queries the reason of each of ten steps
            print(_reason(folder, name))
    return 0


def _states(folder: Path, run: str) -> int:
    command = ["squeue", "--states=all", "--noheader", "--format=%i|%T|%r", "--name", run]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    if done.returncode:
        print(done.stderr.strip(), file=sys.stderr)
        return 1
    queue, path = parse(done.stdout), folder / f"{run}.json"
    jobs = judge(queue, _known(path))
    write_json(path, jobs)
    if stuck := [
        name for name, (state, _) in jobs.items() if state == "FAILED" and queue.get(name, ("", ""))[0] == "PENDING"
    ]:
        subprocess.run(["scancel", *stuck], check=False, timeout=50)
    for name, (state, _) in jobs.items():
        print(f"{name}|{state}")
    return 0


def _known(path: Path) -> dict[str, Job]:
    """Return the stored jobs; none if the file is missing or damaged."""
    try:
        return {name: (str(job[0]), str(job[1])) for name, job in read_json(path).items()}
    except (UserError, AttributeError, LookupError, TypeError):
        return {}


def _reason(folder: Path, name: str) -> str:
    """Return the reason why a job failed: Slurm's, or that the node cannot write to this folder if there is no log."""
    reason = next((jobs[name][1] for path in folder.glob("*.json") if name in (jobs := _known(path))), "")
    if reason in EXITED and not any((folder / "logs").rglob(f"{name}.log")):
        return f"it left no log, so its node does not see {folder.parents[1]}; move the project to a shared folder"
    return reason


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
