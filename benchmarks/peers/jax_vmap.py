"""JAX: runs of one shape as one program, by vmap over the runs and scan over an epoch's steps, data on the device.

    python -m benchmarks.peers.jax_vmap JOB OUT [WIDTH] [CORE]

WIDTH is how many runs a program trains side by side; the same compiled program then trains the next ones. CORE is
the one that the process may use, so that XLA makes itself no second thread.
"""

import functools
import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

if __name__ == "__main__" and len(sys.argv) > 4:
    os.sched_setaffinity(0, {int(sys.argv[4])})  # before jax counts the cores

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from benchmarks.peers import task

Arrays = list[dict[str, Array]]  # by layer and name
Data = tuple[Array, Array]  # images, labels
Body = Callable[["State", Array, Data], tuple["State", Any]]
State = dict[str, Any]  # params, stats, memory of the optimiser, steps done, learning rate
OF_A_RUN = ("run_id", "seed", "learning_rate")
ACTIVATIONS = {"relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid}


def first(run: task.Run) -> tuple[Arrays, Arrays]:
    """First weights and moving statistics of a run, by its seed."""
    random, norm = np.random.default_rng(run["seed"]), run["norm"] == "batch"
    channels, height, width = run["shape"]
    params: Arrays = []
    stats: Arrays = []
    flat = False
    for place, (kind, size, *more) in enumerate(run["layers"]):
        last = place == len(run["layers"]) - 1
        mine: dict[str, Any] = {}
        norms: dict[str, Any] = {}
        if kind == "pool":
            height, width = height // size, width // size
        else:
            if kind == "dense" and not flat:
                channels, flat = channels * height * width, True
            fan_in = channels * more[0] ** 2 if kind == "conv" else channels
            mine["weight"] = random.normal(0, task.deviation(fan_in), (fan_in, size)).astype(np.float32)
            channels = size
            if last or not norm:
                mine["bias"] = np.zeros(size, np.float32)
            else:
                mine |= {"gamma": np.ones(size, np.float32), "beta": np.zeros(size, np.float32)}
                norms = {"mean": np.zeros(size, np.float32), "variance": np.ones(size, np.float32)}
        params.append(mine)
        stats.append(norms)
    return params, stats


def convolve(x: Array, weight: Array, size: int) -> Array:
    """Same-padded convolution; the weights are of (size size channels, kernels)."""
    kernels = weight.reshape(size, size, x.shape[-1], -1)
    return lax.conv_general_dilated(x, kernels, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def normalise(run: task.Run, x: Array, mine: dict[str, Array], old: dict[str, Array], training: bool) -> Any:
    """Batch norm; the moving statistics after it."""
    mean, variance, new = old["mean"], old["variance"], old
    if training:
        axes = tuple(range(x.ndim - 1))
        mean, variance, count = x.mean(axes), x.var(axes), x.size // x.shape[-1]
        keep = run["norm_keep"]
        seen = {"mean": mean, "variance": variance * (count / (count - 1))}
        new = {key: keep * old[key] + (1 - keep) * seen[key] for key in old}
    scale = mine["gamma"] * lax.rsqrt(variance + run["norm_epsilon"])
    return (x - mean) * scale + mine["beta"], new


def forward(run: task.Run, params: Arrays, stats: Arrays, x: Array, training: bool) -> tuple[Array, Arrays]:
    """Images to logits, and the moving statistics after them."""
    after: Arrays = []
    for (kind, size, *more), mine, old in zip(run["layers"], params, stats, strict=True):
        new: dict[str, Array] = {}
        if kind == "pool":
            x = lax.reduce_window(x, -jnp.inf, lax.max, (1, size, size, 1), (1, size, size, 1), "VALID")
        else:
            x = convolve(x, mine["weight"], more[0]) if kind == "conv" else x.reshape(len(x), -1) @ mine["weight"]
            x = x + mine["bias"] if "bias" in mine else x
            if old:
                x, new = normalise(run, x, mine, old, training)
            x = ACTIVATIONS[run["activation"]](x) if len(after) < len(params) - 1 else x
        after.append(new)
    return x, after


def loss(run: task.Run, params: Arrays, stats: Arrays, x: Array, y: Array) -> tuple[Array, Arrays]:
    """Mean cross-entropy of a batch, and the moving statistics after it."""
    logits, stats = forward(run, params, stats, x, True)
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1).mean(), stats


def sgd(run: task.Run, state: State, grads: Arrays) -> tuple[Any, Any]:
    """Memory and change of the weights."""
    if not run["momentum"]:
        return state["memory"], grads
    velocity = jax.tree.map(lambda v, g: run["momentum"] * v + g, state["memory"], grads)
    return velocity, velocity


def adam(run: task.Run, state: State, grads: Arrays) -> tuple[Any, Any]:
    """Memory and change of the weights."""
    b1, b2, t = run["beta1"], run["beta2"], state["steps"] + 1
    mean = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state["memory"][0], grads)
    square = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state["memory"][1], grads)
    one, two = 1 / (1 - b1**t), 1 / (1 - b2**t)
    change = jax.tree.map(lambda m, v: m * one / (jnp.sqrt(v * two) + run["adam_epsilon"]), mean, square)
    return (mean, square), change


OPTIMIZERS = {"sgd": sgd, "adam": adam}


def start(run: task.Run) -> State:
    """A run before its first step."""
    params, stats = first(run)
    zeros = jax.tree.map(np.zeros_like, params)
    memory = {"sgd": zeros if run["momentum"] else (), "adam": (zeros, zeros)}[run["optimizer"]]
    rate = np.float32(run["learning_rate"])
    return {"params": params, "stats": stats, "memory": memory, "steps": np.float32(0), "rate": rate}


def step(run: task.Run, state: State, x: Array, y: Array) -> tuple[State, Array]:
    """One update; the loss before it."""
    gradient = jax.value_and_grad(functools.partial(loss, run), has_aux=True)
    (value, stats), grads = gradient(state["params"], state["stats"], x, y)
    memory, change = OPTIMIZERS[run["optimizer"]](run, state, grads)
    params = jax.tree.map(lambda w, d: w - state["rate"] * d, state["params"], change)
    return {**state, "params": params, "stats": stats, "memory": memory, "steps": state["steps"] + 1}, value


def repeated(run: task.Run, body: Body) -> Any:
    """The program that does `body` for each of many rows: a scan, compiled as a whole.

    For conv nets a loop over the compiled body: inside a scan XLA has no fast convolutions on a CPU.
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
    """The program of an epoch: each step's loss of each run."""

    def body(states: State, index: Array, data: Data) -> Any:
        return jax.vmap(functools.partial(step, run))(states, data[0][index], data[1][index])

    return repeated(run, body)


def evaluation(run: task.Run) -> Any:
    """The program that measures a part: sums of losses and right answers of each run, by chunks of images."""

    def body(states: State, index: Array, data: Data) -> tuple[State, tuple[Array, Array]]:
        x, y = data[0][index], data[1][index]
        logits = jax.vmap(lambda p, s: forward(run, p, s, x, False)[0])(states["params"], states["stats"])
        chances = jax.nn.log_softmax(logits)
        return states, (-chances[:, jnp.arange(len(y)), y].sum(1), (logits.argmax(-1) == y).sum(1))

    measure = repeated(run, body)

    def evaluate(states: State, data: Data) -> tuple[State, list[Array]]:
        images = len(data[1])
        chunks = jnp.arange(images).reshape(-1, math.gcd(images, task.EVALUATED))
        states, sums = measure(states, chunks, data)
        return states, [total.sum(0) / images for total in sums]

    return evaluate


def load(run: task.Run, name: str) -> Data:
    """A part of the data on the device, the channels last."""
    images, labels = task.part(run, name)
    return jnp.asarray(np.moveaxis(images, 1, -1) if images.ndim == 4 else images), jnp.asarray(labels)


def train(runs: list[task.Run], width: int, out: Path) -> None:
    """Train runs of one shape, at most `width` side by side, as many each time, and write their records."""
    some = runs[0]
    width = 1 if task.convolves(some) else width  # vmap makes grouped convolutions, which are slower than a loop
    width = -(-len(runs) // -(-len(runs) // width))
    parts = {name: load(some, name) for name in ("train", *task.FINAL)}
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
        for place, run in enumerate(group):
            task.write(out, run, result(place, history, ends))


def orders(runs: list[task.Run], epoch: int, images: int) -> Array:
    """Each step's images of each run, (steps, runs, batch)."""
    size = runs[0]["batch_size"]
    drawn = [np.random.default_rng([run["seed"], epoch]).permutation(images) for run in runs]
    steps = images // size
    return jnp.asarray(np.stack([order[: steps * size].reshape(steps, size) for order in drawn], 1).astype(np.int32))


def result(place: int, history: list[Any], ends: dict[str, Any]) -> dict[str, Any]:
    """What a record says of the run at a place of its program."""
    names = ("train_loss", "valid_loss", "valid_accuracy")
    rows = [dict(zip(names, (float(a[place]) for a in row), strict=True)) for row in history]
    measured = {
        f"{name}_{what}": float(a[place])
        for name, pair in ends.items()
        for what, a in zip(("loss", "accuracy"), pair, strict=True)
    }
    return {"history": [{"epoch": i} | row for i, row in enumerate(rows, 1)], **measured}


def by_shape(runs: list[task.Run]) -> Iterator[list[task.Run]]:
    """Runs that differ in seed and learning rate alone."""
    shapes: dict[str, list[task.Run]] = {}
    for run in runs:
        key = json.dumps({name: value for name, value in run.items() if name not in OF_A_RUN}, sort_keys=True)
        shapes.setdefault(key, []).append(run)
    yield from shapes.values()


def main() -> None:
    """Train a job's runs."""
    job, out = Path(sys.argv[1]), Path(sys.argv[2])
    for runs in by_shape(json.loads(job.read_bytes())):
        train(runs, int(sys.argv[3]) if len(sys.argv) > 3 else 8, out)


if __name__ == "__main__":
    main()
