"""A training job: its packs, the longest first, on workers of one thread each."""

import ctypes
import gc
import multiprocessing
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from bnbench.core import devices, locks, machine, signals
from bnbench.core.atomic import explained
from bnbench.core.errors import Interrupted, UserError
from bnbench.core.files import write_sealed
from bnbench.core.workers import as_they_end, working
from bnbench.data.prepared import Prepared
from bnbench.params.run_schema import Run
from bnbench.plan import cost
from bnbench.plan.packs import PackRecord, check_run_ids, read_packs
from bnbench.training import provenance
from bnbench.training import run_writer as store
from bnbench.training.arithmetic import calls, kernels, matmul, torch_loops
from bnbench.training.pack.pack import Outcome, Pack
from bnbench.training.progress import Counts, Progress
from bnbench.training.train import start, train

CHECKPOINT_SECONDS = 30.0  # at most so much work is lost with a process
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h
# how many runs ended with which status, how often runs were parted, what the worker goes without on its GPU and why
Trained = tuple[Counter[str], int, dict[str, str]]


class PackCrashed(UserError):
    """Some packs raised an error that is no result. The others are finished and stored."""

    code = 1


@dataclass(frozen=True)
class Place:
    """Where a job works: the run store, wall times, working files, devices to lease one of, where runs come from."""

    store: Path
    timings: Path
    work: Path
    devices: tuple[str, ...] = ("cpu",)
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    provenance: Path | None = None


_counts: Counts | None = None  # in a worker: what was done of each pack, shared with the others
_pack = 0  # in a worker: which pack it is at


def train_job(job: Path, place: Place, workers: int, log: Path | None = None) -> Counter[str]:
    """Train a job's packs.

    Args:
        job: a JSON list of packs, as `plan.packs.write_packs` writes it.
        place: where to work.
        workers: how many processes of one thread on the CPU; with GPUs it is one process for each.
        log: a file for a line per pack.

    Returns:
        How many runs ended with which status; runs that were stored already are not counted.

    Raises:
        UserError: `job` cannot be read.
        PackCrashed: after all other packs are finished.
        SystemFault: the store, a checkpoint or the log cannot be written.
        Interrupted: a signal came, or a worker was killed; what was trained so far is saved.
    """
    packs = sorted(read_packs(job), key=lambda pack: -pack.seconds)
    torch.set_num_threads(1)  # before the fork: threads do not survive one
    gc.freeze()  # what is imported is garbage never: no worker looks through it, or copies it so
    on_cpu = place.devices == ("cpu",)
    needs = [pack.memory for pack in packs]
    able = machine.fitting(needs, workers) if on_cpu else len(place.devices)
    context = multiprocessing.get_context("fork" if on_cpu else "spawn")
    shared: Counts = context.RawArray("d", 2 * len(packs))  # no lock, which a worker that is killed might hold
    title = f"training {sum(len(pack.runs) for pack in packs)} runs"
    tasks, begin = [(i, pack, place) for i, pack in enumerate(packs)], partial(_begin, shared)
    seconds = sum(pack.seconds for pack in packs)
    with (
        explained(log or place.store),
        working(able, context, _train, tasks, begin) as futures,
        Progress(title, seconds, shared, log) as progress,
    ):
        with signals.raised():
            lacking = [*machine.lowered(needs, workers if on_cpu else 1), *_fallbacks(packs, place)]
        for told in lacking:
            progress.tell(told)
        return _gather(dict(zip(futures, packs, strict=True)), progress)


def _fallbacks(packs: list[PackRecord], place: Place) -> Iterator[str]:
    """What this machine lacks that training could use, and what is done without it."""
    loops, lacking = kernels.compiled()
    if loops is torch_loops.REFERENCE:
        yield f"training goes without compiled loops, slower, to the same numbers: {lacking}"
    elif calls.lacking():
        yield f"dense nets train without recorded steps, slower, to the same numbers: {calls.lacking()}"
    kinds = {_kind(device) for device in place.devices}
    fast = any(run.precision == "fast" for pack in packs for run in pack.runs.values())
    for kind in sorted(kinds) if fast else ():
        if not matmul.bf16(kind):
            yield f"precision: fast multiplies in fp32 here, as exact does: this {kind} has no bf16 products"


def _gather(
    waiting: dict[Future[tuple[Counter[str], int, dict[str, str]]], PackRecord], progress: Progress
) -> Counter[str]:
    """Count the runs of each pack as it ends."""
    counts: Counter[str] = Counter()
    crashed: list[str] = []
    said: set[str] = set()
    for future in as_they_end(waiting):
        pack = waiting[future]
        some = pack.some_run
        name = f"pack {pack.id} ({some.model}, norm {some.norm}, batch {some.batch_size})"
        try:
            statuses, parted, lacking = future.result()
        except UserError:
            raise
        except BrokenProcessPool:
            signals.check()
            raise Interrupted(f"a worker was killed, {machine.short_of_memory()}") from None
        except Exception as error:
            progress.say(f"{name}: crashed\n{''.join(traceback.format_exception(error))}")
            crashed.append(f"{name}, {len(pack.runs)} runs: {type(error).__name__}: {error}")
        else:
            told = f"; parted {parted} times, for the device had no memory for all at once" if parted else ""
            progress.say(f"{name}: {summary(statuses)}{told}")
            counts += statuses
            for what in lacking.keys() - said:
                progress.say(f"training goes without {what}, slower: {lacking[what]}")
            said |= lacking.keys()
    if crashed:
        raise PackCrashed("crashed, and so missing in the store:\n" + "\n".join(crashed))
    return counts


def summary(counts: Counter[str]) -> str:
    """`186 runs: 183 ok, 3 diverged`."""
    told = ", ".join(f"{count} {status}" for status, count in sorted(counts.items(), key=lambda item: item[0] != "ok"))
    return f"{counts.total()} runs: {told}" if counts else "nothing to train"


def _begin(shared: Counts) -> None:
    """Set a worker up: one thread, and where to say what it has done."""
    global _counts
    _counts = shared
    torch.set_num_threads(1)
    _keep_memory()


def _keep_memory() -> None:
    """Let the C library keep large arrays that are freed, for the next step.

    It would hand them back, and the system clear them anew: 19 of 132 ms of a step of 32C5-P2-64C7-P2-10D, batch 100.
    """
    change = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc has it
    if change:
        change(M_TRIM_THRESHOLD, 2**30)
        change(M_MMAP_MAX, 0)


def _train(number: int, pack: PackRecord, place: Place) -> Trained:
    global _pack
    _pack = number
    return train_pack(pack, place)


def train_pack(pack: PackRecord, place: Place) -> Trained:
    """Train those runs of a pack that the store does not have, each from its last checkpoint.

    Returns:
        How many ended with which status; how often runs were parted because the device had no memory for all;
        what the worker goes without on its GPU, and why.
    """
    data = Prepared.read(Path(pack.data), Path(pack.augmented) if pack.augmented else None)
    own = [locks.of(place.store / name, f"run {name}") for name in pack.runs]
    with devices.leased(place.devices, signals.check) as device, locks.all_of(own, signals.check):
        begun = time.perf_counter()  # what was waited for is no part of it
        where = pack.augmented or pack.data
        check_run_ids(pack.runs, (data.augmented or data).fingerprint, where)
        runs = {name: run for name, run in pack.runs.items() if not store.finished(place.store, name)}
        training = _Training(data, place, device, pack.seconds / len(pack.runs))
        _advance(training.share * (len(pack.runs) - len(runs)), 0)
        if runs and place.provenance:
            provenance.write(place.provenance, runs, Path(pack.data), device)
        training.train(runs)
    if training.whole and len(runs) == len(pack.runs):  # else it says nothing about how long packs take
        seconds = time.perf_counter() - begun
        on = {"cpu": cost.cpu(), "device": _kind(device)}
        record = {"runs": sorted(runs), "seconds": seconds, "estimated": pack.seconds, **on}
        write_sealed(place.timings / f"{pack.id}.json", record)
    return training.counts, training.parted, kernels.lacking


def _kind(device: str) -> str:
    """`cuda` of `cuda:1`: which of a machine's GPUs it was says nothing."""
    return device.partition(":")[0]


@dataclass
class _Training:
    """A pack's runs in training: on what, where, a run's share of the estimated seconds; and what became of them."""

    data: Prepared
    place: Place
    device: str
    share: float
    counts: Counter[str] = field(default_factory=Counter)
    parted: int = 0
    whole: bool = True  # all from their first step, in one pack

    def train(self, runs: dict[str, Run]) -> None:
        """Train the runs; in halves, from their checkpoints, where the device has no memory for all."""
        for pack in self._by_step(runs):
            self.whole &= pack.step == 0 and len(pack.names) == len(runs)
            left = self._train_part(pack)
            if left:
                self.parted, self.whole = self.parted + 1, False
                for some in (left[: len(left) // 2], left[len(left) // 2 :]):
                    self.train({name: runs[name] for name in some})

    def _by_step(self, runs: dict[str, Run], useless: frozenset[str] = frozenset()) -> Iterator[Pack]:
        """The runs as packs of one step each, those with useless checkpoints, which fit no pack, from the first on."""
        checkpoints = self.place.work / "checkpoints"
        states = {name: None if name in useless else store.load(checkpoints, name) for name in runs}
        groups: dict[int, list[str]] = defaultdict(list)
        for name, state in states.items():
            groups[state.about.step if state else 0].append(name)
        for names in groups.values():
            device = "cpu" if runs[names[0]].backend == "numpy" else self.device  # NumPy has the processor alone
            pack = start(names, [runs[name] for name in names], self.data, device)
            saved = {name: state for name in names if (state := states[name])}
            if wrong := {name for name, state in saved.items() if not store.fits(pack, state)}:
                yield from self._by_step({name: runs[name] for name in names}, useless | wrong)
                continue
            if saved:
                store.restore(pack, list(saved.values()))
            yield pack

    def _train_part(self, pack: Pack) -> list[str]:
        """Train a pack to its end; else the runs that are left when the device has no memory for them together."""
        checkpoints, place = self.place.work / "checkpoints", self.place
        due, seen = time.monotonic() + place.checkpoint_seconds, pack.step

        def watch(pack: Pack) -> None:
            nonlocal due, seen
            taken, seen = len(pack.names) * (pack.step - seen), pack.step
            _advance(self.share * taken / pack.steps, taken * pack.run.batch_size)
            if signals.asked() or time.monotonic() > due:
                store.save(checkpoints, pack)
                due = time.monotonic() + place.checkpoint_seconds
            if signals.asked():
                raise Interrupted(f"stopped at step {pack.step} of {pack.steps}; start again to go on from there")

        def done(outcome: Outcome) -> None:
            store.write(place.store, outcome, pack.fingerprint, pack.arrays["values"].device.type)
            store.forget(checkpoints, outcome.name)
            self.counts[outcome.result["status"]] += 1
            _advance(self.share * (1 - outcome.result["steps"] / pack.steps), 0)  # of a run that stopped early

        try:
            train(pack, watch, done)
        except torch.OutOfMemoryError:
            left = [name for name in pack.names if not store.finished(place.store, name)]
            if len(left) < 2:
                raise
        else:
            return []
        pack.release()
        return left


def _advance(seconds: float, images: int) -> None:
    """Note work done of this pack, in estimated seconds and in images."""
    if _counts is not None:
        _counts[2 * _pack] += seconds
        _counts[2 * _pack + 1] += images
