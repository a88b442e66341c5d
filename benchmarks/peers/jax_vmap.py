"""JAX: runs of one shape as one program, by vmap over the runs and scan over an epoch's steps, data on the device.

    python -m benchmarks.peers.jax_vmap JOB OUT WIDTH CORE

WIDTH is the number of runs that a program trains side by side; the same compiled program then trains the next ones. The
process is bound to CORE, so that XLA starts no second thread.
"""

import functools
import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

if __name__ == "__main__" and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {int(sys.argv[4])})  # before JAX counts the cores

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from benchmarks.peers import task
from benchmarks.peers.jax_net import State, forward, start, step

Data = tuple[Array, Array]  # images, labels
Body = Callable[[State, Array, Data], tuple[State, Any]]
OF_A_RUN = ("run_id", "seed", "learning_rate")


def repeated(run: task.Run, body: Body) -> Any:
    """Return a function that applies `body` to each of many rows: a compiled scan.

    For conv nets it is a loop over the compiled body, because XLA has no fast convolutions inside a scan on a CPU.
    """
    if not task.convolves(run):

        def scan(states: State, rows: Array, data: Data) -> Any:
            return lax.scan(lambda states, row: body(states, row, data), states, rows)

        return jax.jit(scan, donate_argnums=0)
    one = jax.jit(body, donate_argnums=0)

    def loop(states: State, rows: Array, data: Data) -> tuple[State, Any]:
        out = []
        for row in rows:
            states, seen = one(states, row, data)
            out.append(seen)
        return states, jax.tree.map(lambda *seen: jnp.stack(seen), *out)

    return loop


def training(run: task.Run) -> Any:
    """Return the function that trains an epoch; it returns the loss of each step and run."""

    def body(states: State, index: Array, data: Data) -> Any:
        return jax.vmap(functools.partial(step, run))(states, data[0][index], data[1][index])

    return repeated(run, body)


def evaluation(run: task.Run) -> Any:
    """Return the function that evaluates a part in chunks of images; it returns mean loss and accuracy of each run."""

    def body(states: State, index: Array, data: Data) -> tuple[State, tuple[Array, Array]]:
        x, y = data[0][index], data[1][index]
        logits = jax.vmap(lambda p, s: forward(run, p, s, x, False)[0])(states["params"], states["stats"])
        log_probabilities = jax.nn.log_softmax(logits)
        return states, (-log_probabilities[:, jnp.arange(len(y)), y].sum(1), (logits.argmax(-1) == y).sum(1))

    measure = repeated(run, body)

    def evaluate(states: State, data: Data) -> tuple[State, list[Array]]:
        images = len(data[1])
        chunks = jnp.arange(images).reshape(-1, math.gcd(images, task.EVALUATED))
        states, sums = measure(states, chunks, data)
        return states, [total.sum(0) / images for total in sums]

    return evaluate


def load(run: task.Run, name: str) -> Data:
    """Load a part of the data onto the device, channels last."""
    images, labels = task.part(run, name)
    return jnp.asarray(np.moveaxis(images, 1, -1) if images.ndim == 4 else images), jnp.asarray(labels)


def train(runs: list[task.Run], width: int, out: Path) -> None:
    """Train runs of one shape, at most `width` side by side, in groups of equal size, and write their records."""
    some = runs[0]
    width = 1 if task.convolves(some) else width  # vmap gives grouped convolutions, which are slower than a loop
    width = -(-len(runs) // -(-len(runs) // width))
    parts = {name: load(some, name) for name in ("valid", *task.FINAL)}
    epoch, evaluate = training(some), evaluation(some)
    for group in (runs[i : i + width] for i in range(0, len(runs), width)):
        filled = [*group, *[group[-1]] * (width - len(group))]  # so that no second program is compiled
        states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(start, filled))
        history: list[Any] = []
        for number in range(some["epochs"]):
            states, losses = epoch(states, orders(filled, number, len(parts["train"][1])), parts["train"])
            states, valid = evaluate(states, parts["valid"])
            history.append((losses.mean(0), *valid))
        ends = {}
        for name in task.FINAL:
            states, ends[name] = evaluate(states, parts[name])
        for index, run in enumerate(group):
            task.write(out, run, result(index, history, ends))


def orders(runs: list[task.Run], epoch: int, images: int) -> Array:
    """Draw the indices of each step's mini-batch for each run, (steps, runs, batch)."""
    size = runs[0]["batch_size"]
    drawn = [np.random.default_rng([run["seed"], epoch]).permutation(images) for run in runs]
    steps = images // size
    return jnp.asarray(np.stack([order[: steps * size].reshape(steps, size) for order in drawn], 1).astype(np.int32))


def result(index: int, history: list[Any], ends: dict[str, Any]) -> dict[str, Any]:
    """Return history and results of the run with this index in its group."""
    names = ("train_loss", "valid_loss", "valid_accuracy")
    rows = [dict(zip(names, (float(a[index]) for a in row), strict=True)) for row in history]
    measured = {
        f"{name}_{what}": float(a[index])
        for name, pair in ends.items()
        for what, a in zip(("loss", "accuracy"), pair, strict=True)
    }
    return {"history": [{"epoch": i} | row for i, row in enumerate(rows, 1)], **measured}


def by_shape(runs: list[task.Run]) -> Iterator[list[task.Run]]:
    """Yield groups of runs that differ only in seed and learning rate."""
    shapes: dict[str, list[task.Run]] = {}
    for run in runs:
        key = json.dumps({name: value for name, value in run.items() if name not in OF_A_RUN}, sort_keys=True)
        shapes.setdefault(key, []).append(run)
    yield from shapes.values()


def main() -> None:
    """Train the runs of a job."""
    job, out = Path(sys.argv[1]), Path(sys.argv[2])
    for runs in by_shape(json.loads(job.read_bytes())):
        train(runs, int(sys.argv[3]), out)


if __name__ == "__main__":
    main()
