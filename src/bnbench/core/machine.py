"""What of this machine a process may use: its memory and cores, less what control groups and `ulimit` leave of them.

A container, a job of a cluster and a service see the whole machine, and are ended where they use more than their part.
"""

import math
import os
import resource
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path, PurePosixPath

ROOT = Path("/")
# MiB of Snakemake and the process that starts workers, beside theirs: seen 175, and 300 that the workers mostly share
BESIDE_MIB = 300.0
# MiB of address space that a worker takes beyond its memory, for libraries: seen 574
MAPPED_MIB = 600.0
# files of a control group's limits, in versions 2 and 1
MEMORY = ("memory.max", "memory.high", "memory.limit_in_bytes")
QUOTA = ("cpu.max", "cpu.cfs_quota_us")


@dataclass(frozen=True, order=True)
class Memory:
    """MiB, and who says so."""

    mib: float
    by: str

    def __str__(self) -> str:
        return f"{self.mib:,.0f} MiB ({self.by})"


def memory(root: Path = ROOT) -> Memory:
    """What all processes of this kind together may use: the machine's memory, or the least limit of a control group.

    Args:
        root: where `proc` and `sys` are.
    """
    whole = Memory(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20, "of this machine")
    groups = (Memory(int(text) / 2**20, f"by {path}") for path, text in _told(root, MEMORY) if text.isdecimal())
    return min([whole, *groups])


def memory_of_a_process() -> Memory:
    """What one process may use by `ulimit -v` and `ulimit -d`, as far as these say: its libraries' share is off."""
    address, data = (resource.getrlimit(what)[0] for what in (resource.RLIMIT_AS, resource.RLIMIT_DATA))
    limits = [(address, MAPPED_MIB, "by ulimit -v"), (data, 0.0, "by ulimit -d")]
    told = [Memory(max(0.0, limit / 2**20 - less), by) for limit, less, by in limits if limit != resource.RLIM_INFINITY]
    return min(told, default=Memory(math.inf, "no limit"))


def cores(root: Path = ROOT) -> int:
    """Cores for this process: those it may run on, or as many as its control groups let it use at a time."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, quota(root))


def quota(root: Path = ROOT) -> int:
    """Cores that the least quota of a control group amounts to, at least 1; very many where there is none."""
    least = math.inf
    for path, text in _told(root, QUOTA):
        words = text.split()
        if len(words) == 1:  # version 1 has the period in another file
            words += (_read(path.with_name("cpu.cfs_period_us")) or "100000").split()
        if words and words[0].isdecimal() and int(words[0]):
            least = min(least, int(words[0]) / int(words[1]))
    return 2**20 if math.isinf(least) else max(1, math.ceil(least))


def fitting(needs: Sequence[float], workers: int, root: Path = ROOT) -> int:
    """How many pieces of work fit the memory at the same time: 1 at least.

    Args:
        needs: MiB of each piece of work, of which the largest may coincide.
        workers: at most.
        root: as for `memory`.
    """
    free, largest = memory(root).mib - BESIDE_MIB, sorted(needs, reverse=True)[:workers]
    return max(1, sum(total <= free for total in accumulate(largest)))


def lowered(needs: Sequence[float], workers: int, root: Path = ROOT) -> Iterator[str]:
    """What to tell where fewer workers fit than there could be."""
    if (able := fitting(needs, workers, root)) < min(workers, len(needs)):
        told = f"a pack takes up to {max(needs):,.0f} MiB, and all together may use {memory(root)}"
        yield f"{able} of {workers} workers at a time, for memory: {told}"


def short_of_memory(root: Path = ROOT) -> str:
    """The rest of a message about a process that was killed."""
    return (
        f"as the system does when memory is used up: all together may use {memory(root)}. What was trained is kept; "
        "start again to go on from there, with fewer workers (`snakemake --cores 1`, `bnbench train --workers 1`) "
        "or with more memory"
    )


def share(workers: int, root: Path = ROOT) -> float:
    """MiB of each of so many workers."""
    return min((memory(root).mib - BESIDE_MIB) / workers, memory_of_a_process().mib)


def _told(root: Path, names: Sequence[str]) -> Iterator[tuple[Path, str]]:
    """What these files say of this process's control groups and all above them, as far as they are seen from here."""
    for mount, group in _groups(root):
        for folder in (mount / group, *(mount / above for above in group.parents)):
            for name in names:
                if (text := _read(folder / name)) is not None:
                    yield folder / name, text


def _groups(root: Path) -> Iterator[tuple[Path, PurePosixPath]]:
    """Each tree of control groups that is mounted, and this process's place in it."""
    lines = (line.split(":", 2) for line in (_read(root / "proc/self/cgroup") or "").splitlines())
    mine = {name: path for _, names, path in lines for name in names.split(",")}
    for line in (_read(root / "proc/self/mountinfo") or "").splitlines():
        before, _, after = line.partition(" - ")
        (_, _, _, top, mount, *_), (kind, _, options, *_) = before.split(" "), after.split(" ")
        names = [""] if kind == "cgroup2" else options.split(",") if kind == "cgroup" else []
        for path in {mine[name] for name in names if name in mine}:
            place = PurePosixPath(path)
            inside = place.is_relative_to(top) and ".." not in place.parts
            # a container may see its own group as the top, by the name that it has outside
            yield root / mount.lstrip("/"), place.relative_to(top) if inside else PurePosixPath()


def _read(path: Path) -> str | None:
    """A file of the system's; nothing where there is none, or it may not be read."""
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return None
