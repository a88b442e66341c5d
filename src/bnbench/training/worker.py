"""A worker of a training job: a process of one thread that trains one pack at a time, from its checkpoints."""

import ctypes
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar, cast

import torch

from bnbench.core import devices, locks, signals
from bnbench.core.errors import Interrupted
from bnbench.core.files import write_sealed
from bnbench.data.prepared import Prepared
from bnbench.params.run_schema import Run
from bnbench.plan import cost
from bnbench.plan.packs import PackRecord, check_run_ids
from bnbench.training import checkpoints, provenance, run_writer
from bnbench.training.engine.choose import Engine
from bnbench.training.kernels import loops
from bnbench.training.pack.pack import Images, Outcome, Pack
from bnbench.training.progress import Counts
from bnbench.training.train import start, tensors, train

CHECKPOINT_SECONDS = 30.0  # between two checkpoints: the most work that is lost with a process
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h


@dataclass(frozen=True)
class Workspace:
    """The folders of a job and its devices: run store, wall times, checkpoints and locks, records of provenance."""

    store: Path
    timings: Path
    work: Path
    devices: tuple[str, ...] = ("cpu",)
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    provenance: Path | None = None


class Trained(NamedTuple):
    """Result of training one pack.

    Attributes:
        statuses: number of runs that finished with each status.
        engines: what executed the training steps.
        splits: how often the runs were split because the device ran out of memory.
        lacking: faster ways of training that this worker lacks, with the reason: see `loops.lacking`.
    """

    statuses: Counter[str]
    engines: set[str]
    splits: int
    lacking: dict[str, str]


_counts: Counts | None = None  # in a worker: progress of each pack, shared with the parent
_pack = 0  # in a worker: index of the pack in training
# in a worker: the prepared data of its last pack, then their preprocessed images, each with what they depend on
_loaded: dict[str, tuple[Hashable, object]] = {}


def initialise(shared: Counts) -> None:
    """Set up a worker process: one thread, memory that is reused, and the counts that it shares with the parent."""
    global _counts
    _counts = shared
    torch.set_num_threads(1)
    _reuse_memory()


def _reuse_memory() -> None:
    """Let the C library hold on to large arrays that are freed, for the next step.

    By default they go back to the system, which clears them again: 19 of 132 ms of a step of 32C5-P2-64C7-P2-10D,
    batch 100.
    """
    change = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc has it
    if change:
        change(M_TRIM_THRESHOLD, 2**30)
        change(M_MMAP_MAX, 0)


def train_numbered(number: int, pack: PackRecord, space: Workspace) -> Trained:
    """Train a job's pack of this index, and count its progress."""
    global _pack
    _pack = number
    return train_pack(pack, space)


def train_pack(pack: PackRecord, space: Workspace) -> Trained:
    """Train the runs of a pack that the store lacks, each from its last checkpoint.

    The wall time is recorded only where all runs were trained from their first step in one pack: other times do not
    tell how long a pack takes.

    Args:
        pack: the plan's record of a pack.
        space: folders and devices.
    """
    data = _reused("prepared", (pack.data, pack.augmented), lambda: _read(pack))
    own = [locks.of(space.store / name, f"run {name}") for name in pack.runs]
    with devices.leased(space.devices, signals.check) as device, locks.all_of(own, signals.check):
        started = time.perf_counter()  # without the time spent waiting for device and locks
        where = pack.augmented or pack.data
        check_run_ids(pack.runs, (data.augmented or data).fingerprint, where)
        runs = {name: run for name, run in pack.runs.items() if not run_writer.finished(space.store, name)}
        training = _Training(data, Path(pack.data), space, device, pack.seconds / len(pack.runs))
        _count(training.share * (len(pack.runs) - len(runs)), 0)
        training.train(runs)
    if training.uninterrupted and len(runs) == len(pack.runs):
        seconds = time.perf_counter() - started
        on = {"cpu": cost.cpu(), "device": kind(device)}
        record = {"runs": sorted(runs), "seconds": seconds, "estimated": pack.seconds, **on}
        write_sealed(space.timings / f"{pack.id}.json", record)
    return Trained(training.statuses, training.engines, training.splits, loops.lacking)


def _read(pack: PackRecord) -> Prepared:
    return Prepared.read(Path(pack.data), Path(pack.augmented) if pack.augmented else None)


Data = TypeVar("Data")


def _reused(name: str, depends_on: Hashable, load: Callable[[], Data]) -> Data:
    """Return what `load` returns: in a worker what it returned for its last pack, if that depends on the same.

    Reading and preprocessing 70,000 images of 28 x 28 takes 0.5 to 5 s, as long as training a run. The data of one pack
    are kept at a time, and dropped before others are loaded.
    """
    if _loaded.get(name, (None, None))[0] == depends_on:
        return cast(Data, _loaded[name][1])
    for later in list(_loaded)[list(_loaded).index(name) if name in _loaded else len(_loaded) :]:
        del _loaded[later]  # it was made from this one
    found = load()
    if _counts is not None:
        _loaded[name] = depends_on, found
    return found


def kind(device: str) -> str:
    """Return the kind of a device: `cuda` of `cuda:1`."""
    return device.partition(":")[0]


@dataclass
class _Training:
    """Training of a pack's runs on one device, and its results.

    Attributes:
        folder: the folder of the prepared data.
        share: a run's share of the pack's estimated seconds.
        uninterrupted: all runs were trained from their first step, in one pack.
    """

    data: Prepared
    folder: Path
    space: Workspace
    device: str
    share: float
    statuses: Counter[str] = field(default_factory=Counter)
    engines: set[str] = field(default_factory=set)
    splits: int = 0
    uninterrupted: bool = True

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.space.work / "checkpoints"

    def train(self, runs: dict[str, Run]) -> None:
        """Train the runs together; in halves, from their checkpoints, where the device's memory is too small."""
        for pack in self._by_step(runs):
            self.uninterrupted &= pack.step == 0 and len(pack.names) == len(runs)
            left = self._train_together(pack)
            if left:
                self.splits, self.uninterrupted = self.splits + 1, False
                for half in (left[: len(left) // 2], left[len(left) // 2 :]):
                    self.train({name: runs[name] for name in half})

    def _by_step(self, runs: dict[str, Run], useless: frozenset[str] = frozenset()) -> Iterator[Pack]:
        """Yield the runs as packs, each of the runs whose checkpoints are of one step.

        Runs without a checkpoint, or with one in `useless` (it fits no pack), begin with their first step.
        """
        states = {name: None if name in useless else checkpoints.load(self.checkpoints, name) for name in runs}
        groups: dict[int, list[str]] = defaultdict(list)
        for name, state in states.items():
            groups[state.header.step if state else 0].append(name)
        for names in groups.values():
            device = "cpu" if runs[names[0]].backend == "numpy" else self.device  # NumPy has no other
            pack = start(names, [runs[name] for name in names], self.data, device, self._images(runs[names[0]], device))
            saved = {name: state for name in names if (state := states[name])}
            if wrong := {name for name, state in saved.items() if not checkpoints.fits(pack, state)}:
                yield from self._by_step({name: runs[name] for name in names}, useless | wrong)
                continue
            if saved:
                checkpoints.restore(pack, list(saved.values()))
            yield pack

    def _images(self, run: Run, device: str) -> dict[str, Images]:
        """Return the data as a run of this shape is fed with them."""
        depends_on = self.data.key, run.preprocessing, run.train_images, device
        return _reused("images", depends_on, lambda: tensors(self.data, run, device))

    def _train_together(self, pack: Pack) -> list[str]:
        """Train a pack to its end; return the runs that are left if the device runs out of memory for them."""
        due, seen = time.monotonic() + self.space.checkpoint_seconds, pack.step

        def watch(pack: Pack) -> None:
            nonlocal due, seen
            taken, seen = len(pack.names) * (pack.step - seen), pack.step
            _count(self.share * taken / pack.steps, taken * pack.run.batch_size)
            if signals.asked() or time.monotonic() > due:
                checkpoints.save(self.checkpoints, pack)
                due = time.monotonic() + self.space.checkpoint_seconds
            if signals.asked():
                raise Interrupted(f"stopped at step {pack.step} of {pack.steps}; start again to resume from there")

        def done(outcome: Outcome) -> None:
            run_writer.write(self.space.store, outcome, pack.fingerprint)
            checkpoints.forget(self.checkpoints, outcome.name)
            self.statuses[outcome.result["status"]] += 1
            _count(self.share * (1 - outcome.result["steps"] / pack.steps), 0)  # of a run that stopped early

        def begun(engine: Engine) -> None:
            if self.space.provenance:
                provenance.write(self.space.provenance, pack, self.folder, engine)

        try:
            self.engines.add(train(pack, watch, done, begun))
        except torch.OutOfMemoryError:
            left = [name for name in pack.names if not run_writer.finished(self.space.store, name)]
            if len(left) < 2:
                raise
        else:
            return []
        pack.release()
        return left


def _count(seconds: float, images: int) -> None:
    """Add work done on this pack, in estimated seconds and in images, to the shared counts."""
    if _counts is not None:
        _counts[2 * _pack] += seconds
        _counts[2 * _pack + 1] += images
