"""A training job: its packs, the longest first, on workers of one thread each."""

import contextlib
import ctypes
import multiprocessing
import signal
import threading
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bnbench import cost, devices, kernels, precision, provenance, store
from bnbench.data import Prepared
from bnbench.errors import Interrupted, UserError
from bnbench.files import explained, read_record, write_json
from bnbench.pack import Outcome, Pack
from bnbench.progress import Counts, Progress
from bnbench.schema import Run
from bnbench.train import start, train

CHECKPOINT_SECONDS = 30.0  # at most so much work is lost with a process
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


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


_stop = threading.Event()  # in a worker: save and end
_counts: Counts | None = None  # in a worker: what it has done, shared with the others


def train_job(job: Path, place: Place, workers: int, log: Path | None = None) -> Counter[str]:
    """Train a job's packs.

    Args:
        job: a JSON list of packs, as `plan.Pack.record` writes them.
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
    packs = sorted(read_record(job), key=lambda pack: -pack["seconds"])
    torch.set_num_threads(1)  # before the fork: threads do not survive one
    on_cpu = place.devices == ("cpu",)
    workers = workers if on_cpu else len(place.devices)
    context = multiprocessing.get_context("fork" if on_cpu else "spawn")
    shared: Counts = context.Array("d", 2)
    title = f"training {sum(len(pack['runs']) for pack in packs)} runs"
    pools = ProcessPoolExecutor(workers, context, _begin, (shared,))
    with explained(log or place.store), pools as pool, _signals_passed_on():
        waiting = {pool.submit(train_pack, pack, place): pack for pack in packs}
        with Progress(title, sum(pack["seconds"] for pack in packs), shared, log) as progress:
            for told in _fallbacks(packs, place):
                progress.say(told)
            try:
                return _gather(waiting, progress)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                _stop_workers()
                raise


def _fallbacks(packs: list[dict[str, Any]], place: Place) -> Iterator[str]:
    """What this machine lacks that training could use, and what is done without it."""
    loops, lacking = kernels.compiled()
    if loops is kernels.REFERENCE:
        yield f"training goes without compiled loops, slower, to the same numbers: {lacking}"
    kinds = {_kind(device) for device in place.devices}
    fast = any(run["precision"] == "fast" for pack in packs for run in pack["runs"].values())
    for kind in sorted(kinds) if fast else ():
        if not precision.bf16(kind):
            yield f"precision: fast multiplies in fp32 here, as exact does: this {kind} has no bf16 products"


def _gather(waiting: dict[Future[Counter[str]], dict[str, Any]], progress: Progress) -> Counter[str]:
    """Count the runs of each pack as it ends."""
    counts: Counter[str] = Counter()
    crashed = []
    for future in as_completed(waiting):
        pack = waiting[future]
        some = next(iter(pack["runs"].values()))
        name = f"pack {pack['id']} ({some['model']}, norm {some['norm']}, batch {some['batch_size']})"
        try:
            statuses = future.result()
        except UserError:
            raise
        except BrokenProcessPool:
            raise Interrupted("a worker was killed (no memory left?); start again to go on from where it was") from None
        except Exception as error:
            progress.say(f"{name}: crashed\n{''.join(traceback.format_exception(error))}")
            crashed.append(f"{name}, {len(pack['runs'])} runs: {type(error).__name__}: {error}")
        else:
            progress.say(f"{name}: {summary(statuses)}")
            counts += statuses
    if crashed:
        raise PackCrashed("crashed, and so missing in the store:\n" + "\n".join(crashed))
    return counts


def summary(counts: Counter[str]) -> str:
    """`186 runs: 183 ok, 3 diverged`."""
    told = ", ".join(f"{count} {status}" for status, count in sorted(counts.items(), key=lambda item: item[0] != "ok"))
    return f"{counts.total()} runs: {told}" if counts else "nothing to train"


@contextlib.contextmanager
def _signals_passed_on() -> Iterator[None]:
    """Let a signal to this process reach its workers; they save and end, and so this process does."""
    old = {number: signal.signal(number, lambda _number, _frame: _stop_workers()) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _stop_workers() -> None:
    for child in multiprocessing.active_children():
        child.terminate()  # SIGTERM, on which a worker sets its flag


def _begin(shared: Counts) -> None:
    """Set a worker up: one thread, signals that only ask it to stop."""
    global _counts
    _counts = shared
    torch.set_num_threads(1)
    _keep_memory()
    for number in SIGNALS:
        signal.signal(number, lambda _number, _frame: _stop.set())


def _keep_memory() -> None:
    """Let the C library keep large arrays that are freed, for the next step.

    It would hand them back, and the system clear them anew: 19 of 132 ms of a step of 32C5-P2-64C7-P2-10D, batch 100.
    """
    change = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc has it
    if change:
        change(M_TRIM_THRESHOLD, 2**30)
        change(M_MMAP_MAX, 0)


def train_pack(pack: dict[str, Any], place: Place) -> Counter[str]:
    """Train those runs of a pack that the store does not have, each from its last checkpoint."""
    counts: Counter[str] = Counter()
    data = Prepared.read(Path(pack["data"]), Path(pack["augmented"]) if pack["augmented"] else None)
    with devices.leased(place.devices) as device, store.locked(place.work / "locks", list(pack["runs"])):
        begun = time.perf_counter()  # what was waited for is no part of it
        runs = {name: Run.model_validate(config) for name, config in pack["runs"].items()}
        runs = {name: run for name, run in runs.items() if not store.finished(place.store, name)}
        share = pack["seconds"] / len(pack["runs"])
        _advance(share * (len(pack["runs"]) - len(runs)), 0)
        if runs and place.provenance:
            provenance.write(place.provenance, runs, Path(pack["data"]), device)
        parts = _by_step(runs, data, place, device)
        whole = len(runs) == len(pack["runs"]) and [part.step for part in parts] == [0]
        for part in parts:
            _train_part(part, place, share, counts)
    if whole:  # a pack of which a part was trained before says nothing about how long packs take
        seconds = time.perf_counter() - begun
        where = {"cpu": cost.cpu(), "device": _kind(device)}
        record = {"runs": sorted(runs), "seconds": seconds, "estimated": pack["seconds"], **where}
        write_json(place.timings / f"{pack['id']}.json", record)
    return counts


def _kind(device: str) -> str:
    """`cuda` of `cuda:1`: which of a machine's GPUs it was says nothing."""
    return device.partition(":")[0]


def _by_step(runs: dict[str, Run], data: Prepared, place: Place, device: str) -> list[Pack]:
    """The runs as packs of one step each: those never begun, and those that were saved at the same step."""
    states = {name: store.load(place.work / "checkpoints", name) for name in runs}
    groups: dict[int, list[str]] = defaultdict(list)
    for name, state in states.items():
        groups[state[0]["step"] if state else 0].append(name)
    packs = []
    for names in groups.values():
        # NumPy has the processor alone
        pack = start(
            names, [runs[name] for name in names], data, "cpu" if runs[names[0]].backend == "numpy" else device
        )
        if saved := [state for name in names if (state := states[name])]:
            store.restore(pack, saved)
        packs.append(pack)
    return packs


def _train_part(pack: Pack, place: Place, share: float, counts: Counter[str]) -> None:
    checkpoints = place.work / "checkpoints"
    due = time.monotonic() + place.checkpoint_seconds

    def watch(pack: Pack) -> None:
        nonlocal due
        _advance(share * len(pack.names) / pack.steps, len(pack.names) * pack.run.batch_size)
        if _stop.is_set() or time.monotonic() > due:
            store.save(checkpoints, pack)
            due = time.monotonic() + place.checkpoint_seconds
        if _stop.is_set():
            raise Interrupted(f"stopped at step {pack.step} of {pack.steps}; start again to go on from there")

    def done(outcome: Outcome) -> None:
        store.write(place.store, outcome, pack.fingerprint, pack.arrays["values"].device.type)
        store.forget(checkpoints, outcome.name)
        counts[outcome.result["status"]] += 1
        _advance(share * (1 - outcome.result["steps"] / pack.steps), 0)  # of a run that stopped early

    train(pack, watch, done)


def _advance(seconds: float, images: int) -> None:
    """Note work done, in estimated seconds and in images."""
    if _counts is not None:
        with _counts.get_lock():
            _counts[0] += seconds
            _counts[1] += images
