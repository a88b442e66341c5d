"""A training job: its packs, the longest first, on worker processes of one thread each."""

import gc
import multiprocessing
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

import torch

from bnbench.arithmetic import library
from bnbench.core import machine, signals
from bnbench.core.atomic import explained
from bnbench.core.errors import Interrupted, UserError
from bnbench.core.workers import as_they_end, working
from bnbench.plan.packs import PackRecord, read_packs
from bnbench.training import worker
from bnbench.training.arithmetic import matmul
from bnbench.training.progress import Counts, Progress
from bnbench.training.worker import Trained, Workspace


class PackCrashed(UserError):
    """Some packs failed with an error that is no result of a run. All other packs are finished and stored."""

    code = 1


def train_job(job: Path, space: Workspace, workers: int, log: Path | None = None) -> Counter[str]:
    """Train a job's packs.

    Args:
        job: a JSON list of packs, as `plan.packs.write_packs` writes it.
        space: folders and devices.
        workers: number of processes of one thread on the CPU; with GPUs, one process for each.
        log: a file for a line per pack.

    Returns:
        Number of runs that finished with each status, without those that the store already held.

    Raises:
        UserError: `job` cannot be read.
        PackCrashed: after all other packs are finished.
        SystemFault: the store, a checkpoint or the log cannot be written.
        Interrupted: a signal came, or a worker was killed; checkpoints of the runs in training are saved.
    """
    packs = sorted(read_packs(job), key=lambda pack: -pack.seconds)
    torch.set_num_threads(1)  # before the fork: threads do not survive one
    gc.freeze()  # imported modules are never garbage: no worker visits their pages, which would copy them
    on_cpu = space.devices == ("cpu",)
    needs = [pack.memory for pack in packs]
    fitting = machine.fitting(needs, workers) if on_cpu else len(space.devices)
    context = multiprocessing.get_context("fork" if on_cpu else "spawn")
    shared: Counts = context.RawArray("d", 2 * len(packs))  # without a lock, which a killed worker might hold
    title = f"training {sum(len(pack.runs) for pack in packs)} runs"
    tasks = [(i, pack, space) for i, pack in enumerate(packs)]
    seconds = sum(pack.seconds for pack in packs)
    with (
        explained(log or space.store),
        working(fitting, context, worker.train_numbered, tasks, partial(worker.initialise, shared)) as futures,
        Progress(title, seconds, shared, log) as progress,
    ):
        with signals.raised():
            notes = [*machine.lowered(needs, workers if on_cpu else 1), *_fallbacks(packs, space)]
        for note in notes:
            progress.show(note)
        return _gather(dict(zip(futures, packs, strict=True)), progress)


def _fallbacks(packs: list[PackRecord], space: Workspace) -> Iterator[str]:
    """Yield a message for each faster way of training that this machine lacks."""
    if "cpu" in space.devices and library.lacking():
        yield f"training by torch's operations (slower; results differ between processors): {library.lacking()}"
    kinds = {worker.kind(device) for device in space.devices}
    fast = any(run.precision == "fast" for pack in packs for run in pack.runs.values())
    for kind in sorted(kinds) if fast else ():
        if not matmul.bf16(kind):
            yield f"precision: fast multiplies in fp32 here, as exact does: this {kind} has no bf16 products"


def _gather(waiting: dict[Future[Trained], PackRecord], progress: Progress) -> Counter[str]:
    """Return the number of runs of each status, and log each pack as it finishes."""
    counts: Counter[str] = Counter()
    crashed: list[str] = []
    logged: set[str] = set()
    for future in as_they_end(waiting):
        pack = waiting[future]
        some = pack.some_run
        name = f"pack {pack.id} ({some.model}, norm {some.norm}, batch {some.batch_size})"
        try:
            trained = future.result()
        except UserError:
            raise
        except BrokenProcessPool:
            signals.check()
            raise Interrupted(f"a worker was killed, {machine.short_of_memory()}") from None
        except Exception as error:
            progress.log_line(f"{name}: crashed\n{''.join(traceback.format_exception(error))}")
            crashed.append(f"{name}, {len(pack.runs)} runs: {type(error).__name__}: {error}")
        else:
            split = f"; split {trained.splits} times after running out of device memory" if trained.splits else ""
            engine = f"; executed by {', '.join(sorted(trained.engines))}" if trained.engines else ""
            progress.log_line(f"{name}: {summary(trained.statuses)}{engine}{split}")
            counts += trained.statuses
            for what in trained.lacking.keys() - logged:
                progress.log_line(f"training without {what} (slower): {trained.lacking[what]}")
            logged |= trained.lacking.keys()
    if crashed:
        raise PackCrashed("crashed, and so missing in the store:\n" + "\n".join(crashed))
    return counts


def summary(counts: Counter[str]) -> str:
    """Return a line with the number of runs of each status: `186 runs: 183 ok, 3 diverged`."""
    each = ", ".join(f"{count} {status}" for status, count in sorted(counts.items(), key=lambda item: item[0] != "ok"))
    return f"{counts.total()} runs: {each}" if counts else "nothing to train"
