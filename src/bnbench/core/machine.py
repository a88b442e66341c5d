"""Memory and cores that a process may use: those of the machine, limited by control groups and `ulimit`.

A container, a cluster's job and a service see the complete machine, but are killed when they use more than their share.
"""

import math
import os
import resource
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path, PurePosixPath

ROOT = Path("/")
# MiB of Snakemake and of the workers' parent: measured 175, and 300 that the workers mostly share
BESIDE_MIB = 300.0
# MiB of address space that a worker maps beyond its memory, for libraries: measured 574
MAPPED_MIB = 600.0
# files of a control group with its limits, in versions 2 and 1
MEMORY = ("memory.max", "memory.high", "memory.limit_in_bytes")
QUOTA = ("cpu.max", "cpu.cfs_quota_us")


@dataclass(frozen=True, order=True)
class Memory:
    """An amount of memory in MiB, and what limits it to that, for messages."""

    mib: float
    by: str

    def __str__(self) -> str:
        return f"{self.mib:,.0f} MiB ({self.by})"


def memory(root: Path = ROOT) -> Memory:
    """Return the memory for all processes in this control group together: the least of its limits and the machine's.

    Args:
        root: the folder of `proc` and `sys`.
    """
    whole = Memory(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20, "of this machine")
    groups = (Memory(int(text) / 2**20, f"by {path}") for path, text in _limits(root, MEMORY) if text.isdecimal())
    return min([whole, *groups])


def memory_of_a_process() -> Memory:
    """Return the memory for one process by `ulimit -v` and `ulimit -d`, less the address space of its libraries."""
    address, data = (resource.getrlimit(what)[0] for what in (resource.RLIMIT_AS, resource.RLIMIT_DATA))
    limits = [(address, MAPPED_MIB, "by ulimit -v"), (data, 0.0, "by ulimit -d")]
    set_ = [Memory(max(0.0, limit / 2**20 - less), by) for limit, less, by in limits if limit != resource.RLIM_INFINITY]
    return min(set_, default=Memory(math.inf, "no limit"))


def cores(root: Path = ROOT) -> int:
    """Return the number of cores for this process: those of its affinity mask, limited by its control groups' quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, quota(root))


def quota(root: Path = ROOT) -> int:
    """Return the cores by the least quota of this process's control groups, at least 1; 2**20 where there is none."""
    least = math.inf
    for path, text in _limits(root, QUOTA):
        words = text.split()
        if len(words) == 1:  # version 1 has the period in another file
            words += (_read(path.with_name("cpu.cfs_period_us")) or "100000").split()
        if words and words[0].isdecimal() and int(words[0]):
            least = min(least, int(words[0]) / int(words[1]))
    return 2**20 if math.isinf(least) else max(1, math.ceil(least))


def fitting(needs: Sequence[float], workers: int, root: Path = ROOT) -> int:
    """Return how many tasks fit the memory at the same time, at least 1.

    Args:
        needs: MiB of each task; the largest ones may coincide.
        workers: the largest number that is useful.
        root: as for `memory`.
    """
    free, largest = memory(root).mib - BESIDE_MIB, sorted(needs, reverse=True)[:workers]
    return max(1, sum(total <= free for total in accumulate(largest)))


def lowered(needs: Sequence[float], workers: int, root: Path = ROOT) -> Iterator[str]:
    """Yield a message if memory allows fewer workers than requested. Arguments as for `fitting`."""
    if (able := fitting(needs, workers, root)) < min(workers, len(needs)):
        reason = f"a pack takes up to {max(needs):,.0f} MiB, and all together may use {memory(root)}"
        yield f"{able} of {workers} workers at a time, for memory: {reason}"


def short_of_memory(root: Path = ROOT) -> str:
    """Return cause and remedy for a message about a process that ran out of memory, to follow what was killed."""
    return (
        f"as the system does when memory is used up: all together may use {memory(root)}. What was trained is saved; "
        "start again to resume, with fewer workers (`snakemake --cores 1`, `bnbench train --workers 1`) "
        "or with more memory"
    )


def share(workers: int, root: Path = ROOT) -> float:
    """Return the MiB that each of this many workers may use."""
    return min((memory(root).mib - BESIDE_MIB) / workers, memory_of_a_process().mib)


def _limits(root: Path, names: Sequence[str]) -> Iterator[tuple[Path, str]]:
    """Yield these files, and their text, of this process's control groups and all above them that are visible."""
    for mount, group in _groups(root):
        for folder in (mount / group, *(mount / above for above in group.parents)):
            for name in names:
                if (text := _read(folder / name)) is not None:
                    yield folder / name, text


def _groups(root: Path) -> Iterator[tuple[Path, PurePosixPath]]:
    """Yield the mount point of each hierarchy of control groups, and this process's group in it."""
    lines = (line.split(":", 2) for line in (_read(root / "proc/self/cgroup") or "").splitlines())
    mine = {name: path for _, names, path in lines for name in names.split(",")}
    for line in (_read(root / "proc/self/mountinfo") or "").splitlines():
        before, _, after = line.partition(" - ")
        (_, _, _, top, mount, *_), (kind, _, options, *_) = before.split(" "), after.split(" ")
        names = [""] if kind == "cgroup2" else options.split(",") if kind == "cgroup" else []
        for path in {mine[name] for name in names if name in mine}:
            group = PurePosixPath(path)
            inside = group.is_relative_to(top) and ".." not in group.parts
            # a container may see its own group as the root, under the name that it has outside
            yield root / mount.lstrip("/"), group.relative_to(top) if inside else PurePosixPath()


def _read(path: Path) -> str | None:
    """Return the text of a file of the system; None if it is missing or may not be read."""
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return None
