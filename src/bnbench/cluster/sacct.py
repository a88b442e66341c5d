"""`sacct` as Snakemake's Slurm plugin asks it, answered from squeue: what became of this start's jobs.

The plugin (2.8.0) waits for ever for a job that was preempted for good, that Slurm no longer knows, that can never
start, or that sacct calls `CANCELLED by 0`. Here each of these is FAILED with its reason, so that the job is
submitted again; a run that was finished meanwhile is not trained again. Without an answer from Slurm this exits
with 1, and the plugin asks again.
"""

import subprocess
import sys
from pathlib import Path

from bnbench.core.errors import UserError
from bnbench.core.files import read_json, write_json

Job = tuple[str, str]  # state, reason

FINAL = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"}
FINAL |= {"REVOKED", "TIMEOUT"}
# states that the plugin does not take for an end
LOST = {
    "NODE_FAIL": "its node was lost",
    "PREEMPTED": "it had to make way for another job",
    "REVOKED": "it was revoked",
}
# reasons for which a waiting job will wait for ever
NEVER = {"AccountNotAllowed", "BadConstraints", "DependencyNeverSatisfied", "InvalidAccount", "InvalidQOS"}
NEVER |= {
    "JobHoldMaxRequeue",
    "PartitionNodeLimit",
    "PartitionTimeLimit",
    "QOSNotAllowed",
    "launch failed requeued held",
}
ENDED_BY_ITSELF = {"JobLaunchFailure", "NonZeroExitCode", "None", "RaisedSignal:53(Real-time_signal_19)"}
NEVER |= {"AssocMaxWallDurationPerJobLimit", "QOSMaxWallDurationPerJobLimit"}


def judge(queue: dict[str, Job], known: dict[str, Job]) -> dict[str, Job]:
    """What to tell of each job.

    Args:
        queue: jobs as squeue tells them now.
        known: jobs as they were told before.
    """
    told = {name: _told(*job) for name, job in queue.items()}
    for name, (state, reason) in known.items():
        if name not in queue:
            told[name] = (state, reason) if state in FINAL else ("FAILED", "Slurm knows it no longer")
    return told


def _told(state: str, reason: str) -> Job:
    if state in LOST:
        return "FAILED", LOST[state]
    if state == "PENDING" and reason in NEVER:
        return "FAILED", f"it could never start: {reason}"
    return state, reason


def parse(text: str) -> dict[str, Job]:
    """Jobs from squeue's `id|state|reason` lines."""
    rows = (line.split("|", 2) for line in text.splitlines())
    return {row[0].strip(): (row[1].strip(), row[2].strip()) for row in rows if len(row) == 3}


def main(arguments: list[str]) -> int:
    """Answer one call: the folder to remember jobs in, then sacct's own arguments."""
    folder, options = Path(arguments[0]), arguments[1:]
    if "--name" in options:
        return _states(folder, options[options.index("--name") + 1])
    if "-j" in options:
        name, _, step = options[options.index("-j") + 1].partition(".")
        if step == "0":  # the plugin asks for the reason of each of ten steps
            print(_reason(folder, name))
    return 0


def _states(folder: Path, run: str) -> int:
    command = ["squeue", "--states=all", "--noheader", "--format=%i|%T|%r", "--name", run]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    if done.returncode:
        print(done.stderr.strip(), file=sys.stderr)
        return 1
    queue, path = parse(done.stdout), folder / f"{run}.json"
    told = judge(queue, _known(path))
    write_json(path, told)
    if stuck := [
        name for name, (state, _) in told.items() if state == "FAILED" and queue.get(name, ("", ""))[0] == "PENDING"
    ]:
        subprocess.run(["scancel", *stuck], check=False, timeout=50)
    for name, (state, _) in told.items():
        print(f"{name}|{state}")
    return 0


def _known(path: Path) -> dict[str, Job]:
    """The jobs that were remembered; none where the file is not there or damaged."""
    try:
        return {name: (str(job[0]), str(job[1])) for name, job in read_json(path).items()}
    except (UserError, AttributeError, LookupError, TypeError):
        return {}


def _reason(folder: Path, name: str) -> str:
    """Why a job failed: as Slurm says; a job that left no log here could not write to this folder."""
    told = next((jobs[name][1] for path in folder.glob("*.json") if name in (jobs := _known(path))), "")
    if told in ENDED_BY_ITSELF and not any((folder / "logs").rglob(f"{name}.log")):
        return f"it left no log, so its node does not see {folder.parents[1]}; move the project to a shared folder"
    return told


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
