"""Packs: runs of one shape that a worker trains side by side, and the job files that list them for `bnbench train`.

A pack saves time and never changes a result: which runs share a pack is decided here alone.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from pydantic import PositiveFloat, model_validator

from bnbench.core.errors import UserError
from bnbench.core.files import canonical, digest, read_json, write_json
from bnbench.params.fields import Strict
from bnbench.params.run_schema import Run
from bnbench.plan.identity import run_id
from bnbench.plan.memory import PROCESS_MIB
from bnbench.store.validation import validated

Runs = dict[str, Run]  # by their ids


class Width(NamedTuple):
    """Limits of a pack: its number of runs, and whether all must have one seed."""

    runs: int
    one_seed: bool = False


REMEDY = "name a job's file under .bnbench/jobs, which snakemake rewrites whenever it starts"
# Settings that may differ between the runs of a pack; all others are their shape.
OF_A_RUN = {"seed", "learning_rate"}
IDLE = 0.1  # part of its share of the work that a worker may wait for others


class PackRecord(Strict):
    """A pack as the plan makes it and as a job's file holds it.

    `id` is the hash of its run ids, `data` the folder of its prepared data, `augmented` that of its augmented images;
    `seconds` and `memory` (MiB) are estimates of its wall time and its peak.
    """

    id: str
    runs: Runs
    data: str
    augmented: str | None
    seconds: PositiveFloat
    memory: PositiveFloat

    @classmethod
    def of(
        cls, runs: Runs, data: str, seconds: float, augmented: str | None = None, memory: float = PROCESS_MIB
    ) -> "PackRecord":
        """Return the pack of these runs, with the id that follows from them."""
        return cls(id=digest(sorted(runs)), runs=runs, data=data, augmented=augmented, seconds=seconds, memory=memory)

    def part(self, runs: Runs) -> "PackRecord":
        """Return the pack of some of its runs, which takes their part of its time, and no more memory."""
        seconds = self.seconds * len(runs) / len(self.runs)
        return self.of(runs, self.data, seconds, self.augmented, self.memory)

    @model_validator(mode="after")
    def _id_is_of_the_runs(self) -> "PackRecord":
        if self.id != digest(sorted(self.runs)):
            raise ValueError(f"pack {self.id} does not hold the runs that its id is a hash of")
        return self

    @property
    def some_run(self) -> Run:
        """One of its runs, which stands for their common shape."""
        return next(iter(self.runs.values()))


def shape_of(run: Run) -> bytes:
    """Return a key that is equal for runs that may share a pack."""
    return canonical(run.model_dump(exclude=OF_A_RUN))


def make_packs(
    runs: Runs, width: Callable[[Run], Width], estimate: Callable[[Runs], PackRecord], memory: float
) -> list[PackRecord]:
    """Group runs into packs, the longest first.

    Args:
        runs: the runs to train.
        width: gives the limits of a pack, from one of its runs.
        estimate: makes a pack of runs of one shape, with its estimated seconds and memory.
        memory: MiB of a worker; a pack that needs more is halved until it fits or holds one run.
    """
    shapes: dict[bytes, Runs] = defaultdict(dict)
    for name, run in runs.items():
        shapes[shape_of(run)][name] = run
    parts = [part for same in shapes.values() for part in split(same, width(next(iter(same.values()))))]
    packs = [pack for part in parts for pack in _fitting(part, estimate, memory)]
    return sorted(packs, key=lambda pack: -pack.seconds)


def _fitting(runs: Runs, estimate: Callable[[Runs], PackRecord], memory: float) -> list[PackRecord]:
    pack, items = estimate(runs), list(runs.items())
    if pack.memory <= memory or len(items) == 1:
        return [pack]
    half = len(items) // 2
    return [part for side in (items[:half], items[half:]) for part in _fitting(dict(side), estimate, memory)]


def split(runs: Runs, width: Width) -> list[Runs]:
    """Split runs of one shape into groups of at most `width`, as equal in size as possible.

    Runs of one seed get the same mini-batches, and share the work of making them in a pack of their own, where they
    fill at least half of it.
    """
    seeds = Counter(run.seed for run in runs.values())
    groups: dict[int | None, list[tuple[str, Run]]] = defaultdict(list)
    for name, run in _by_seed(runs):
        groups[run.seed if width.one_seed or 2 * seeds[run.seed] >= width.runs else None].append((name, run))
    found = []
    for items in groups.values():
        count = -(-len(items) // width.runs)
        edges = [round(i * len(items) / count) for i in range(count + 1)]
        found += [dict(items[a:b]) for a, b in pairwise(edges)]
    return found


def _by_seed(runs: Runs) -> list[tuple[str, Run]]:
    return sorted(runs.items(), key=lambda item: (item[1].seed, item[1].learning_rate))


def divided(packs: Iterable[PackRecord], workers: int) -> list[PackRecord]:
    """Divide packs among workers, so that these are busy to the end; return the parts, the longest first.

    Every part of several runs takes at most its share of the work that is left, and a tenth of a share more (guided
    self-scheduling: Polychronopoulos and Kuck 1987, doi 10.1109/TC.1987.5009495). So if each worker takes the longest
    part that is left, the last one ends at most a tenth of its share after the mean, unless single runs are that long.
    The job divides its packs when it starts: neither a plan nor a job's file depends on the number of workers.
    """
    packs = sorted(packs, key=lambda pack: -pack.seconds / len(pack.runs))
    if workers == 1:
        return sorted(packs, key=lambda pack: -pack.seconds)
    share = sum(pack.seconds for pack in packs) / workers
    left, parts = (1 + IDLE) * share, []
    for pack in packs:
        each, runs = pack.seconds / len(pack.runs), _by_seed(pack.runs)
        while runs:
            count = max(1, int(left / each)) if each <= IDLE * share else 1
            part = pack.part(dict(runs[:count]))
            parts.append(part)
            runs, left = runs[count:], left - part.seconds / workers
    return sorted(parts, key=lambda part: -part.seconds)


def write_packs(path: Path, packs: Iterable[PackRecord]) -> None:
    """Write a job's file."""
    write_json(path, [pack.model_dump(mode="json") for pack in packs])


def read_packs(path: Path) -> list[PackRecord]:
    """Return the packs of a job's file.

    Raises:
        UserError: there is no such file, or it does not hold packs. Whether a run's settings are those that its id is
            a hash of can be checked only with the fingerprint of its data: `check_run_ids`.
    """
    return validated(list[PackRecord], read_json(path, REMEDY), path, REMEDY)


def check_run_ids(runs: Runs, data: str, folder: str) -> None:
    """Check that runs bear the ids of their settings and data.

    Args:
        runs: the runs of a pack.
        data: the fingerprint of the data in `folder`.
        folder: the folder of the data, for the message.

    Raises:
        UserError: a run's id is not the hash of its settings, the fingerprint and the trainer's version.
    """
    for name, run in runs.items():
        if run_id(run, data) != name:
            raise UserError(
                f"run {name}: its id is not the hash of its settings and of the data in {folder} (fingerprint {data}); "
                f"{REMEDY}. If this message comes again, the data are of another definition: delete the folder {folder}"
            )
