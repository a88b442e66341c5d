"""JAX: one run as functions of arrays: initial weights, training step, logits."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from benchmarks.peers import task

Arrays = list[dict[str, Array]]  # by layer and name
State = dict[str, Any]  # params, stats, optimiser state, number of steps, learning rate
ACTIVATIONS = {"relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid}


def first(run: task.Run) -> tuple[Arrays, Arrays]:
    """Return the initial weights and running statistics of a run, from its seed."""
    random, norm = np.random.default_rng(run["seed"]), run["norm"] == "batch"
    channels, height, width = run["shape"]
    params: Arrays = []
    stats: Arrays = []
    flat = False
    for index, (kind, size, *more) in enumerate(run["layers"]):
        last = index == len(run["layers"]) - 1
        mine: dict[str, Any] = {}
        norms: dict[str, Any] = {}
        if kind == "pool":
            height, width = height // size, width // size
        else:
            if kind == "dense" and not flat:
                channels, flat = channels * height * width, True
            fan_in = channels * more[0] ** 2 if kind == "conv" else channels
            mine["weight"] = random.normal(0, task.he_std(fan_in), (fan_in, size)).astype(np.float32)
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
    """Return a convolution with "same" padding; weights have the shape (size * size * channels, filters)."""
    kernels = weight.reshape(size, size, x.shape[-1], -1)
    return lax.conv_general_dilated(x, kernels, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def normalise(run: task.Run, x: Array, mine: dict[str, Array], old: dict[str, Array], training: bool) -> Any:
    """Return the output of batch norm, and the updated running statistics."""
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
    """Return the logits of images, and the updated running statistics."""
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
    """Return the mean cross-entropy of a mini-batch, and the updated running statistics."""
    logits, stats = forward(run, params, stats, x, True)
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1).mean(), stats


def sgd(run: task.Run, state: State, grads: Arrays) -> tuple[Any, Any]:
    """Return the updated velocities, and the direction; weights change by minus learning rate times direction."""
    if not run["momentum"]:
        return state["memory"], grads
    velocity = jax.tree.map(lambda v, g: run["momentum"] * v + g, state["memory"], grads)
    return velocity, velocity


def adam(run: task.Run, state: State, grads: Arrays) -> tuple[Any, Any]:
    """Return the updated moments, and the direction; weights change by minus learning rate times direction."""
    b1, b2, t = run["beta1"], run["beta2"], state["steps"] + 1
    mean = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state["memory"][0], grads)
    square = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state["memory"][1], grads)
    one, two = 1 / (1 - b1**t), 1 / (1 - b2**t)
    change = jax.tree.map(lambda m, v: m * one / (jnp.sqrt(v * two) + run["adam_epsilon"]), mean, square)
    return (mean, square), change


OPTIMIZERS = {"sgd": sgd, "adam": adam}


def start(run: task.Run) -> State:
    """Return the state of a run before its first step."""
    params, stats = first(run)
    zeros = jax.tree.map(np.zeros_like, params)
    memory = {"sgd": zeros if run["momentum"] else (), "adam": (zeros, zeros)}[run["optimizer"]]
    rate = np.float32(run["learning_rate"])
    return {"params": params, "stats": stats, "memory": memory, "steps": np.float32(0), "rate": rate}


def step(run: task.Run, state: State, x: Array, y: Array) -> tuple[State, Array]:
    """Return the state after one update, and the loss before it."""
    gradient = jax.value_and_grad(functools.partial(loss, run), has_aux=True)
    (value, stats), grads = gradient(state["params"], state["stats"], x, y)
    memory, change = OPTIMIZERS[run["optimizer"]](run, state, grads)
    params = jax.tree.map(lambda w, d: w - state["rate"] * d, state["params"], change)
    return {**state, "params": params, "stats": stats, "memory": memory, "steps": state["steps"] + 1}, value
